"""Gaussians of full covariance, as TFP has them, and where TFP overflows."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.distributions import FullNormal, closed_form_kl

tfd = tfp.distributions


def factors(*batch, size=4, seed=0):
    rng = np.random.default_rng(seed)
    tril = np.tril(rng.normal(size=(*batch, size, size)))
    diagonal = np.arange(size)
    tril[..., diagonal, diagonal] = rng.uniform(0.5, 2.0, size=(*batch, size))
    return rng.normal(size=(*batch, size)).astype("float32"), tril.astype("float32")


def scored(cls, loc, tril, x):
    loc, tril = tf.convert_to_tensor(loc), tf.convert_to_tensor(tril)
    with tf.GradientTape() as tape:
        tape.watch([loc, tril])
        log_prob = cls(loc, tril).log_prob(x)
        total = tf.reduce_sum(log_prob)
    return log_prob, tape.gradient(total, [loc, tril])


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.xla
def test_densities_and_gradients_are_those_of_tfp():
    loc, tril = factors(5)
    for shape in ((4,), (5, 4), (3, 5, 4), (2, 1, 3, 5, 4)):
        x = np.random.default_rng(1).normal(size=shape).astype("float32")

        def ours(loc, tril, x):
            return scored(FullNormal, loc, tril, x)

        for function in (ours, tf.function(ours, autograph=False, jit_compile=True)):
            log_prob, gradients = function(loc, tril, x)
            expected, others = scored(tfd.MultivariateNormalTriL, loc, tril, x)
            np.testing.assert_allclose(log_prob, expected, rtol=1e-5, atol=1e-5)
            for gradient, other in zip(gradients, others, strict=True):
                lower = np.tril(other) if other.shape.rank == 3 else other
                given = np.tril(gradient) if other.shape.rank == 3 else gradient
                np.testing.assert_allclose(given, lower, rtol=1e-4, atol=1e-4)


def test_is_a_gaussian_of_tfp():
    loc, tril = factors(5)
    p, q = FullNormal(loc, tril), tfd.MultivariateNormalTriL(loc, tril)
    assert isinstance(p, tfd.MultivariateNormalTriL)
    np.testing.assert_array_equal(p.sample(3, seed=[1, 2]), q.sample(3, seed=[1, 2]))
    np.testing.assert_array_equal(p.covariance(), q.covariance())
    np.testing.assert_allclose(closed_form_kl(p, q), np.zeros(5), atol=1e-5)
    detached = tf.nest.map_structure(tf.stop_gradient, p, expand_composites=True)
    np.testing.assert_array_equal(detached.log_prob(loc), p.log_prob(loc))
    np.testing.assert_allclose(p[1:3].log_prob(loc[1:3]), p.log_prob(loc)[1:3], rtol=1e-6)


def test_overflow_saturates():
    tril = np.tril(np.full([16, 16], 1e4)).astype("float32")
    tril[np.arange(16), np.arange(16)] = 1e-5
    x = np.ones([1, 16], "float32")
    overflown, _ = scored(tfd.MultivariateNormalTriL, np.zeros(16, "float32"), tril, x)
    assert not np.isfinite(overflown[0])
    log_prob, gradients = scored(FullNormal, np.zeros(16, "float32"), tril, x)
    assert np.isfinite(log_prob[0])
    assert log_prob[0] < -1e29
    assert all(np.all(np.isfinite(gradient)) for gradient in gradients)


@pytest.mark.parametrize("part", [0, 1, 2], ids=["loc", "scale_tril", "x"])
def test_nan_stays_nan(part):
    """Of one point; the others of the batch keep value and gradient."""
    loc, tril = factors(3)
    inputs = [loc, tril, np.zeros_like(loc)]
    expected, clean = scored(FullNormal, *inputs)
    inputs[part] = inputs[part].copy()
    inputs[part][1, ..., 0] = np.nan
    compiled = tf.function(lambda *inputs: scored(FullNormal, *inputs))
    for function in (lambda *inputs: scored(FullNormal, *inputs), compiled):
        log_prob, gradients = function(*inputs)
        np.testing.assert_array_equal(np.isnan(log_prob), [False, True, False])
        np.testing.assert_allclose(log_prob[::2], expected[::2], rtol=1e-6)
        for gradient, other in zip(gradients, clean, strict=True):
            assert np.any(np.isnan(gradient[1]))
            np.testing.assert_allclose(gradient[::2], other[::2], rtol=1e-5, atol=1e-6)
