"""Reshapes in eager code, and in graphs that know a part of the shape."""

import numpy as np
import pytest
import tensorflow as tf

from tfvae._shapes import joined, leading_shape, no_columns, of_each, with_event


@pytest.mark.parametrize("known", [(None, 3, 4), (5, None, 4), (None, None, 4), (5, 3, 4)])
@pytest.mark.parametrize(
    ("event", "axes", "shape"),
    [([2, 2], 1, (2, 2)), ([12], 2, (12,)), ([-1, 2], 1, (2, 2)), ([1], 0, (4, 1)), ([], 3, None)],
)
def test_values_stay_in_order_and_known_sizes_known(known, event, axes, shape):
    x = np.arange(1 if shape is None else 60, dtype="float32")
    x = x.reshape((1, 1, 1) if shape is None else (5, 3, 4))
    known = (None, None, None) if shape is None else known
    leading = x.shape[: 3 - axes]
    found, seen = [], []

    @tf.function(input_signature=[tf.TensorSpec(known)])
    def reshaped(x):
        y = with_event(x, event, axes=axes)
        seen.append(y.shape)
        return y

    found = reshaped(x)
    np.testing.assert_array_equal(found, x.reshape((*leading, *event)))
    np.testing.assert_array_equal(found, with_event(tf.constant(x), event, axes=axes))
    assert seen[0].as_list()[: 3 - axes] == list(known[: 3 - axes])
    sizes = [size for size in event if size != -1]
    assert all(size in seen[0].as_list() for size in sizes)


def test_rows_are_unfolded_like_another_tensor():
    rows, like = tf.range(30.0), tf.zeros([5, 3, 7])
    assert with_event(rows, [2], like=like).shape == (5, 3, 2)
    assert with_event(rows, [None], like=like.numpy()).shape == (5, 3, 2)
    assert with_event(rows[:5], [], axes=2, like=like).shape == (5,)


def test_values_of_fewer_axes_are_those_of_each_row():
    x = np.arange(6.0).reshape(3, 2)
    found = of_each(x, tf.constant([4, 3]), (2,))
    np.testing.assert_array_equal(found, np.tile(x, [4, 1]))
    np.testing.assert_array_equal(
        of_each(x[:, None], tf.constant([3, 4]), (2,)), np.repeat(x, 4, 0)
    )


def test_rows_of_nothing_are_counted():
    seen = []

    @tf.function(input_signature=[tf.TensorSpec((None, 4))])
    def rows(x):
        found = no_columns(x.shape, tf.shape(x))
        seen.append(found.shape.as_list())
        return found

    assert rows(tf.zeros([5, 4])).shape == (5, 0)
    assert seen == [[None, 0]]


def test_shapes_stay_ints_as_long_as_all_are_known():
    assert leading_shape(tf.zeros([5, 3, 2]), 1) == [5, 3]
    assert joined([5], (3, 2), []) == [5, 3, 2]
    seen = []

    @tf.function(input_signature=[tf.TensorSpec((None, 3, 2))])
    def shape(x):
        found = joined([7], leading_shape(x, 1), [], [4])
        seen.append(found)
        return found

    assert shape(tf.zeros([5, 3, 2])).numpy().tolist() == [7, 5, 3, 4]
    assert tf.is_tensor(seen[0])
