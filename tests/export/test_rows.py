"""Requests of any number of rows: each row is answered as it is alone, wherever it stands."""

import numpy as np
import pytest
import tensorflow as tf

from tfvae.export.rows import answered, with_rows


def noise(x, seed):
    return {"y": x + tf.random.stateless_normal(tf.shape(x), seed)}


def test_a_seed_for_each_row_is_that_of_the_row_alone():
    x, seeds = tf.constant([[1.0], [2.0], [3.0]]), tf.constant([[0, 1], [0, 2], [0, 1]])
    y = answered(noise, {"x": x, "seed": seeds})["y"]
    expected = [noise(x[row : row + 1], seeds[row])["y"][0] for row in range(3)]
    np.testing.assert_allclose(y, expected)
    together = answered(noise, {"x": x, "seed": seeds[0]})["y"]
    np.testing.assert_allclose(together, noise(x, seeds[0])["y"])


def test_noise_without_a_seed_is_that_of_every_row():
    x = tf.constant([[1.0, 4.0], [2.0, 4.0], [3.0, 4.0]])
    y = answered(lambda x: noise(x, [0, 1]), {"x": x})["y"]
    np.testing.assert_allclose(y - x, np.tile(noise(x[:1], [0, 1])["y"] - x[:1], [3, 1]), rtol=1e-5)


def test_counts_are_those_of_all_rows():
    def answer(x, num_steps):
        steps = tf.cast(tf.range(num_steps), x.dtype)
        return {"y": noise(x, [0, 1])["y"] + steps[None]}

    x = tf.constant([[1.0], [2.0]])
    y = answered(answer, {"x": x, "num_steps": tf.constant(3)})["y"]
    np.testing.assert_allclose(y[:, 1] - y[:, 0], [1.0, 1.0], rtol=1e-6)
    np.testing.assert_allclose(y[1] - y[0], np.ones(3), rtol=1e-6)


def test_the_row_that_stands_in_is_that_of_no_request():
    asked = []

    def answer(x, seed):
        asked.append(x.shape[0])
        return {"sum": tf.reduce_sum(x, axis=1), "seeds": tf.repeat(seed[None], x.shape[0], axis=0)}

    for count in (0, 1, 3):
        found = with_rows(answer, {"x": tf.ones([count, 4]), "seed": tf.constant([1, 2])})
        np.testing.assert_array_equal(found["sum"], np.full(count, 4.0))
        assert found["seeds"].shape == (count, 2)
    assert asked == [1, 1, 3]


@pytest.mark.rewriting
def test_convolutions_of_nothing():
    """With the rewriting, by which TensorFlow makes one operation of padding and convolution."""
    kernel = tf.ones([1, 3, 2, 4])

    @tf.function(input_signature=[tf.TensorSpec([None, 2, 3, 2])], autograph=False)
    def convolved(x):
        return with_rows(lambda x: {"y": tf.nn.conv2d(x, kernel, 1, "VALID") + 1.0}, {"x": x})

    for count in (0, 1, 3):
        y = convolved(tf.ones([count, 2, 3, 2]))["y"]
        np.testing.assert_array_equal(y, np.full([count, 2, 1, 4], 7.0))
