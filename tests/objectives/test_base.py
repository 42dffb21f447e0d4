"""The contract of `Objective` and `Schedule`: what a new one has to bring."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests import analytic
from tests.conftest import binary_data, mlp_vae
from tests.objectives.test_elbo import make_terms
from tfvae import objectives
from tfvae._random import fold_in, stateless_seed
from tfvae.objectives import (
    DIPVAE,
    ELBO,
    MMD,
    BetaTC,
    DoublyReparameterised,
    FreeBits,
    ImportanceWeighted,
    LeaveOneOut,
    Linear,
    Objective,
    PathDerivative,
    Renyi,
    ReweightedWakeSleep,
    Schedule,
    Sum,
    Supervised,
    TargetRate,
)
from tfvae.objectives.base import call_objective, initial_state_of


@keras.saving.register_keras_serializable("tests")
@dataclasses.dataclass(frozen=True)
class Best(Objective):
    """The best draw counts: a new objective in one class."""

    weight: float = 2.0
    num_samples: int = 3

    def __call__(self, terms, step=0):
        return self.weight * tf.reduce_max(terms.log_w, axis=0)


def test_abstract_classes_say_so():
    with pytest.raises(NotImplementedError):
        Objective()(None)
    with pytest.raises(NotImplementedError):
        Schedule()(0)


@pytest.mark.slow
def test_a_new_objective_trains_and_is_stored(tmp_path):
    x = binary_data(8)
    vae = mlp_vae()
    vae.compile("adam", Best(weight=0.5), jit_compile=False)
    vae.fit(x, verbose=0)
    vae.save(tmp_path / "vae.keras")
    loaded = keras.models.load_model(tmp_path / "vae.keras")
    assert loaded.objective == Best(weight=0.5)
    loss = loaded.evaluate(x, verbose=0, return_dict=True)["loss"]
    log_w = loaded.terms(x, 3, fold_in(stateless_seed(vae.seed or 0), 0)).log_w
    assert loss == pytest.approx(-0.5 * np.mean(np.max(log_w, axis=0)), rel=1e-5)
    assert isinstance(loaded, tfvae.VAE)


def test_sums_weigh_their_addends():
    terms = make_terms(6)
    one, other = ELBO(beta=2.0, num_samples=6), ImportanceWeighted(6)
    a, b = one(terms).numpy(), other(terms).numpy()
    ramp = Linear(0.0, 2.0, steps=10)
    for objective, expected in (
        (one + other, a + b),
        (2.0 * one + other, 2.0 * a + b),
        (one * 3 + 0.5 * other, 3.0 * a + 0.5 * b),
        (2.0 * (one + 0.5 * other), 2.0 * a + b),
        (one + other + one, 2.0 * a + b),
        (ramp * one + other, 0.6 * a + b),
        (ramp * (2.0 * one), 1.2 * a),
        (-1.0 * one, -a),
    ):
        assert isinstance(objective, Sum)
        np.testing.assert_allclose(objective(terms, 3), expected, rtol=1e-5)
        stored = keras.saving.serialize_keras_object(objective)
        assert keras.saving.deserialize_keras_object(stored) == objective
    assert (one + other + one).weights == (1.0, 1.0, 1.0)


def test_sums_draw_as_the_one_that_asks_for_most():
    assert (ELBO() + 2.0 * ELBO(num_samples=5)).num_samples == 5
    assert (ELBO() + ImportanceWeighted(5)).num_samples == 5
    assert (ELBO() + ELBO(num_samples=3)).takes_more_samples
    assert not (ELBO() + ImportanceWeighted(5)).takes_more_samples
    gradient = LeaveOneOut()
    shared = ELBO(num_samples=4, gradient=gradient) + Renyi(0.5, 4, gradient=gradient)
    assert shared.gradient == gradient
    terms = make_terms(4)
    draws = shared.draw(terms.q_z, 4, tf.constant([1, 2]))
    np.testing.assert_array_equal(draws.z, gradient.draw(terms.q_z, 4, tf.constant([1, 2])).z)
    alone = 2.0 * ImportanceWeighted(4, gradient=DoublyReparameterised())
    assert alone.scales_draws
    assert alone.draw(terms.q_z, 4, tf.constant([1, 2])).gradient_scale.shape == (2, 4, 5)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Sum((), ()), ValueError, "Received: 0 objectives, 0 weights"),
        (lambda: Sum((ELBO(),), (1.0, 2.0)), ValueError, "Received: 1 objectives, 2 weights"),
        (lambda: Sum(("ELBO",), (1.0,)), TypeError, "one of objectives. Received: 'ELBO'"),
        (lambda: Sum((ELBO(),), ("1",)), ValueError, "finite number or a schedule. Received: '1'"),
        (lambda: float("nan") * ELBO(), ValueError, "Received: nan"),
        (lambda: ELBO() * "2", TypeError, "unsupported operand|can't multiply"),
        (lambda: ELBO() + 1.0, TypeError, "unsupported operand"),
        (
            lambda: ImportanceWeighted(5) + ELBO(num_samples=8),
            ValueError,
            "another bound. Expected: num_samples=8 for all. Received: num_samples=5",
        ),
        (
            lambda: (
                ELBO(analytic_kl=False, gradient=PathDerivative())
                + ImportanceWeighted(5, gradient=DoublyReparameterised())
            ),
            ValueError,
            r"carry the gradient of one.*ELBO with PathDerivative\(\), ImportanceWeighted with Dou",
        ),
        (
            lambda: Best() + Renyi(0.5, 3, gradient=LeaveOneOut()),
            ValueError,
            "Received: Best with any that follows draws, Renyi with LeaveOneOut",
        ),
        (
            lambda: ELBO(num_samples=4) + ImportanceWeighted(4, encoder_groups=2),
            ValueError,
            "must be equal, and such as others can share",
        ),
    ],
)
def test_sums_that_cannot_be_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


BOUNDS = [
    ELBO(),
    ELBO(4.0, analytic_kl=False),
    ImportanceWeighted(6, groups=2, elbo_weight=0.5),
    Renyi(0.0, 6),
    Renyi(3.0, 6),
    FreeBits(0.5),
    DIPVAE(),
    BetaTC(1.0, dataset_size=500),
    ReweightedWakeSleep(6),
    0.5 * ELBO() + 0.5 * ImportanceWeighted(6),
]
ABOVE = [MMD(), TargetRate(100.0), Renyi(-9.0, 2000), ELBO() + 100.0 * Supervised()]


@pytest.mark.slow
def test_what_is_said_to_be_a_bound_lies_below_log_p_x():
    truth = analytic.LinearGaussian.random()
    x = truth.draw(500)
    model, log_p_x = truth.vae(), truth.log_p_x(x)
    for objective in [*BOUNDS, *ABOVE]:
        terms = model.terms(x, objective.num_samples, seed=0)
        terms = terms._replace(log_q_labels=tf.ones([500]))  # log q of densities may be positive
        bound = call_objective(objective, terms, 0, initial_state_of(objective))
        above = bound.numpy() - log_p_x
        assert objective.is_bound is (objective in BOUNDS), objective
        if objective in BOUNDS:
            assert above.mean() < 5.0 * above.std() / np.sqrt(len(x)), objective
        else:
            assert above.mean() > 0.0, objective


def test_what_may_be_a_bound_or_not_is_said_to_be_none():
    never = ELBO(0.5), ELBO(Linear(1.0, 2.0, steps=5)), ELBO() + ELBO(2.0), ELBO() + MMD()
    for objective in never:
        assert objective.is_bound is False
    for objective in (BetaTC(4.0), Best(), 0.5 * ELBO() + 0.5 * Best()):
        assert objective.is_bound is None


@pytest.mark.parametrize(
    "make",
    [
        lambda between: objectives.TargetRate(0.3),
        lambda between: objectives.TargetDistortion(4.0),
        lambda between: objectives.Capacity(sum(between), 10.0),
        lambda between: objectives.FreeBits(between[0]),
        lambda between: objectives.DIPVAE(),
        lambda between: objectives.DIPVAE(aggregated=True),
        lambda between: objectives.ELBO() + 2.0 * objectives.TargetRate(0.3),
    ],
)
def test_what_weighs_nothing_has_no_part_in_means_over_points(make):
    vae, x = mlp_vae(), binary_data(12)
    few, all_ = (vae.terms(rows, seed=[0, 1]) for rows in (x[:5], x))
    moments = [(q.mean().numpy(), q.variance().numpy()) for q in (few.q_z, all_.q_z)]
    rates = [np.mean(0.5 * (m**2 + v - 1.0 - np.log(v)), axis=0) for m, v in moments]
    objective = make([float(rate) for rate in np.mean(rates, axis=0)])
    weighed = all_._replace(sample_weight=tf.constant([2.0] * 5 + [0.0] * 7))
    found, states = [], []
    for terms in (few, weighed, all_):
        state = objectives.base.initial_state_of(objective)
        state = {name: tf.constant(value) for name, value in state.items()}
        found.append(objectives.base.call_objective(objective, terms, 0, state)[:5])
        bound = terms.mean(found[-1]) if terms is few else tf.constant(0.0)
        states.append(objectives.base.next_state_of(objective, state, terms, 0, bound))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5, atol=1e-5)
    for name, value in states[0].items():
        np.testing.assert_allclose(states[1][name], value, rtol=1e-5)
    if states[0]:
        without = all_._replace(sample_weight=tf.zeros([12]))
        kept = objectives.base.next_state_of(objective, state, without, 0, tf.constant(0.0))
        assert {n: float(v) for n, v in kept.items()} == {n: float(v) for n, v in state.items()}
    differ = np.any(np.abs(found[2] - found[0]) > 1e-6)
    assert differ or any(states[2][name] != value for name, value in states[0].items())
