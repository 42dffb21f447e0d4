"""DIP-VAE against NumPy's covariances."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.objectives.test_elbo import make_terms
from tfvae.objectives import DIPVAE

tfd = tfp.distributions

LOC = np.random.default_rng(0).normal(size=(5, 2)).astype("float32")
SCALE = np.random.default_rng(1).uniform(0.5, 1.5, size=(5, 2)).astype("float32")
TRIL = np.array([[0.7, 0.0], [0.4, 0.5]], "float32")

POSTERIORS = {
    "diagonal": (tfd.MultivariateNormalDiag(LOC, SCALE), np.diag((SCALE**2).mean(axis=0))),
    "independent": (
        tfd.Independent(tfd.Laplace(LOC, SCALE), 1),
        np.diag(2 * (SCALE**2).mean(axis=0)),
    ),
    "full": (tfd.MultivariateNormalTriL(LOC, np.tile(TRIL, (5, 1, 1))), TRIL @ TRIL.T),
}


@pytest.mark.parametrize("name", POSTERIORS)
@pytest.mark.parametrize("aggregated", [False, True])
def test_penalty(name, aggregated):
    q_z, within = POSTERIORS[name]
    terms = make_terms(2)._replace(q_z=q_z)
    covariance = np.cov(LOC.T, bias=True) + (within if aggregated else 0.0)
    off = covariance[0, 1] ** 2 + covariance[1, 0] ** 2
    units = np.sum((np.diag(covariance) - 1) ** 2)
    bound = DIPVAE(3.0, 7.0, aggregated)(terms)
    expected = np.asarray(terms.elbo) - 3.0 * off - 7.0 * units
    np.testing.assert_allclose(bound, expected, rtol=1e-5)


def test_config_round_trip():
    objective = DIPVAE(5.0, 5.0, aggregated=True, num_samples=2)
    stored = keras.saving.serialize_keras_object(objective)
    assert keras.saving.deserialize_keras_object(stored) == objective


def without_moments():
    q_z = tfd.RelaxedOneHotCategorical(0.5, tf.zeros([5, 2]))
    return make_terms(1)._replace(q_z=q_z)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DIPVAE(-1.0), "`off_diagonal` must be a number >= 0. Received: off_diagonal=-1.0"),
        (lambda: DIPVAE(diagonal=None), "Received: diagonal=None"),
        (lambda: DIPVAE(num_samples=0), "num_samples=0"),
        (lambda: DIPVAE()(without_moments()), "in closed form. Received: RelaxedOneHotCategorical"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
