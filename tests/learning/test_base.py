"""What all schemes share: their life in a model, on every kind of model, and its parts."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests import analytic
from tests.conftest import binary_data, mlp_decoder, mlp_encoder, mlp_vae
from tests.models import test_context as context
from tests.models import test_directed as directed
from tests.models import test_hierarchy as hierarchy
from tests.objectives.test_life_cycle import finite_vae
from tfvae.learning import Alternating, Joint, Scheme, SemiAmortised, WakeSleep
from tfvae.objectives import ELBO, TargetRate

SCHEMES = [
    Joint(),
    Alternating(1),
    Alternating(2, until_information_stops=3, patience=2),
    WakeSleep(),
    SemiAmortised(2, learning_rate=0.1),
]
X = binary_data(24)


def ladder():
    """A hierarchy whose levels depend on each other."""
    return tfvae.HierarchicalVAE(
        [hierarchy.normal("z_1", "x", "z_2"), hierarchy.normal("z_2", "x")],
        [hierarchy.bernoulli("z_1"), hierarchy.normal("z_1", "z_2")],
        seed=0,
    )


def conditional():
    return tfvae.VAE(context.encoder(), context.decoder(), context.prior(), seed=0)


def vamp():
    return tfvae.VAE(mlp_encoder(), mlp_decoder(), tfvae.priors.VampPrior(4), seed=0)


def labelled():
    return directed.two_latents(partly_observed=["y"])


MODELS = {
    "VAE": (mlp_vae, X),
    "VampPrior": (vamp, X),
    "conditional": (conditional, context.DATA),
    "finite": (finite_vae, X),
    "hierarchy": (ladder, X),
    "directed": (labelled, {"x": X, "y": np.arange(24) % 4 - 1}),
}


def part(data, num):
    """Returns the first points."""
    return {k: v[:num] for k, v in data.items()} if isinstance(data, dict) else data[:num]


def changed(before, after):
    return [bool(np.any(a != b)) for a, b in zip(before, after, strict=True)]


@pytest.mark.parametrize("name", MODELS)
def test_weights_belong_to_encoder_or_to_decoder_and_prior(name):
    model = MODELS[name][0]()
    encoder = {id(w) for w in model.graph.posterior_weights}
    generative = {id(w) for w in model.graph.generative_weights}
    assert encoder
    assert generative
    assert not encoder & generative
    assert encoder | generative == {id(w) for w in model.trainable_weights}


@pytest.mark.slow
def test_a_shared_layer_belongs_to_both():
    shared = keras.layers.Dense(4, name="shared")
    x, z = keras.Input((4,)), keras.Input((2,))
    encoder = keras.Model(
        x, tfvae.layers.MultivariateNormalDiag(2)(keras.layers.Dense(4)(shared(x)))
    )
    decoder = keras.Model(z, tfvae.layers.IndependentBernoulli(4)(shared(keras.layers.Dense(4)(z))))
    vae, data = tfvae.VAE(encoder, decoder, seed=0), binary_data(8, (4,))
    both = {w.path for w in vae.graph.posterior_weights} & {
        w.path for w in vae.graph.generative_weights
    }
    assert both == {"shared/kernel", "shared/bias"}
    for scheme in (Alternating(1), WakeSleep()):
        vae.compile(keras.optimizers.SGD(0.1), scheme=scheme, run_eagerly=True)
        before = shared.get_weights()
        vae.fit(data, batch_size=8, verbose=0)
        assert all(changed(before, shared.get_weights()))


# Posteriors of several latents are not made by one layer, whose parameters could be refined.
TRAINED = [
    (name, scheme)
    for name in MODELS
    for scheme in SCHEMES
    if not (name in ("hierarchy", "directed") and isinstance(scheme, SemiAmortised))
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "scheme"), TRAINED, ids=lambda x: x if isinstance(x, str) else type(x).__name__
)
def test_trains_every_model(name, scheme):
    make, data = MODELS[name]
    if name in ("hierarchy", "directed", "conditional") and isinstance(scheme, Alternating):
        scheme = Alternating(1)  # logs no information
    model = make()
    model.compile(keras.optimizers.SGD(0.05), scheme=scheme, run_eagerly=True)
    before = model.get_weights()
    # Turns of an alternating scheme end with the second step; two steps show all of the others.
    steps = 3 if isinstance(scheme, Alternating) else 2
    seen = part(data, 8)
    history = model.fit(
        part(data, 8 * steps), batch_size=8, verbose=0, validation_data=(seen,)
    ).history
    assert np.all(np.isfinite(list(history.values())))
    learned = changed(before, model.get_weights())
    assert all(learned[: len(model.graph.posterior_weights)])
    assert any(learned[len(model.graph.posterior_weights) :])
    assert ("sleep" in history) == isinstance(scheme, WakeSleep)
    assert "val_sleep" not in history


@pytest.mark.slow
@pytest.mark.xla
@pytest.mark.parametrize("scheme", SCHEMES[1:], ids=lambda s: type(s).__name__)
def test_compiled_steps_are_the_eager_ones(scheme):
    """Several steps per call among them. Under XLA draws differ, but for those without noise."""
    dreams = isinstance(scheme, WakeSleep)
    results = []
    for arguments in ({"run_eagerly": True}, {"jit_compile": not dreams}):
        keras.utils.set_random_seed(3)
        posterior = [keras.Input((6,)), keras.layers.Dense(4), analytic.SigmaPointLayer(2)]
        vae = tfvae.VAE(keras.Sequential(posterior), mlp_decoder(), seed=0)
        objective = TargetRate(1.0, num_samples=4)
        vae.compile(keras.optimizers.SGD(0.05), objective, scheme=scheme, **arguments)
        history = vae.fit(X, batch_size=3, epochs=1, shuffle=False, verbose=0).history
        results.append((vae.get_weights(), history, vae.scheme_state))
    (eager, logs, state), (compiled, other_logs, other_state) = results
    for one, other in zip(eager, compiled, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    for key in logs:
        np.testing.assert_allclose(logs[key], other_logs[key], rtol=1e-4, atol=1e-4)
    for key in state:
        np.testing.assert_allclose(state[key], other_state[key], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda s: type(s).__name__)
def test_resumes_to_the_bit(scheme, tmp_path):
    vae = mlp_vae()
    vae.compile(keras.optimizers.Adam(0.05), TargetRate(1.0), scheme=scheme, run_eagerly=True)
    # Five updates: in the middle of a turn, and of what is watched.
    vae.fit(X[:10], batch_size=2, shuffle=False, verbose=0)
    vae.save(tmp_path / "vae.keras")
    loaded = keras.models.load_model(tmp_path / "vae.keras")  # in safe mode
    assert loaded.scheme == scheme
    assert loaded.get_compile_config() == vae.get_compile_config()
    assert loaded.scheme_state == vae.scheme_state
    for model in (vae, loaded):
        model.fit(X, batch_size=4, shuffle=False, verbose=0)
    for one, other in zip(vae.variables, loaded.variables, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.xla
def test_loss_scaling_keeps_the_turns():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        for scheme in (SCHEMES[1], *SCHEMES[3:]):
            vae = mlp_vae()
            optimizer = keras.optimizers.LossScaleOptimizer(
                keras.optimizers.Adam(0.05), initial_scale=16.0
            )
            # A compilation takes seconds; the turns are what XLA could break.
            together = not isinstance(scheme, Alternating)
            vae.compile(optimizer, scheme=scheme, jit_compile=not together)
            before = vae.get_weights()
            history = vae.fit(X[:4], batch_size=4, verbose=0).history
            assert np.all(np.isfinite(list(history.values())))
            num = len(vae.graph.posterior_weights)
            learned = changed(before, vae.get_weights())
            assert all(learned[:num])
            assert any(learned[num:]) == together
    finally:
        keras.config.set_dtype_policy("float32")


def test_joint_is_the_default_and_takes_all_weights():
    vae, other = mlp_vae(), mlp_vae()
    other.set_weights(vae.get_weights())
    vae.compile(keras.optimizers.SGD(0.5), ELBO(num_samples=2), run_eagerly=True)
    assert vae.scheme == Joint()
    assert vae.scheme_state == {}
    with tf.GradientTape() as tape:
        loss = -tf.reduce_mean(other.terms(X[:6], 2).elbo)
    gradients = tape.gradient(loss, other.trainable_weights)
    vae.fit(X[:6], batch_size=6, shuffle=False, verbose=0)
    for new, old, gradient in zip(vae.get_weights(), other.get_weights(), gradients, strict=True):
        np.testing.assert_allclose(new, old - 0.5 * gradient, rtol=1e-5, atol=1e-6)


def test_what_is_no_scheme_is_refused():
    with pytest.raises(TypeError, match=r"object of `tfvae.learning`.*Received: scheme='joint'"):
        mlp_vae().compile("adam", scheme="joint")
    with pytest.raises(NotImplementedError):
        Scheme().update(mlp_vae(), {}, None, {})


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES[1:], ids=lambda s: type(s).__name__)
def test_models_without_an_encoder_to_train_are_refused(scheme):
    density = tfvae.DensityModel(tfvae.priors.Normal(3))
    with pytest.raises(ValueError, match=r"no latents. Received: DensityModel"):
        density.compile("adam", scheme=scheme)
    mixture = tfvae.FiniteMixture(tfvae.layers.IndependentBernoulli(6), 3, seed=0)
    with pytest.raises(ValueError, match=r"none of its own.*Received: FiniteMixture"):
        mixture.compile("adam", scheme=scheme)
    vae = mlp_vae()
    vae.encoder.trainable = False
    with pytest.raises(ValueError, match=r"none of its own.*Received: VAE"):
        vae.compile("adam", scheme=scheme)


def test_a_model_built_by_its_data_is_checked_by_the_first_step():
    encoder = keras.Sequential([tfvae.layers.MultivariateNormalDiag(3)])
    encoder.layers[0].trainable = False
    decoder = keras.Sequential([keras.layers.Dense(6), tfvae.layers.IndependentBernoulli(6)])
    vae = tfvae.VAE(encoder, decoder)
    vae.compile("adam", scheme=WakeSleep())
    with pytest.raises(ValueError, match="none of its own"):
        vae.fit(X, verbose=0)


def test_every_scheme_is_in_the_battery():
    public = [getattr(tfvae.learning, name) for name in tfvae.learning.__all__]
    schemes = {cls for cls in public if inspect.isclass(cls) and issubclass(cls, Scheme)}
    assert schemes - {Scheme} == {type(scheme) for scheme in SCHEMES}
