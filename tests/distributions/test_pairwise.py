"""Pairwise densities against double loops, and the aggregated posterior against its limits."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.distributions import aggregated_log_prob, pairwise_log_prob, pairwise_log_prob_fast
from tfvae.distributions.pairwise import log_sums

tfd = tfp.distributions


def posteriors(num, latents, offset=0.0):
    generator = np.random.default_rng(0)
    loc = offset + generator.normal(size=(num, latents)).astype("float32")
    scale = np.exp(generator.uniform(-2.0, 0.5, size=(num, latents))).astype("float32")
    return loc, scale


@pytest.mark.parametrize("wrap", ["diag", "independent"])
def test_both_forms_equal_a_double_loop(wrap):
    loc, scale = posteriors(num=4, latents=3)
    q_z = {
        "diag": lambda: tfd.MultivariateNormalDiag(loc, scale),
        "independent": lambda: tfd.Independent(tfd.Normal(loc, scale), 1),
    }[wrap]()
    z = np.random.default_rng(1).normal(size=(2, 5, 3)).astype("float32")  # [S, B, K]
    expected = np.empty([2, 5, 4])
    for s in range(2):
        for i in range(5):
            for j in range(4):
                density = scipy.stats.norm(loc[j], scale[j])
                expected[s, i, j] = density.logpdf(z[s, i]).sum()
    np.testing.assert_allclose(pairwise_log_prob(q_z, z), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(pairwise_log_prob_fast(q_z, z), expected, rtol=1e-5, atol=1e-4)
    aggregated = aggregated_log_prob(pairwise_log_prob(q_z, z))
    np.testing.assert_allclose(
        aggregated, scipy.special.logsumexp(expected, axis=-1) - np.log(4), rtol=1e-5
    )


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_fast_form_is_within_its_stated_error(offset):
    loc, scale = posteriors(num=50, latents=40, offset=offset)
    q_z = tfd.MultivariateNormalDiag(loc, scale)
    z = q_z.sample(2, seed=0)  # [S, B, K]
    exact = tfd.MultivariateNormalDiag(loc.astype("float64"), scale.astype("float64"))
    exact = pairwise_log_prob(exact, tf.cast(z, tf.float64))
    fast = pairwise_log_prob_fast(q_z, z)
    # What matters are densities near the peak: the own one, and the mean of all.
    own = np.asarray(tf.linalg.diag_part(exact))
    np.testing.assert_allclose(tf.linalg.diag_part(fast), own, atol=1e-3)
    np.testing.assert_allclose(
        aggregated_log_prob(fast), aggregated_log_prob(exact), atol=1e-3, rtol=0
    )
    np.testing.assert_allclose(fast, exact, rtol=1e-5, atol=1e-3)


def test_posteriors_of_other_kinds_take_the_direct_form():
    loc, scale = posteriors(num=4, latents=6)
    z = np.random.default_rng(1).normal(size=(2, 5, 6)).astype("float32")
    flat = pairwise_log_prob(tfd.MultivariateNormalDiag(loc, scale), z)
    tril = tfd.MultivariateNormalTriL(loc, tf.linalg.diag(scale))
    image = tfd.Independent(tfd.Normal(loc.reshape(4, 2, 3), scale.reshape(4, 2, 3)), 2)
    np.testing.assert_allclose(pairwise_log_prob_fast(tril, z), flat, rtol=1e-5)
    z_image = z.reshape(2, 5, 2, 3)
    for form in (pairwise_log_prob, pairwise_log_prob_fast):
        np.testing.assert_allclose(form(image, z_image), flat, rtol=1e-5)


def test_aggregated_density_of_one_and_of_equal_posteriors():
    log_q = np.random.default_rng(0).normal(size=(3, 1)).astype("float32")
    np.testing.assert_allclose(aggregated_log_prob(tf.constant(log_q)), log_q[:, 0], rtol=1e-6)
    equal = np.repeat(log_q, 7, axis=-1)
    np.testing.assert_allclose(aggregated_log_prob(tf.constant(equal)), log_q[:, 0], rtol=1e-5)


@pytest.mark.parametrize("given", [1, 50])
def test_sums_over_posteriors_are_those_of_all_pairs_in_float64(given):
    """In 40 dimensions, of widths from a tenth to one, within 1e-4 nats."""
    rng = np.random.default_rng(0)
    num, size, draws = 50, 40, 3
    loc = rng.normal(size=(num, size))
    scale = np.exp(rng.uniform(np.log(0.1), 0.0, (num, size)))
    q_z = tfd.MultivariateNormalDiag(loc.astype("float32"), scale.astype("float32"))
    z = q_z.sample(draws, seed=(0, 1))
    shares = np.where(rng.random((given, num)) < 0.8, 0.0, -np.inf).astype("float32")
    if given > 1:
        np.fill_diagonal(shares, 0.0)
    else:
        shares[:] = 0.0
        shares[0, -1] = -np.inf
    own = q_z.log_prob(z), tfd.Normal(q_z.mean(), q_z.stddev()).log_prob(z)
    points = slice(0, num if given > 1 else num - 1)
    pairs = scipy.stats.norm.logpdf(
        z.numpy().astype("float64")[:, :, None], q_z.mean().numpy(), q_z.stddev().numpy()
    )
    expected = scipy.special.logsumexp(pairs.sum(axis=-1) + shares, axis=-1)
    expected_each = scipy.special.logsumexp(pairs + shares[..., None], axis=2)
    for form in (own, None):
        total, each = log_sums(q_z, z, shares, form)
        np.testing.assert_allclose(total[:, points], expected[:, points], rtol=0, atol=1e-4)
        np.testing.assert_allclose(each, expected_each, rtol=0, atol=1e-4)


def test_draws_of_no_elements_are_all_alike():
    """Models without latents have such draws."""

    @tf.function
    def sums(q_z, z, log_shares, own):
        return log_sums(q_z, z, log_shares, own)

    q_z = tfd.MultivariateNormalDiag(tf.zeros([3, 0]), tf.ones([3, 0]))
    own = (tf.zeros([2, 4]), tf.zeros([2, 4, 0]))
    total, each = sums(q_z, tf.zeros([2, 4, 0]), tf.math.log([[0.2, 0.3, 0.5]]), own)
    np.testing.assert_allclose(total, np.zeros([2, 4]), atol=1e-6)
    assert each.shape == (2, 4, 0)
