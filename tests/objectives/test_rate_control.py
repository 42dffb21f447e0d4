"""Capacity and free bits, by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.objectives.test_elbo import make_terms
from tfvae.objectives import Capacity, FreeBits, Linear

tfd = tfp.distributions


def test_capacity_is_a_distance_of_means():
    terms = make_terms(3)
    rate, distortion = np.mean(terms.rate), np.mean(terms.distortion)
    for capacity in (0.0, rate - 0.25, rate + 0.5):
        bound = Capacity(capacity, weight=3.0)(terms)
        assert bound.shape == (5,)
        expected = -distortion - 3.0 * abs(rate - capacity)
        assert np.mean(bound) == pytest.approx(expected, rel=1e-5)
    rising = Capacity(Linear(0.0, 4.0, steps=4))
    np.testing.assert_allclose(rising(terms, 1), Capacity(1.0)(terms), rtol=1e-6)


def gradient_of_scales(objective, loc=((2.0, 0.0), (1.0, 0.1))):
    """Returns the gradient of the mean bound in the locations of two posteriors `[2, 2]`."""
    loc = tf.constant(loc)
    with tf.GradientTape() as tape:
        tape.watch(loc)
        q_z = tfd.MultivariateNormalDiag(loc, tf.ones([2, 2]))
        terms = make_terms(1, batch=2)._replace(q_z=q_z, kl=0.5 * tf.reduce_sum(loc**2, axis=1))
        bound = tf.reduce_mean(objective(terms))
    return float(bound + tf.reduce_mean(terms.distortion)), tape.gradient(bound, loc).numpy()


def test_capacity_pulls_from_both_sides():
    # Rates of 2 and 0.505; with unit scales the gradient of a rate is the location.
    value, gradient = gradient_of_scales(Capacity(1.0))
    assert value == pytest.approx(-(2.505 / 2 - 1.0), rel=1e-5)
    np.testing.assert_allclose(gradient, [[-1.0, 0.0], [-0.5, -0.05]], atol=1e-6)
    value, gradient = gradient_of_scales(Capacity(5.0, weight=2.0))
    assert value == pytest.approx(-2.0 * (5.0 - 2.505 / 2), rel=1e-5)
    np.testing.assert_allclose(gradient, [[2.0, 0.0], [1.0, 0.1]], atol=1e-6)


def test_free_bits_are_of_means_over_the_batch():
    # Mean rates of 1.25 and 0.0025 by dimension, though each point has others.
    value, gradient = gradient_of_scales(FreeBits(0.6))
    assert value == pytest.approx(-(1.25 + 0.6), rel=1e-5)
    np.testing.assert_allclose(gradient, [[-1.0, 0.0], [-0.5, 0.0]], atol=1e-6)
    value, gradient = gradient_of_scales(FreeBits(2.0))
    assert value == pytest.approx(-4.0, rel=1e-5)
    np.testing.assert_array_equal(gradient, np.zeros((2, 2)))
    value, gradient = gradient_of_scales(FreeBits(0.0))
    assert value == pytest.approx(-2.505 / 2, rel=1e-5)
    np.testing.assert_allclose(gradient, [[-1.0, 0.0], [-0.5, -0.05]], atol=1e-6)


def test_free_bits_by_level():
    terms = make_terms(2)
    levels = tf.constant([[1.0, 0.1, 3.0]] * 4 + [[2.0, 0.2, 0.0]])
    terms = terms._replace(level_rates=levels)
    means = np.mean(levels, axis=0)
    expected = -np.mean(terms.distortion) - np.maximum(means, 0.5).sum()
    assert np.mean(FreeBits(0.5, by_level=True)(terms)) == pytest.approx(expected, rel=1e-5)
    rising = FreeBits(Linear(0.0, 1.0, steps=10), by_level=True)
    assert np.mean(rising(terms, 5)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "objective", [Capacity(Linear(0.0, 5.0, steps=9), 10.0, 2), FreeBits(0.1, by_level=True)]
)
def test_config_round_trip(objective):
    stored = keras.saving.serialize_keras_object(objective)
    assert keras.saving.deserialize_keras_object(stored) == objective


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Capacity(-1.0), "`capacity` must be a number >= 0 or a schedule.*capacity=-1.0"),
        (lambda: Capacity(1.0, weight=-1.0), "`weight` must be a number >= 0. Received: weight=-1"),
        (lambda: Capacity(1.0, num_samples=0), "num_samples=0"),
        (lambda: FreeBits("all"), "`nats` must be a number >= 0 or a schedule.*nats='all'"),
        (lambda: FreeBits(0.1, num_samples=0.5), "num_samples=0.5"),
        (lambda: FreeBits(0.1, by_level=True)(make_terms(1)), "`by_level=True` is for hierarchies"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
