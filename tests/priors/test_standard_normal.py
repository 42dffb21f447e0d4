"""The standard normal prior against SciPy."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.priors import StandardNormal


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_density_is_that_of_scipy(shape):
    prior = StandardNormal(shape)
    z = np.random.default_rng(0).normal(size=(4, 5, *shape))
    expected = scipy.stats.norm.logpdf(z).sum(axis=tuple(range(2, z.ndim)))
    p_z = prior.distribution()
    assert p_z.dtype == tf.float32
    np.testing.assert_allclose(p_z.log_prob(z.astype("float32")), expected, rtol=1e-5, atol=1e-6)
    assert prior.weights == []


def test_is_a_gaussian_that_divergences_know():
    q = tfp.distributions.MultivariateNormalDiag([1.0, 2.0], [1.0, 1.0])
    p = StandardNormal(2).distribution()
    assert isinstance(p, tfp.distributions.Independent)
    assert float(tfp.distributions.kl_divergence(p, p)) == 0.0
    assert float(p.log_prob(tf.zeros(2)) - p.log_prob(q.mean())) == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("policy", "dtype"),
    [("mixed_float16", "float32"), ("mixed_bfloat16", "float32"), ("float64", "float64")],
)
def test_precision_is_that_of_the_weights(policy, dtype):
    assert StandardNormal(2, dtype=policy).distribution().dtype == dtype
