"""Layers that compute with given values of their weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.backend import AutocastScope

from tfvae._snapshots import values_of, with_values


def test_a_layer_computes_with_a_snapshot_and_gradients_reach_it():
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    before = values_of(layer)
    x = tf.ones([4, 3])
    expected = layer(x)
    layer.kernel.assign_add(tf.ones([3, 2]))
    with tf.GradientTape() as tape:
        tape.watch(before)
        with with_values(layer, before):
            np.testing.assert_array_equal(layer(x), expected)
            y = tf.reduce_sum(layer(x))
    np.testing.assert_allclose(tape.gradient(y, before)[0], np.full([3, 2], 4.0))
    assert np.all(layer(x) != expected)


def test_no_precision_is_lost_to_a_layer_of_half_precision_around():
    layer = keras.layers.Dense(2, dtype="float32")
    layer.build((None, 3))
    with AutocastScope("float16"):
        values = values_of(layer)
        with with_values(layer, values):
            assert tf.convert_to_tensor(layer.kernel.value).dtype == tf.float32
    np.testing.assert_array_equal(values[0], layer.kernel.numpy())


def test_as_many_values_as_variables():
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    with pytest.raises(ValueError, match="shorter"), with_values(layer, values_of(layer)[:1]):
        pass
