"""The contract of `Prior`, over all priors."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import assert_trains_under_xla, binary_data, mlp_decoder
from tfvae import layers, priors
from tfvae.priors import Prior


def encoder(layer, size=6, params=None):
    return keras.Sequential(
        [
            keras.Input((size,)),
            keras.layers.Dense(5, "tanh"),
            keras.layers.Dense(params or layer.params_size(3)),
            layer(3),
        ]
    )


def one_hot_encoder():
    return encoder(layers.OneHotCategorical)


def normal_encoder():
    return encoder(layers.MultivariateNormalDiag)


def spherical_encoder():
    return encoder(layers.PowerSpherical)


def categorical_encoder():
    return keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(layers.IndependentCategorical.params_size(3, 4)),
            layers.IndependentCategorical(3, 4),
        ]
    )


# One entry per prior: how to make it for latents of shape (3,), or None to leave that to the
# model, and an encoder with a posterior that goes with it.
PRIORS = {
    priors.StandardNormal: (priors.StandardNormal, normal_encoder),
    priors.Normal: (priors.Normal, normal_encoder),
    priors.GaussianMixture: (lambda shape: priors.GaussianMixture(4, shape), normal_encoder),
    priors.VampPrior: (lambda shape: priors.VampPrior(4, shape), normal_encoder),
    priors.Categorical: (lambda shape: priors.Categorical(4, shape), categorical_encoder),
    priors.OneHot: (priors.OneHot, one_hot_encoder),
    priors.Autoregressive: (
        lambda shape: priors.Autoregressive(4, shape, hidden_units=[8]),
        categorical_encoder,
    ),
    priors.Hyperspherical: (priors.Hyperspherical, spherical_encoder),
    priors.RealNVP: (lambda shape: priors.RealNVP(shape, hidden_units=[4]), normal_encoder),
}
# Tested in files of their own.
ELSEWHERE = {
    priors.Conditional,
    priors.FlowPrior,
    priors.MaskedAutoregressive,
    priors.NeuralSpline,
    priors.Parametric,
}
# What has no distribution before it belongs to a model.
CONNECTED = {priors.VampPrior}

over_all_priors = pytest.mark.parametrize("cls", PRIORS, ids=lambda cls: cls.__name__)
over_free_priors = pytest.mark.parametrize(
    "cls", [cls for cls in PRIORS if cls not in CONNECTED], ids=lambda cls: cls.__name__
)


def make(cls, shape=None):
    return PRIORS[cls][0](shape)


def vae_with(cls, shape=None):
    return tfvae.VAE(PRIORS[cls][1](), mlp_decoder(latents=3), make(cls, shape), seed=0)


def test_battery_is_complete():
    exported = {getattr(tfvae.priors, name) for name in tfvae.priors.__all__}
    found = {cls for cls in exported if inspect.isclass(cls) and issubclass(cls, Prior)}
    assert found - {Prior} == set(PRIORS) | ELSEWHERE


@over_free_priors
def test_shape_is_given_or_set_once(cls):
    prior = make(cls, 3)
    assert prior.built
    p_z = prior.distribution()
    assert p_z.event_shape == (3,)
    assert p_z.batch_shape == ()
    z = p_z.sample(5, seed=[1, 2])
    assert z.shape == (5, 3)
    assert p_z.log_prob(tf.broadcast_to(z[0], [4, 5, 3])).shape == (4, 5)
    prior.build((3,))  # as before: nothing to say
    with pytest.raises(ValueError, match=r"of shape \(3,\), the posterior over .*\(2,\)"):
        prior.build((2,))


@over_all_priors
def test_shape_has_to_be_known(cls):
    late = make(cls)
    assert late.event_shape is None
    with pytest.raises(ValueError, match="does not know the shape of its latents yet"):
        late.distribution()


@pytest.mark.parametrize("cls", [priors.StandardNormal, priors.Normal])
def test_latents_may_have_any_shape(cls):
    prior = cls((2, 3))
    assert prior.distribution().event_shape == (2, 3)
    mixture = priors.GaussianMixture(4, (2, 3)).distribution()
    assert mixture.event_shape == (2, 3)
    assert mixture.sample(5, seed=[1, 2]).shape == (5, 2, 3)


@over_all_priors
def test_config_round_trips(cls):
    for shape in (None, 3):
        prior = make(cls, shape)
        copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(prior))
        assert type(copy) is cls
        assert copy.get_config() == prior.get_config()


@pytest.mark.slow
@pytest.mark.xla
@over_all_priors
def test_trains_under_xla(cls):
    assert_trains_under_xla(vae_with(cls), binary_data(20))


@pytest.mark.slow
@over_all_priors
def test_life_in_a_model(cls, tmp_path):
    """Fit, reload, evidence and export, in one model."""
    vae, x = vae_with(cls), binary_data(20)
    assert vae.prior.event_shape == (3,)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(vae.prior_distribution().log_prob(vae.terms(x, seed=0).z))
    gradients = tape.gradient(value, vae.prior.trainable_weights)
    assert all(g is not None and np.all(np.isfinite(g)) for g in gradients)

    start = [w.numpy() for w in vae.prior.trainable_weights]
    # One batch costs less than a graph: those are made under XLA, and by the export.
    vae.compile(keras.optimizers.Adam(0.01), run_eagerly=True)
    history = vae.fit(x, epochs=2, verbose=0).history
    assert np.all(np.isfinite(history["elbo"]))
    assert not any(
        np.array_equal(a, b) for a, b in zip(start, vae.prior.trainable_weights, strict=True)
    )

    vae.save(tmp_path / "vae.keras")
    loaded = keras.models.load_model(tmp_path / "vae.keras")
    assert type(loaded.prior) is cls
    # The encoder of a VampPrior is stored, and trained, once.
    assert len(loaded.weights) == len(vae.weights)
    z = vae.prior_distribution().sample(7, seed=[1, 2])
    np.testing.assert_array_equal(
        loaded.prior_distribution().log_prob(z), vae.prior_distribution().log_prob(z)
    )
    np.testing.assert_array_equal(loaded.terms(x, 2, 3).log_w, vae.terms(x, 2, 3).log_w)

    ledger = tfvae.decompose(vae, x, num_samples=200, evidence_samples=200, verbose=False)
    for name, residual in ledger.residuals.items():
        assert abs(residual.mean) <= 5 * residual.standard_error + 1e-4, name
    vae.export(tmp_path / "export", verbose=False, signatures=["log_prob", "generate"])
    served = tf.saved_model.load(str(tmp_path / "export")).signatures
    log_p_x = served["log_prob"](
        x=tf.constant(x), num_samples=tf.constant(5), seed=tf.constant([3, 4], tf.int32)
    )["log_prob"]
    assert np.all(np.isfinite(log_p_x))
    drawn = served["generate"](num_samples=tf.constant(4), seed=tf.constant([1, 2], tf.int32))
    assert drawn["z"].shape == (4, 3)


def test_abstract_class_says_so():
    with pytest.raises(NotImplementedError):
        Prior(2).distribution()


def test_a_prior_of_other_latents_is_refused():
    class Wrong(Prior):
        def distribution(self, context=None):
            return priors.StandardNormal(7).distribution()

    with pytest.raises(ValueError, match=r"`prior` must return .*Expected: event_shape=\(3,\)"):
        tfvae.VAE(normal_encoder(), mlp_decoder(latents=3), Wrong())
