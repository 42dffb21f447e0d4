import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.distributions import Hierarchy
from tfvae.distributions.levels import Factor
from tfvae.evaluation.activity import Means, Moments, activity, posterior_means

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


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_sums_over_chunks_are_those_of_all_points(offset):
    """Far from zero too, where sums of plain powers would have no digits left."""
    rng = np.random.default_rng(0)
    one = rng.normal(size=(50, 3)) + offset
    other = one + rng.normal(size=(50, 3)) - offset / 2
    moments = Moments()
    for rows in (slice(0, 1), slice(1, 20), slice(20, 50)):
        moments.add(one[rows], other[rows])
    products = (one - one.mean(axis=0)) * (other - other.mean(axis=0))
    for found, values in ((moments.mean, one), (moments.covariance, products)):
        np.testing.assert_allclose(found.mean, values.mean(axis=0), rtol=1e-9)
        error = values.std(axis=0, ddof=1) / np.sqrt(50)
        np.testing.assert_allclose(found.standard_error, error, rtol=1e-7)
    np.testing.assert_allclose(moments.covariance.mean, activity(one, other), rtol=1e-9)
    np.testing.assert_allclose(Means.of(one).standard_error, moments.mean.standard_error)


def test_sums_of_categories_and_of_a_single_point():
    probs = np.random.default_rng(0).dirichlet(np.ones(4), size=(30, 2))  # [N, K, L]
    moments = Moments()
    moments.add(probs[:10], probs[:10])
    moments.add(probs[10:], probs[10:])
    np.testing.assert_allclose(moments.covariance.mean, activity(probs, probs), rtol=1e-9)
    assert np.all(np.isnan(moments.covariance.standard_error))
    single = Means.of(np.ones([1, 2]))
    np.testing.assert_array_equal(single.mean, [1.0, 1.0])
    assert np.all(np.isnan(single.standard_error))


def test_levels_that_depend_on_others_have_means_over_these():
    """E z_2 of z_2 | z_1 ~ N(z_1**2, 1), z_1 ~ N(m, s**2), is m**2 + s**2; categories beside it."""
    rng = np.random.default_rng(0)
    m, s = (rng.normal(size=[4000, 1]).astype("float32") for _ in range(2))
    logits = rng.normal(size=[4000, 3]).astype("float32")
    one = tf.ones([1])
    factors = [
        Factor("z_1", ("x",), lambda _: tfd.MultivariateNormalDiag(m, s)),
        Factor("z_2", ("z_1",), lambda z: tfd.MultivariateNormalDiag(z["z_1"] ** 2, one)),
        Factor("y", ("x",), lambda _: tfd.Categorical(logits, dtype=tf.float32)),
    ]
    events = {"z_1": (1,), "z_2": (1,), "y": ()}
    for names in (("z_1", "z_2"), ("z_1", "z_2", "y")):
        of = [factor for factor in factors if factor.name in names]
        q = Hierarchy(of, {name: events[name] for name in names}, {"x": tf.zeros([4000, 1])})
        moments = Moments()
        moments.add(*map(np.asarray, posterior_means(q, SEED)))
        found, error = moments.covariance
        right = [m.var(), (m**2 + s**2).var(), tf.nn.softmax(logits).numpy().var(axis=0).sum()]
        assert found[0] == pytest.approx(right[0], rel=1e-5)
        assert abs(found[1] - right[1]) < 4.0 * error[1]
        assert error[1] < 0.2 * right[1]
    assert found[2] == pytest.approx(right[2], rel=1e-5)
    assert np.isnan(error[2])
