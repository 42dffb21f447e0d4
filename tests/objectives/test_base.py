"""The contract of `Objective` and `Schedule`: what a new one has to bring."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import binary_data, mlp_vae
from tests.objectives.test_elbo import make_terms
from tfvae._random import fold_in, stateless_seed
from tfvae.objectives import (
    ELBO,
    DoublyReparameterised,
    ImportanceWeighted,
    LeaveOneOut,
    Linear,
    Objective,
    PathDerivative,
    Renyi,
    Schedule,
    Sum,
)


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
