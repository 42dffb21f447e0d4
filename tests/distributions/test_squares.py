"""Squared distances of all pairs, against those of all differences."""

import numpy as np
import pytest
import tensorflow as tf

from tfvae.distributions.squares import array_squares, pairwise_squares


@pytest.mark.parametrize("weighted", [False, True])
def test_distances_and_gradients_are_those_of_the_differences(weighted):
    rng = np.random.default_rng(0)
    # Far from zero: what cancels is small all the same.
    x, loc = 100.0 + rng.normal(size=(5, 3)), 100.0 + rng.normal(size=(4, 3))
    parts = [x, loc, *([rng.uniform(0.5, 2.0, (4, 3))] if weighted else [])]
    parts = [tf.constant(part) for part in parts]
    weights = tf.constant(rng.normal(size=(5, 4)))

    def direct(x, loc, precision=1.0):
        return tf.reduce_sum(precision * tf.square(x[:, None] - loc), axis=-1)

    found = []
    for function in (pairwise_squares, direct):
        with tf.GradientTape() as tape:
            tape.watch(parts)
            squares = function(*parts)
            total = tf.reduce_sum(weights * squares)
        found.append([squares, *tape.gradient(total, parts)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)
    arrays = array_squares(*(part.numpy() for part in parts))
    np.testing.assert_allclose(arrays, found[1][0], rtol=1e-9, atol=1e-9)
    single = pairwise_squares(*(tf.cast(part, tf.float32) for part in parts))
    np.testing.assert_allclose(single, found[1][0], rtol=1e-5, atol=1e-5)


def test_no_distance_of_arrays_is_below_zero_however_far_from_zero_they_lie():
    x = 1e6 + np.random.default_rng(0).normal(size=(50, 4))
    squares = array_squares(x, x)
    assert np.min(squares) >= 0.0
    np.testing.assert_allclose(np.diag(squares), 0.0, atol=1e-12)
    direct = np.sum((x[:, None] - x) ** 2, axis=-1)
    np.testing.assert_allclose(squares, direct, rtol=1e-6, atol=1e-9)
