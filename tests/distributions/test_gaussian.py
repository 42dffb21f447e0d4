"""Which tfp classes are recognised as Gaussians, and as what."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.distributions.gaussian import as_diagonal_normal, as_multivariate_normal
from tfvae.layers import IndependentNormal, MultivariateNormalDiag

tfd = tfp.distributions

LOC = np.array([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]], "float32")
SCALE = np.array([[0.5, 1.0, 2.0], [1.5, 0.1, 1.0]], "float32")
PARAMS = np.concatenate([LOC, np.log(np.expm1(SCALE - 1e-5))], axis=-1).astype("float32")

DIAGONAL = {
    "diag": lambda: tfd.MultivariateNormalDiag(LOC, SCALE),
    "independent": lambda: tfd.Independent(tfd.Normal(LOC, SCALE), 1),
    "nested": lambda: tfd.Independent(tfd.Independent(tfd.Normal(LOC, SCALE), 1), 0),
    "diag layer": lambda: MultivariateNormalDiag(3)(PARAMS),
    "independent layer": lambda: IndependentNormal(3)(PARAMS),
}
OTHERS = {
    "student": lambda: tfd.Independent(tfd.StudentT(5.0, LOC, SCALE), 1),
    "lognormal": lambda: tfd.Independent(tfd.LogNormal(LOC, SCALE), 1),
    "mixture": lambda: tfd.MixtureSameFamily(
        tfd.Categorical(logits=[0.0, 0.0]), tfd.MultivariateNormalDiag(LOC, SCALE)
    ),
}


@pytest.mark.parametrize("make", DIAGONAL.values(), ids=DIAGONAL)
def test_diagonal_gaussians_are_recognised(make):
    normal = as_diagonal_normal(make())
    assert isinstance(normal, tfd.Normal)
    assert normal.batch_shape == (2, 3)
    np.testing.assert_allclose(normal.loc, LOC, rtol=1e-6)
    np.testing.assert_allclose(normal.scale, SCALE, rtol=1e-5)
    vector = as_multivariate_normal(make())
    x = tf.zeros([2, 3])
    np.testing.assert_allclose(vector.log_prob(x), make().log_prob(x), rtol=1e-5)
    assert isinstance(vector, tfd.MultivariateNormalLinearOperator)


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_other_families_are_not(make):
    assert as_diagonal_normal(make()) is None
    assert as_multivariate_normal(make()) is None


def test_full_covariance_is_gaussian_but_not_diagonal():
    full = tfd.MultivariateNormalTriL(LOC, tf.linalg.diag(SCALE))
    assert as_diagonal_normal(full) is None
    assert as_multivariate_normal(full) is full


def test_scalars_and_images():
    scalar = tfd.Independent(tfd.Normal(LOC, SCALE), 0)
    image = tfd.Independent(tfd.Normal(LOC, SCALE), 2)
    for distribution in (tfd.Normal(LOC, SCALE), scalar, image):
        np.testing.assert_array_equal(as_diagonal_normal(distribution).loc, LOC)
        assert as_multivariate_normal(distribution) is None
