import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.evaluation.activity import activity, posterior_means

tfd = tfp.distributions
SEED = tf.constant([0, 1])


def test_activity_is_the_variance_of_known_means():
    loc = np.random.default_rng(0).normal(size=(7, 3)).astype("float32")
    one, other = posterior_means(tfd.MultivariateNormalDiag(loc, tf.ones(3)), SEED)
    found = activity(np.asarray(one), np.asarray(other))
    np.testing.assert_allclose(found, loc.var(axis=0), rtol=1e-5)


def test_of_categories_it_is_that_of_their_probabilities():
    probs = np.array([[[0.5, 0.5]], [[1.0, 0.0]]], "float32")
    one, other = posterior_means(tfd.Independent(tfd.Categorical(probs=probs), 1), SEED)
    # Each of the two probabilities is 0.25 away from its mean.
    assert activity(np.asarray(one), np.asarray(other)) == pytest.approx(2 * 0.25**2)


def test_noise_of_estimated_means_is_no_activity():
    """Without a known mean, halves of the draws are compared: their noise has covariance zero."""
    inner = tfd.MultivariateNormalDiag(tf.zeros([2000, 1]), tf.ones(1))
    q = tfd.TransformedDistribution(inner, tfp.bijectors.SinhArcsinh(skewness=0.3))
    one, other = posterior_means(q, SEED)
    found = activity(np.asarray(one), np.asarray(other))
    spread = np.var(np.asarray(one), axis=0)  # what one half alone would have said
    error = spread / np.sqrt(2000)
    assert abs(found) < 4 * error < spread
