"""Ways from one latent to another: lines, and great circles."""

import numpy as np
import tensorflow as tf

from tfvae.distributions.support import Support
from tfvae.export.paths import between

SPHERE = Support("PowerSpherical", norm=2)


def test_of_directions_the_way_is_an_arc_of_equal_steps():
    start, end = tf.constant([[2.0, 0.0], [0.0, 3.0]]), tf.constant([[0.0, 1.0], [0.0, 5.0]])
    way = between(start, end, 4, SPHERE)
    angles = np.linspace(0.0, np.pi / 2, 4)
    np.testing.assert_allclose(way[0], np.stack([np.cos(angles), np.sin(angles)], -1), atol=1e-6)
    np.testing.assert_allclose(way[1], [[0.0, 1.0]] * 4, atol=1e-6)


def test_the_way_between_opposite_directions_is_finite():
    way = between(tf.constant([[1.0, 0.0]]), tf.constant([[-1.0, 0.0]]), 3, SPHERE)
    np.testing.assert_array_equal(way[0], [[1.0, 0.0]] * 3)


def test_one_step_is_the_start_and_no_row_has_no_way():
    line = Support("Normal")
    for support in (line, SPHERE):
        start = tf.constant([[0.6, 0.8]])
        np.testing.assert_allclose(between(start, -start, 1, support), start[:, None])
        assert between(start[:0], start[:0], 3, support).shape == (0, 3, 2)
    images = between(tf.zeros([2, 3, 4]), tf.ones([2, 3, 4]), 2, line)
    np.testing.assert_array_equal(images[:, 1], np.ones([2, 3, 4]))
