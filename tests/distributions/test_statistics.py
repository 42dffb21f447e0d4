"""Moments that a distribution may not have."""

import numpy as np
import tensorflow_probability as tfp

from tfvae.distributions.statistics import centre, statistic

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
