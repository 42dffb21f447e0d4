"""Bits by their logits: the numbers of TFP, for every logit and value that floats can hold."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.distributions import Bernoulli

tfd = tfp.distributions

LOGITS = [-np.inf, -1e30, -104.0, -17.0, -1.5, -1e-30, 0.0, 1e-6, 0.3, 16.0, 88.0, 4e37, np.inf]


def scored(cls, logits, x, dtype):
    logits, x = tf.constant(logits, dtype), tf.constant(x, dtype)
    with tf.GradientTape(persistent=True) as outer:
        outer.watch([logits, x])
        with tf.GradientTape() as inner:
            inner.watch(logits)
            log_prob = cls(logits=logits).log_prob(x)
            total = tf.reduce_sum(log_prob)
        first = inner.gradient(total, logits)
    return log_prob, first, *outer.gradient(first, [logits, x])


def test_densities_and_first_and_second_gradients_are_those_of_tfp_in_float64():
    """Those of values between bits, and beyond, are such that no model has to change with TFP's."""
    logits, values = np.meshgrid(LOGITS[1:-1], [0.0, 1.0, 0.3, 7.0, -1.0])
    found = scored(Bernoulli, logits, values, "float32")
    for own, tfps in zip(found, scored(tfd.Bernoulli, logits, values, "float64"), strict=True):
        np.testing.assert_allclose(own, tfps, rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_all_digits_of_a_density_count(dtype):
    logits = np.linspace(-86.0, 0.0, 20_001).astype(dtype)
    found = Bernoulli(logits=tf.constant(logits)).log_prob(0.0)
    expected = -np.log1p(np.exp(logits.astype("float64")))
    np.testing.assert_allclose(found, expected, rtol=8 * np.finfo(dtype).eps)


def test_infinite_logits_are_certain_and_nan_stays():
    bits = np.array([[0.0], [1.0]], "float32")
    log_prob, gradient, *_ = scored(Bernoulli, [[-np.inf, np.inf]] * 2, bits, "float32")
    np.testing.assert_array_equal(log_prob, [[0.0, -np.inf], [-np.inf, 0.0]])
    np.testing.assert_array_equal(gradient, [[0.0, -1.0], [1.0, 0.0]])
    for logits, x in ((np.nan, 1.0), (0.0, np.nan), (np.inf, np.nan)):
        assert np.isnan(Bernoulli(logits=logits).log_prob(x))


@pytest.mark.parametrize(
    "shapes", [([3, 1, 4], [2, 1]), ([4], [5, 4]), ([2, 3], [2, 3]), ([], [3])]
)
def test_gradients_of_what_is_repeated_are_summed(shapes):
    rng = np.random.default_rng(0)
    logits, x = (tf.constant(rng.random(shape), tf.float32) for shape in shapes)

    @tf.function(input_signature=[tf.TensorSpec([None] * len(s)) for s in shapes], autograph=False)
    def gradients(logits, x):
        with tf.GradientTape() as tape:
            tape.watch([logits, x])
            total = tf.reduce_sum(tf.square(Bernoulli(logits=logits).log_prob(x)))
        return tape.gradient(total, [logits, x])

    with tf.GradientTape() as tape:
        tape.watch([logits, x])
        total = tf.reduce_sum(tf.square(tfd.Bernoulli(logits=logits).log_prob(x)))
    expected = tape.gradient(total, [logits, x])
    for found, value in zip(gradients(logits, x), expected, strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-5)


def test_all_else_is_that_of_tfp():
    p = Bernoulli(logits=[0.5, -1.0], dtype=tf.float32)
    plain = tfd.Bernoulli(logits=[0.5, -1.0], dtype=tf.float32)
    seed = (1, 2)
    np.testing.assert_array_equal(p.sample(5, seed=seed), plain.sample(5, seed=seed))
    np.testing.assert_allclose(p.entropy(), plain.entropy())
    np.testing.assert_allclose(p.kl_divergence(Bernoulli(logits=[0.0, 0.0])), p.cross_entropy(
        plain.copy(logits=[0.0, 0.0])) - p.entropy(), rtol=1e-6)  # fmt: skip
    by_probs = Bernoulli(probs=[0.25, 1.0])
    np.testing.assert_allclose(by_probs.log_prob([1, 1]), [np.log(0.25), 0.0], rtol=1e-6)
    again = tf.function(lambda q: q.log_prob(1.0), autograph=False)(p)  # as a composite tensor
    np.testing.assert_allclose(again, plain.log_prob(1.0), rtol=1e-6)
    assert isinstance(p.copy(logits=[1.0]), Bernoulli)
