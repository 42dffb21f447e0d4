"""Distributions as tensors: one draw, made once, the same for all who read it."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.layers import DistributionLambda, MixtureNormal, MultivariateNormalDiag
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


@pytest.mark.slow
@pytest.mark.xla
def test_all_readers_see_one_draw_in_graphs():
    inputs = keras.Input((4,))
    z = MultivariateNormalDiag(2)(inputs)
    model = keras.Model(inputs, [keras.layers.Identity()(z), keras.layers.Rescaling(2.0)(z)])
    for call in (model, tf.function(model), tf.function(model, jit_compile=True)):
        first, second = call(np.zeros([5, 4], "float32"))
        np.testing.assert_array_equal(2.0 * tf.convert_to_tensor(first), second)


@pytest.mark.slow
def test_one_draw_crosses_the_borders_of_functions(q_z):
    inputs = keras.Input((4,))
    z = MultivariateNormalDiag(2)(inputs)
    model = keras.Model(inputs, [z, keras.layers.Rescaling(2.0)(z)])
    x = np.zeros([5, 4], "float32")
    for call in (tf.function(model), lambda x: model.predict(x, verbose=0)):
        first, second = call(x)
        np.testing.assert_array_equal(2.0 * np.asarray(first), second)
    assert isinstance(tf.function(model)(x)[0], tfd.MultivariateNormalDiag)

    traces = []

    @tf.function
    def through(q):
        traces.append(q)
        return q, tf.add(q, 1.0)

    draw = tf.convert_to_tensor(q_z)
    outside, inside = through(q_z)
    np.testing.assert_array_equal(inside, draw + 1.0)
    np.testing.assert_array_equal(outside, draw)
    np.testing.assert_array_equal(through(outside)[1], inside)
    assert len(traces) == 1
    # The border: what is drawn inside of an argument stays inside.
    undrawn = MultivariateNormalDiag(2)(x)
    outside, inside = through(undrawn)
    assert not np.any(tf.equal(tf.add(outside, 1.0), inside))


def test_readers_in_branches_see_the_draw_of_the_function():
    layer = MultivariateNormalDiag(2)

    @tf.function
    def read(params):
        q = layer(params)
        is_zero = tf.reduce_all(params == 0.0)
        inside = tf.cond(is_zero, lambda: tf.add(q, 0.0), lambda: params[:, :2])
        return inside, tf.convert_to_tensor(q)

    np.testing.assert_array_equal(*read(tf.zeros([5, 4])))


@pytest.mark.slow
def test_readers_in_threads_see_one_draw():
    layer, start = MultivariateNormalDiag(2), threading.Barrier(8)
    for _ in range(5):
        q, draws = layer(np.zeros([5, 4], "float32")), []

        def read(q=q, draws=draws):
            start.wait()
            draws.append(np.asarray(q))

        threads = [threading.Thread(target=read) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(np.array_equal(draw, np.asarray(q)) for draw in draws)
        assert len(draws) == 8


def test_the_distribution_of_the_user_stays_as_it_is():
    shared = tfd.Normal(tf.zeros([3]), 1.0)
    draws = DistributionLambda(lambda t: shared)
    means = DistributionLambda(lambda t: shared, "mean")
    x = tf.zeros([2])

    def read():
        first, mean, second = draws(x), means(x), draws(x)
        return [tf.convert_to_tensor(q) for q in (first, mean, second)]

    for call in (read, tf.function(read)):
        first, mean, second = call()
        assert not np.any(tf.equal(first, second))
        np.testing.assert_array_equal(mean, np.zeros(3))
    assert type(shared) is tfd.Normal
    assert not {"_coerced_value", "_origin"} & set(vars(shared))


class Shifted(tfd.Distribution):
    """A distribution as TFP's guide has users write it: no composite tensor."""

    def __init__(self, loc):
        parameters = dict(locals())
        self.loc = tf.convert_to_tensor(loc)
        super().__init__(
            dtype=self.loc.dtype,
            reparameterization_type=tfd.FULLY_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
        )

    def _batch_shape(self):
        return self.loc.shape

    def _batch_shape_tensor(self):
        return tf.shape(self.loc)

    def _event_shape(self):
        return tf.TensorShape([])

    def _event_shape_tensor(self):
        return tf.constant([], tf.int32)

    def _sample_n(self, n, seed=None):
        shape = tf.concat([[n], tf.shape(self.loc)], axis=0)
        return self.loc + tf.random.stateless_uniform(shape, seed)

    def _log_prob(self, x):
        inside = (x >= self.loc) & (x < self.loc + 1.0)
        return tf.where(inside, 0.0, -tf.abs(x - self.loc))


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        lambda t: tfd.Independent(Shifted(t), 1),
        # Its tensors are out of sight, in a closure.
        lambda t: tfd.Autoregressive(
            lambda x: tfd.Independent(tfd.Normal(t + 0.0 * x, 1.0), 1), t, num_steps=1
        ),
    ],
    ids=["subclass", "Autoregressive"],
)
def test_distributions_that_are_no_composites_work_in_graphs(make):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), DistributionLambda(make)])
    x, y = np.ones([6, 3], "float32"), np.full([6, 2], 9.0, "float32")
    expected = float(np.mean(model(x).log_prob(y)))
    score = tf.function(lambda x: (tf.reduce_mean(model(x).log_prob(y)), tf.identity(model(x))))
    assert float(score(x)[0]) == pytest.approx(expected, rel=1e-5)
    model.compile("sgd", loss=lambda y, rv: -rv.log_prob(y), jit_compile=False)
    assert model.fit(x, y, verbose=0).history["loss"] == [pytest.approx(-expected, rel=1e-5)]
    assert model.predict(x, verbose=0).shape == (6, 2)
    # It cannot leave a function whole: what leaves is the draw that all readers inside saw.
    q = tf.function(lambda x: (lambda q: (q, tf.identity(q)))(model(x)))(x)
    np.testing.assert_array_equal(*q)
    assert not isinstance(q[0], tfd.Distribution)
    # Made eagerly and first read in a function, it is kept for eager readers too.
    q = model(x)
    np.testing.assert_array_equal(tf.function(lambda: tf.identity(q))(), q)


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
