"""Divergences against closed forms in NumPy and quadrature."""

import itertools

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp
from hypothesis import given, settings
from hypothesis import strategies as st

import tfvae
from tfvae.divergences import closed_form_kl, kl_divergence, monte_carlo_kl

tfd = tfp.distributions


def gaussian(family, loc, factor):
    """Returns a tfp Gaussian and its covariance [..., K, K]; diagonal families drop the rest."""
    diagonal = np.diagonal(factor, axis1=-2, axis2=-1)
    lower = np.tril(factor)
    full = lower @ np.swapaxes(lower, -1, -2)
    direction, scales = factor[..., :1], np.array([0.5, 1.0, 2.0], "float32")
    spread = np.square(factor * np.eye(3)) + direction @ np.swapaxes(direction, -1, -2)
    params = np.concatenate([loc, np.log(np.expm1(diagonal - 1e-5))], axis=-1)
    return {
        "independent": lambda: (tfd.Independent(tfd.Normal(loc, diagonal), 1), None),
        "diag": lambda: (tfd.MultivariateNormalDiag(loc, diagonal), None),
        "independent layer": lambda: (tfvae.layers.IndependentNormal(3)(params), None),
        "diag layer": lambda: (tfvae.layers.MultivariateNormalDiag(3)(params), None),
        "tril": lambda: (tfd.MultivariateNormalTriL(loc, lower), full),
        "full": lambda: (tfd.MultivariateNormalFullCovariance(loc, full), full),
        "low rank": lambda: (
            tfd.MultivariateNormalDiagPlusLowRankCovariance(loc, diagonal**2, direction),
            spread,
        ),
        "low rank layer": lambda: (
            tfvae.layers.MultivariateNormalLowRank(3, 1)(
                np.concatenate([params, direction[..., 0] / diagonal], axis=-1)
            ),
            spread,
        ),
        # Parameters left to broadcasting.
        "scalar scale": lambda: (tfd.Independent(tfd.Normal(loc, 0.7), 1), 0.49 * np.eye(3)),
        "one factor": lambda: (
            tfd.MultivariateNormalTriL(loc, np.diag(scales)),
            np.diag(scales**2),
        ),
        "one direction": lambda: (
            tfd.MultivariateNormalDiagPlusLowRankCovariance(loc, scales**2, direction),
            np.diag(scales**2) + direction @ np.swapaxes(direction, -1, -2),
        ),
    }[family]()


def parameters(*batch, seed):
    generator = np.random.default_rng(seed)
    loc = generator.normal(size=(*batch, 3)).astype("float32")
    factor = 0.4 * generator.normal(size=(*batch, 3, 3))
    factor = factor + np.eye(3) * generator.uniform(1.0, 2.0, (*batch, 3, 1))
    factor = np.where(np.eye(3) > 0, np.abs(factor), factor).astype("float32")
    return loc, factor


def numpy_kl(loc_q, cov_q, loc_p, cov_p):
    loc_q, cov_q, loc_p, cov_p = (np.asarray(a, "float64") for a in (loc_q, cov_q, loc_p, cov_p))
    inverse = np.linalg.inv(cov_p)
    shift = loc_p - loc_q
    quadratic = np.einsum("...i,...ij,...j->...", shift, inverse, shift)
    trace = np.trace(inverse @ cov_q, axis1=-2, axis2=-1)
    log_ratio = np.linalg.slogdet(cov_p)[1] - np.linalg.slogdet(cov_q)[1]
    return 0.5 * (trace + quadratic - loc_q.shape[-1] + log_ratio)


FAMILIES = [
    "independent",
    "diag",
    "independent layer",
    "diag layer",
    "tril",
    "full",
    "low rank",
    "low rank layer",
    "scalar scale",
    "one factor",
    "one direction",
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:MultivariateNormalFullCovariance is deprecated")
def test_all_pairs_of_gaussians():
    loc_q, factor_q = parameters(4, seed=0)
    posteriors = [gaussian(family, loc_q, factor_q) for family in FAMILIES]
    priors = []
    for prior_batch in ((), (4,)):
        loc_p, factor_p = parameters(*prior_batch, seed=1)
        priors.append([(loc_p, factor_p, *gaussian(f, loc_p, factor_p)) for f in FAMILIES])
    for i, j in itertools.product(range(len(FAMILIES)), repeat=2):
        q, cov_q = posteriors[i]
        # By turns a prior of one and of four: each family meets both.
        loc_p, factor_p, p, cov_p = priors[(i + j) % 2][j]
        cov_q = np.square(factor_q * np.eye(3)) if cov_q is None else cov_q
        cov_p = np.square(factor_p * np.eye(3)) if cov_p is None else cov_p
        kl = kl_divergence(q, p)
        assert kl.is_exact
        assert kl.num_samples is None
        assert kl.value.shape == (4,)
        np.testing.assert_array_equal(kl.standard_error, np.zeros(4))
        np.testing.assert_allclose(
            kl.value,
            numpy_kl(loc_q, cov_q, loc_p, cov_p),
            rtol=2e-5,
            atol=1e-5,
            err_msg=f"KL({FAMILIES[i]} || {FAMILIES[j]}), p of batch shape {p.batch_shape}",
        )


def test_events_of_any_rank_sum_the_same_elements():
    generator = np.random.default_rng(0)
    loc = generator.normal(size=(2, 5, 2, 3)).astype("float32")
    scale = generator.uniform(0.5, 2.0, size=(2, 5, 2, 3)).astype("float32")
    elementwise = (
        np.log(scale[1] / scale[0])
        + (scale[0] ** 2 + (loc[0] - loc[1]) ** 2) / (2 * scale[1] ** 2)
        - 0.5
    )
    for rank in range(4):
        q, p = (tfd.Independent(tfd.Normal(loc[i], scale[i]), rank) for i in range(2))
        expected = elementwise.sum(axis=tuple(range(-rank, 0)))
        kl = closed_form_kl(q, p)
        assert kl.shape == (5, 2, 3)[: 3 - rank]
        np.testing.assert_allclose(kl, expected, rtol=1e-5, atol=1e-5)
    # Scalars, whether wrapped or not.
    q, p = tfd.Normal(loc[0], scale[0]), tfd.Independent(tfd.Normal(loc[1], scale[1]), 0)
    for pair in ((q, p), (tfd.Independent(q, 0), p.distribution)):
        np.testing.assert_allclose(closed_form_kl(*pair), elementwise, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@settings(derandomize=True, deadline=None, max_examples=30, database=None)
@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(0.01, 50)), min_size=4, max_size=4))
def test_divergences_are_never_negative(values):
    loc, scale = (np.reshape(part, [2, 2]) for part in zip(*values, strict=True))
    q, p = (tfd.MultivariateNormalDiag(loc[i], scale[i]) for i in range(2))
    assert closed_form_kl(q, p) >= -1e-9
    assert float(closed_form_kl(q, q)) == pytest.approx(0.0, abs=1e-9)


def mixture(locs, scale):
    return tfd.MixtureSameFamily(
        tfd.Categorical(logits=tf.zeros(len(locs))), tfd.Normal(tf.constant(locs), scale)
    )


def test_mixtures_are_estimated_and_say_so():
    q, p = mixture([-1.0, 2.0], 0.5), tfd.Normal(0.5, 2.0)
    assert closed_form_kl(q, p) is None
    kl = kl_divergence(q, p, num_samples=4000, seed=3)
    assert not kl.is_exact
    assert kl.num_samples == 4000

    def log_q(z):
        parts = [scipy.stats.norm.logpdf(z, loc, 0.5) for loc in (-1.0, 2.0)]
        return np.logaddexp(*parts) - np.log(2.0)

    def integrand(z):
        return np.exp(log_q(z)) * (log_q(z) - scipy.stats.norm.logpdf(z, 0.5, 2.0))

    expected, _ = scipy.integrate.quad(integrand, -8, 8, epsabs=1e-9)
    assert 0.0 < kl.standard_error < 0.05
    assert abs(kl.value - expected) <= 5 * kl.standard_error
    # The standard error is that of a mean: log q - log p has this spread under q.
    squares, _ = scipy.integrate.quad(
        lambda z: integrand(z) * (log_q(z) - scipy.stats.norm.logpdf(z, 0.5, 2.0)), -8, 8
    )
    deviation = np.sqrt(squares - expected**2)
    assert float(kl.standard_error) == pytest.approx(deviation / np.sqrt(4000), rel=0.1)
    # A seed makes it repeatable.
    assert kl_divergence(q, p, num_samples=4000, seed=3).value == kl.value
    assert kl_divergence(q, p, num_samples=4000, seed=4).value != kl.value


def test_estimates_agree_with_closed_forms_for_batches():
    loc, factor = parameters(4, seed=0)
    q, _ = gaussian("diag", loc, factor)
    p = tfvae.priors.StandardNormal(3).distribution()
    kl = monte_carlo_kl(q, p, num_samples=2000, seed=[1, 2])
    assert kl.value.shape == kl.standard_error.shape == (4,)
    assert np.all(np.abs(kl.value - closed_form_kl(q, p)) <= 5 * kl.standard_error)


def test_bad_arguments():
    q, p = tfd.MultivariateNormalDiag(tf.zeros(2)), tfd.MultivariateNormalDiag(tf.zeros(3))
    with pytest.raises(ValueError, match=r"same event.*Received: q with .*\(2,\), p with .*\(3,\)"):
        kl_divergence(q, p)
    with pytest.raises(ValueError, match=r"`num_samples` >= 2. Received: num_samples=1"):
        monte_carlo_kl(q, q, num_samples=1)
