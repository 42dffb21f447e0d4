"""Every objective trains a model, under XLA too, is stored with it, and goes on where it stood."""

import contextlib
import dataclasses
import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import binary_data, mlp_vae, slow_but
from tests.models import test_context as context
from tests.models.test_hierarchy import two_levels
from tfvae.objectives import (
    DIPVAE,
    ELBO,
    MMD,
    BetaTC,
    Capacity,
    Cyclical,
    DoublyReparameterised,
    Enumerated,
    ForwardKL,
    FreeBits,
    ImportanceWeighted,
    InfoVAE,
    LeaveOneOut,
    Linear,
    MinibatchWeighted,
    Objective,
    PathDerivative,
    Plateau,
    Relaxed,
    Renyi,
    ReweightedWakeSleep,
    ScoreFunction,
    SlicedWasserstein,
    StraightThrough,
    Sum,
    Supervised,
    TargetDistortion,
    TargetRate,
)
from tfvae.objectives.base import call_objective, initial_state_of, next_state_of

GAUSSIAN = [
    ELBO(beta=Linear(0.0, 1.0, steps=5), analytic_kl=False, gradient=PathDerivative()),
    ImportanceWeighted(4),
    ImportanceWeighted(4, groups=2, elbo_weight=0.5, gradient=DoublyReparameterised()),
    ImportanceWeighted(4, encoder_groups=2),
    Renyi(0.5, 4, gradient=LeaveOneOut()),
    Capacity(Linear(0.0, 2.0, steps=5), weight=10.0),
    FreeBits(0.25),
    TargetRate(1.0),
    TargetDistortion(4.0),
    BetaTC(dataset_size=20),
    BetaTC(dataset_size=20, weights=MinibatchWeighted(), num_samples=2),
    InfoVAE(),
    ELBO(beta=0.0) + 10.0 * MMD(),
    ELBO() + Linear(0.0, 5.0, steps=5) * SlicedWasserstein(10),
    DIPVAE(aggregated=True),
    ForwardKL(4),
    ReweightedWakeSleep(4),
    0.5 * TargetRate(1.0) + ELBO(num_samples=2),
]
FINITE = [
    # The first four are sums over all states.
    ELBO(beta=2.0),
    TargetRate(0.5),
    Enumerated(beta=0.5),
    Enumerated(marginal=True),
    ELBO(gradient=StraightThrough()),
    ELBO(gradient=Relaxed(0.3)),
    TargetRate(0.5, gradient=StraightThrough()),
    InfoVAE(gradient=StraightThrough()),
    ELBO(gradient=ScoreFunction()),
    ImportanceWeighted(4, gradient=LeaveOneOut()),
    ReweightedWakeSleep(4),
]
X = binary_data(20)


def finite_vae():
    """Returns a VAE whose latent is one of three states."""
    head = tfvae.layers.OneHotCategorical(3)
    encoder = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3), head])
    decoder = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(6), tfvae.layers.IndependentBernoulli(6)]
    )
    return tfvae.VAE(encoder, decoder, tfvae.priors.OneHot(), seed=0)


# One of each kind: of draws with an estimator, of a state, of the whole batch, of a sum; of sums
# over states and of draws of them.
QUICK = {mlp_vae: (0, 7, 12, 17), finite_vae: (1, 9)}
CASES = [
    pytest.param(
        make,
        objective,
        id=f"{make.__name__}-{objective}"[:60],
        marks=[] if index in QUICK[make] else [pytest.mark.slow],
    )
    for make, objectives in ((mlp_vae, GAUSSIAN), (finite_vae, FINITE))
    for index, objective in enumerate(objectives)
]


@pytest.mark.slow
@pytest.mark.parametrize(("make", "objective"), CASES)
def test_trains_saves_and_loads(make, objective, tmp_path):
    vae = make()
    vae.compile(keras.optimizers.Adam(0.05), objective, run_eagerly=True)
    before = vae.get_weights()
    history = vae.fit(X, batch_size=20, verbose=0).history
    assert np.all(np.isfinite(list(history.values())))
    assert history["elbo"][0] == pytest.approx(-history["distortion"][0] - history["rate"][0])
    learned = [np.any(a != b) for a, b in zip(before, vae.get_weights(), strict=True)]
    encoder = len(vae.encoder.weights)
    # The evidence does not depend on the encoder.
    assert all(learned[:encoder]) != (objective == Enumerated(marginal=True))
    # The forward KL is there for the encoder.
    assert any(learned[encoder:]) != isinstance(objective, ForwardKL)

    vae.save(tmp_path / "vae.keras")
    loaded = keras.models.load_model(tmp_path / "vae.keras")  # in safe mode
    assert loaded.objective == objective
    assert loaded.get_compile_config() == vae.get_compile_config()
    assert loaded.objective_state == vae.objective_state
    # The bounds of both are the same numbers, at the same draws.
    bounds = []
    for model in (vae, loaded):
        terms = model.terms(X, objective.num_samples, 3, objective=objective)
        bounds.append(objective(terms, 7).numpy())
    np.testing.assert_array_equal(*bounds)
    assert bounds[0].shape == (20,)


def share_draws(objectives):
    """Returns sums of the objectives that can share their draws, and the others as they are."""
    sums = []
    for objective in objectives:
        for index, found in enumerate(sums):
            with contextlib.suppress(ValueError):
                sums[index] = found + objective
                break
        else:
            sums.append(objective)
    return sums


def conditional_vae():
    """Posterior, likelihood and prior read a context: the prior is another one for each point."""
    return tfvae.VAE(context.encoder(), context.decoder(), context.prior(), seed=0)


# What splits the rate, or q(z), over dimensions has none to split by where levels depend on others.
SPLITTING = (BetaTC, DIPVAE)
HIERARCHICAL = [
    FreeBits(0.25, by_level=True) if isinstance(objective, FreeBits) else objective
    for objective in GAUSSIAN
    if not isinstance(objective, SPLITTING)
]
# A compilation takes seconds: as many objectives as can share one do.
TOGETHER = [
    pytest.param(make, objective, id=f"{make.__name__}-{index}")
    for make, objectives in (
        (mlp_vae, GAUSSIAN),
        (two_levels, HIERARCHICAL),
        (conditional_vae, GAUSSIAN),
        (finite_vae, FINITE),
    )
    for index, objective in enumerate(share_draws(objectives))
]


def data_of(make):
    return context.DATA if make is conditional_vae else X


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.xla
@pytest.mark.parametrize("make", [mlp_vae, two_levels, conditional_vae, finite_vae])
def test_gradients_under_xla(make):
    """Of one model and all objectives in one program, which takes seconds to compile."""
    model = make()
    objectives = [case.values[1] for case in TOGETHER if case.values[0] is make]
    weights = [weight.value for weight in model.trainable_weights]
    batch = model.data.as_batch(
        {name: tf.constant(part[:12]) for name, part in model.data.named(data_of(make)).items()}
    )

    @tf.function(autograph=False, jit_compile=True)
    def of_all(batch):
        found = []
        for objective in objectives:
            state = {name: tf.constant(x) for name, x in initial_state_of(objective).items()}
            with tf.GradientTape() as tape:
                terms = model.terms(
                    **batch,
                    num_samples=objective.num_samples,
                    seed=(0, 1),
                    objective=objective,
                    training=True,
                )
                bound = tf.reduce_mean(call_objective(objective, terms, 0, state))
            gradients = tape.gradient(bound, weights, unconnected_gradients="zero")
            found.append((gradients, next_state_of(objective, state, terms, 0, bound)))
        return found

    for objective, (gradients, state) in zip(objectives, of_all(batch), strict=True):
        for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
            assert np.all(np.isfinite(gradient)), (objective, weight.path)
            assert np.any(gradient != 0.0), (objective, weight.path)
        assert all(np.isfinite(value) for value in state.values()), objective


@pytest.mark.slow
@pytest.mark.parametrize(("make", "objective"), TOGETHER)
def test_resumes_to_the_bit(make, objective, tmp_path):
    vae, data = make(), data_of(make)
    vae.compile(keras.optimizers.Adam(0.05), objective, run_eagerly=True)
    one_step = {"batch_size": 12, "steps_per_epoch": 1, "shuffle": False, "verbose": 0}
    vae.fit(data, **one_step)
    vae.save(tmp_path / "vae.keras")
    loaded = keras.models.load_model(tmp_path / "vae.keras")
    assert loaded.objective == objective
    for model in (vae, loaded):
        model.fit(data, **one_step)
    for one, other in zip(vae.variables, loaded.variables, strict=True):
        np.testing.assert_array_equal(one, other)
    for name, value in vae.objective_state.items():
        np.testing.assert_array_equal(loaded.objective_state[name], value)


@pytest.mark.slow
def test_state_is_taken_up_where_it_was(tmp_path):
    vae = mlp_vae()
    objective = TargetDistortion(4.0, speed=0.5) + 2.0 * MMD()
    vae.compile(keras.optimizers.Adam(0.05), objective, run_eagerly=True)
    vae.fit(X, batch_size=8, shuffle=False, verbose=0)
    vae.save(tmp_path / "vae.keras")
    loaded = keras.models.load_model(tmp_path / "vae.keras")
    assert float(loaded.objective_state["0_multiplier"]) > 1.01


@pytest.mark.slow
@pytest.mark.parametrize(
    "objective", [FreeBits(0.25), BetaTC(dataset_size=20), DIPVAE()], ids=lambda o: type(o)
)
def test_what_splits_over_dimensions_is_refused_by_a_hierarchy(objective):
    for wanted in (objective, ELBO() + 0.5 * objective):
        with pytest.raises(ValueError, match="Hierarchy"):
            two_levels().compile("adam", wanted)


def test_every_objective_is_in_the_battery():
    def parts(objective):
        within = objective.objectives if isinstance(objective, Sum) else ()
        return {type(objective)}.union(*(parts(part) for part in within))

    tried = set().union(*(parts(objective) for objective in (*GAUSSIAN, *FINITE)))
    public = [getattr(tfvae.objectives, name) for name in tfvae.objectives.__all__]
    objectives = {cls for cls in public if inspect.isclass(cls) and issubclass(cls, Objective)}
    # `Supervised` takes a model with labels: tests/models/test_directed.py.
    assert objectives - {Objective, Supervised} == tried
    for make in (mlp_vae, two_levels, conditional_vae, finite_vae):
        together = [case.values[1] for case in TOGETHER if case.values[0] is make]
        assert len(together) < 8
        if make in (mlp_vae, conditional_vae):
            assert set().union(*map(parts, together)) >= set().union(*map(parts, GAUSSIAN))


def mixture_vae():
    """A prior that does not factorise."""
    return mlp_vae(prior=tfvae.priors.GaussianMixture(2, 2))


def sphere_vae():
    """A posterior and a prior that do not factorise."""
    head = tfvae.layers.PowerSpherical(2)
    encoder = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3), head])
    return tfvae.VAE(encoder, mlp_vae().decoder, tfvae.priors.Hyperspherical(), seed=0)


@pytest.mark.parametrize("make", slow_but(of=[mixture_vae, sphere_vae, two_levels, finite_vae]))
def test_what_compile_takes_the_first_step_takes(make):
    model, x = make(), X[:2]
    refused = []
    for objective in [*GAUSSIAN, FreeBits(0.1, by_level=True)]:
        try:
            model.compile("sgd", objective, run_eagerly=True)
        except ValueError:
            refused.append(type(objective))
            continue
        terms = model.terms(x, objective.num_samples, 0, objective=objective)
        state = initial_state_of(objective)
        call_objective(objective.of_points(20), terms, 0, state)
    assert BetaTC in refused
    assert len(refused) < len(GAUSSIAN)


def whole_numbers(part):
    """The fields of a part, and of its parts, that are whole numbers, but for seeds."""
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if dataclasses.is_dataclass(value):
            yield from whole_numbers(value)
        elif "int" in str(field.type) and type(value) is int and field.name != "seed":
            yield part, field.name


@pytest.mark.parametrize(
    "part",
    [
        *GAUSSIAN,
        *FINITE,
        Cyclical(0.0, 1.0, period=7),
        Plateau(0.0, 1.0, increment=0.1, patience=3),
        tfvae.learning.Alternating(5, until_information_stops=50),
        tfvae.learning.SemiAmortised(3, 0.1),
        tfvae.learning.Skip(2),
        tfvae.learning.GoBack(3),
    ],
    ids=str,
)
def test_numbers_without_a_fraction_count_as_whole_ones(part):
    for owner, name in whole_numbers(part):
        same = dataclasses.replace(owner, **{name: float(getattr(owner, name))})
        assert type(getattr(same, name)) is int
        assert same == owner
