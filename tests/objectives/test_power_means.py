"""Power means of weights against their definitions, in NumPy."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logsumexp

from tfvae.objectives.power_means import PowerMean, PowerMeans

LOG_W = np.random.default_rng(0).normal(size=(6, 4), scale=3.0)


def definition(log_w, order, groups):
    parts = np.split(log_w, groups)
    if order == 0.0:
        return np.mean(log_w, axis=0)
    means = [logsumexp(order * part, axis=0, b=1.0 / len(part)) / order for part in parts]
    return np.mean(means, axis=0)


@pytest.mark.parametrize("order", [1.0, 0.5, 0.0, -1.0, 2.0, 0.005, -0.009])
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_value_and_derivatives(order, groups):
    mean, log_w = PowerMean(order, groups), tf.constant(LOG_W)
    with tf.GradientTape() as tape:
        tape.watch(log_w)
        value = mean.value(log_w)
    gradient = tape.gradient(value, log_w)
    np.testing.assert_allclose(value, definition(LOG_W, order, groups), rtol=1e-9)
    np.testing.assert_allclose(mean.weights(log_w), gradient, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(np.sum(gradient, axis=0), np.ones(4), rtol=1e-9)
    step = 1e-4
    for s in range(6):
        shift = np.zeros_like(LOG_W)
        shift[s] = step
        ends = [definition(LOG_W + sign * shift, order, groups) for sign in (1, 0, -1)]
        second = (ends[0] - 2 * ends[1] + ends[2]) / step**2
        np.testing.assert_allclose(mean.curvature(log_w)[s], second, atol=1e-5)


def test_small_orders_lose_no_digits():
    log_w = LOG_W.astype("float32") - 500.0
    exact = log_w.astype("float64")
    for order in (1e-2, 1e-3, 1e-5, -1e-7):
        found = PowerMean(order).value(tf.constant(log_w))
        np.testing.assert_allclose(found, definition(exact, order, 1), rtol=3e-7)
    # Where weights are far apart even a small order is not near zero.
    apart = np.array([[0.0], [-1e6]], "float32")
    found = PowerMean(1e-3).value(tf.constant(apart))
    np.testing.assert_allclose(found, definition(apart.astype("float64"), 1e-3, 1), rtol=1e-5)


def test_gradients_are_finite_at_every_order():
    log_w = tf.constant([[0.0, 1.0], [-1e6, 1.0]])
    for order in (1.0, 1e-3, 0.0):
        with tf.GradientTape() as tape:
            tape.watch(log_w)
            value = PowerMean(order).value(log_w)
        gradient = tape.gradient(value, log_w)
        np.testing.assert_allclose(gradient, PowerMean(order).weights(log_w), atol=1e-6)


def test_sums():
    log_w = tf.constant(LOG_W)
    one, other = PowerMean(0.0), PowerMean(1.0, 2)
    both = PowerMeans(((0.25, one), (2.0, other)))
    assert both.total == 2.25
    for method in ("weights", "curvature"):
        expected = 0.25 * getattr(one, method)(log_w) + 2.0 * getattr(other, method)(log_w)
        np.testing.assert_allclose(getattr(both, method)(log_w), expected)
    np.testing.assert_allclose(both(log_w), 0.25 * one.value(log_w) + 2.0 * other.value(log_w))
    np.testing.assert_array_equal(PowerMeans.of(1.0, 2)(log_w), other.value(log_w))
