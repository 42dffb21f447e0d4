"""Distributions as tensors: one draw, made once, the same for all who read it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.layers import MixtureNormal, MultivariateNormalDiag
from tfvae.layers.coercible import Coercer, TensorCoercible

tfd = tfp.distributions


@pytest.fixture
def q_z():
    return MultivariateNormalDiag(2)(np.zeros([5, 4], "float32"))


def test_all_readers_see_one_draw(q_z):
    draw = tf.convert_to_tensor(q_z)
    identity = keras.layers.Identity()
    for reader in (
        tf.convert_to_tensor,
        np.asarray,
        keras.ops.convert_to_tensor,
        identity,
        lambda q: q + 0.0 * draw,
        lambda q: keras.layers.Concatenate()([q, q])[:, :2],
    ):
        np.testing.assert_array_equal(reader(q_z), draw)
    assert q_z.shape == draw.shape == (5, 2)


def test_all_readers_see_one_draw_in_graphs():
    inputs = keras.Input((4,))
    z = MultivariateNormalDiag(2)(inputs)
    model = keras.Model(inputs, [keras.layers.Identity()(z), keras.layers.Rescaling(2.0)(z)])
    for call in (model, tf.function(model), tf.function(model, jit_compile=True)):
        first, second = call(np.zeros([5, 4], "float32"))
        np.testing.assert_array_equal(2.0 * tf.convert_to_tensor(first), second)


def test_conversion_in_a_function_does_not_leak_into_eager_code(q_z):
    inside = tf.function(lambda: tf.identity(tf.convert_to_tensor(q_z)))()
    np.testing.assert_array_equal(inside, tf.convert_to_tensor(q_z))


def test_draws_carry_gradients_to_the_parameters():
    params = tf.zeros([1, 4])
    with tf.GradientTape() as tape:
        tape.watch(params)
        z = tf.convert_to_tensor(MultivariateNormalDiag(2)(params))
    # dz/dloc = 1;  dz/draw = noise * sigmoid(0), and noise = z / (softplus(0) + 1e-5)
    noise = z[0] / (np.log(2.0) + 1e-5)
    expected = [[1.0, 1.0, *(0.5 * noise)]]
    np.testing.assert_allclose(tape.gradient(z, params), expected, rtol=1e-5)


def test_requested_dtypes_are_honoured(q_z):
    assert tf.convert_to_tensor(q_z, tf.float64).dtype == tf.float64
    assert np.asarray(q_z, "float16").dtype == np.float16
    assert np.array(q_z, copy=True).shape == (5, 2)


def test_coercer_keeps_one_subclass_per_class():
    coercer = Coercer(lambda d: d.mean())
    first = coercer(tfd.Normal(0.0, 1.0))
    second = coercer(tfd.Normal(2.0, 1.0))
    assert type(first) is type(second)
    assert isinstance(second, tfd.Normal)
    assert isinstance(second, TensorCoercible)
    assert type(second).__name__ == "Normal"
    # The last of two coercers decides how a distribution converts, and no classes pile up.
    other = Coercer(lambda d: d.stddev())(second)
    assert float(tf.convert_to_tensor(other)) == 1.0
    assert sum(cls is TensorCoercible for cls in type(other).__mro__) == 1
    assert float(tf.convert_to_tensor(first)) == 0.0


@pytest.mark.parametrize("num", [3, 40, 64])
def test_predict_returns_arrays_for_one_batch_and_for_several(num):
    layer = MultivariateNormalDiag(2, "mean")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), layer])
    x = np.random.default_rng(0).normal(size=(num, 3)).astype("float32")
    found = model.predict(x, verbose=0)
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, model(x).mean(), rtol=1e-5)
    mixture = MixtureNormal(2, (2, 1))
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(10), mixture])
    assert model.predict(x, verbose=0).shape == (num, 2, 1)
