"""The maps of single numbers, against what is known of them."""

import numpy as np
import pytest
import tensorflow as tf

from tests.flows.cases import normal
from tfvae.flows.elementwise import MAX_LOG_SCALE, affine, rational_quadratic


def test_affine_maps():
    x, params = (
        tf.constant([2.0, -1.0], tf.float64),
        tf.constant([[0.5, 0.0], [1.0, 0.7]], "float64"),
    )
    y, log_slope = affine(x, params)
    log_scale = MAX_LOG_SCALE * np.tanh(0.7 / MAX_LOG_SCALE)
    np.testing.assert_allclose(y, [2.5, 1.0 - np.exp(log_scale)])
    np.testing.assert_allclose(log_slope, [0.0, log_scale])
    back, log_slope = affine(y, params, inverse=True)
    np.testing.assert_allclose(back, x)
    np.testing.assert_allclose(log_slope, [0.0, -log_scale])
    assert np.max(np.abs(affine(x, 1e4 * params)[1])) == MAX_LOG_SCALE


@pytest.mark.parametrize("num_bins", [2, 8, 40])
def test_splines(num_bins):
    bound, params = 3.0, 3.0 * normal(3 * num_bins - 1)
    x = np.linspace(-3.5, 3.5, 20_001)
    y, log_slope = rational_quadratic(tf.constant(x), params, bound)
    outside = np.abs(x) >= bound
    np.testing.assert_array_equal(y[outside], x[outside])
    np.testing.assert_array_equal(log_slope[outside], 0.0)
    assert np.all(np.diff(y) > 0.0)
    assert np.max(np.abs(y - x)) > 0.1
    # One derivative everywhere, at knots too: the trapezoid rule gives back the rise.
    slope = np.exp(log_slope)
    step = x[1] - x[0]
    rise = np.cumsum(step * (slope[1:] + slope[:-1]) / 2)
    np.testing.assert_allclose(rise, y[1:] - y[0], atol=1e-3)
    with tf.GradientTape() as tape:
        value = tf.constant(x)
        tape.watch(value)
        image, _ = rational_quadratic(value, params, bound)
    np.testing.assert_allclose(tape.gradient(image, value), slope, rtol=1e-8)
    back, log_slope_back = rational_quadratic(y, params, bound, inverse=True)
    np.testing.assert_allclose(back, x, atol=1e-10)
    np.testing.assert_allclose(log_slope_back, -log_slope, atol=1e-8)


def test_a_spline_runs_through_its_knots():
    """Of three bins whose shares are worked out by hand."""
    raw_widths, raw_heights = np.log([1.0, 2.0, 1.0]), np.log([3.0, 1.0, 1.0])
    params = tf.constant(np.concatenate([raw_widths, raw_heights, [0.1, -0.1]]))
    shares = [0.2 / 3 + 0.8 * np.array(s) for s in ([0.25, 0.5, 0.25], [0.6, 0.2, 0.2])]
    x, y = (-1.0 + 2.0 * np.cumsum(s)[:2] for s in shares)
    image, log_slope = rational_quadratic(tf.constant(x), params, 1.0)
    np.testing.assert_allclose(image, y, rtol=1e-12)
    expected = 3.0 * np.tanh(np.array([0.1, -0.1]) / 3.0)
    np.testing.assert_allclose(log_slope, expected, rtol=1e-9)


def test_zeros_are_the_identity():
    x = normal(100)
    for image, log_slope in (
        affine(x, tf.zeros([100, 2], tf.float64)),
        rational_quadratic(x, tf.zeros([100, 14], tf.float64), 2.0),
    ):
        np.testing.assert_allclose(image, x, atol=1e-12)
        np.testing.assert_allclose(log_slope, 0.0, atol=1e-12)


@pytest.mark.parametrize("inverse", [False, True])
def test_splines_of_any_parameters_are_finite(inverse):
    generator = np.random.default_rng(0)
    params = generator.choice([-1e4, -3.0, 0.0, 3.0, 1e4], (500, 1, 23)).astype("float32")
    x = tf.constant([-1e4, -5.0, -4.999999, -1.0, 0.0, 2.0, 4.999999, 5.0, 1e4])
    params = tf.constant(params)
    with tf.GradientTape() as tape:
        tape.watch([x, params])
        image, log_slope = rational_quadratic(x, params, 5.0, inverse=inverse)
        value = tf.reduce_sum(image) + tf.reduce_sum(log_slope)
    for found in (image, log_slope, *tape.gradient(value, [x, params])):
        assert np.all(np.isfinite(found))
    assert np.all(np.diff(image, axis=-1) >= 0.0)
