"""Moments that a distribution may not have."""

import numpy as np
import tensorflow_probability as tfp

from tfvae.distributions.statistics import centre, probabilities, statistic

tfd = tfp.distributions


def test_moments_where_there_are_some_and_a_fixed_draw_where_there_are_none():
    normal = tfd.Normal([1.0, 2.0], 3.0)
    np.testing.assert_array_equal(centre(normal), [1.0, 2.0])
    np.testing.assert_array_equal(statistic(normal, "stddev"), [3.0, 3.0])
    flow = tfd.TransformedDistribution(normal, tfp.bijectors.Tanh())
    assert statistic(flow, "mean") is None
    assert statistic(flow, "stddev") is None
    np.testing.assert_array_equal(centre(flow), centre(flow))
    assert np.all(np.abs(centre(flow)) < 1.0)


def test_unordered_categories_have_probabilities_and_a_most_probable_one():
    logits = np.log([[0.35, 0.05, 0.6], [0.1, 0.8, 0.1]])
    categories = tfd.Independent(tfd.Categorical(logits.astype("float32"), dtype="float32"), 1)
    np.testing.assert_array_equal(centre(categories), [2.0, 1.0])
    np.testing.assert_allclose(probabilities(categories), np.exp(logits), rtol=1e-6, atol=1e-6)
    assert probabilities(tfd.Poisson(1.0)) is None
    # Of two components over two variables: the average, by their weights.
    both = np.stack([logits, logits[::-1]]).astype("float32")
    mixture = tfd.MixtureSameFamily(
        tfd.Categorical(probs=[0.25, 0.75]),
        tfd.Independent(tfd.Categorical(both, dtype="float32"), 1),
    )
    expected = 0.25 * np.exp(logits) + 0.75 * np.exp(logits[::-1])
    np.testing.assert_allclose(probabilities(mixture), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(centre(mixture), expected.argmax(axis=-1))


def test_a_given_draw_stands_in_for_a_mean():
    flow = tfd.TransformedDistribution(tfd.Normal(0.0, 1.0), tfp.bijectors.Tanh())
    assert centre(flow, draw=0.25) == 0.25
    assert centre(tfd.Normal(3.0, 1.0), draw=0.25) == 3.0
