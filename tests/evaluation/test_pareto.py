"""The shape of the tail of exact samples of generalised Pareto distributions, and at its ends."""

import numpy as np
import pytest
from scipy import stats

from tfvae.evaluation.pareto import largest_k, pareto_k, tail_size


def largest(weights, size):
    """The largest log weights `[N, size]`, descending, of weights `[N, S]`."""
    with np.errstate(divide="ignore"):
        return np.log(-np.sort(-np.asarray(weights, np.float64), axis=1)[:, :size])


def test_tail_is_what_the_paper_fits():
    # 3 sqrt(S) is the smaller from S = 225 on.
    assert [tail_size(s) for s in (1, 20, 21, 100, 225, 1000, 10_000)] == [1, 4, 5, 20, 45, 95, 300]


@pytest.mark.parametrize("k", [-0.3, 0.0, 0.3, 0.5, 0.7, 1.0])
def test_finds_the_k_of_exact_samples_within_the_error_of_the_paper(k):
    """400 samples of the 95 largest of 1,000: the threshold is a constant under exact excesses."""
    rng, num_samples, size, num = np.random.default_rng(1), 1000, 95, 400
    excess = stats.genpareto(k).rvs(size=(num, size), random_state=rng)
    found = pareto_k(largest(np.pad(3.0 + excess, [(0, 0), (0, 1)], constant_values=3.0), 96), 1000)
    assert tail_size(num_samples) == size
    # Without the lean towards one half, which is that of ten observations.
    found = (found * (size + 10) - 5.0) / size
    # (1 + k) / sqrt(M), the error of the best that any estimate can do where k > -1/2.
    spread = (1.0 + max(k, 0.0)) / np.sqrt(size)
    assert found.std() == pytest.approx(spread, rel=0.15)
    assert abs(found.mean() - k) < 5 * spread / np.sqrt(num) + 0.02  # of order 1 / M
    assert np.all(np.isfinite(found))


def test_neither_the_scale_of_the_weights_nor_other_rows_matter():
    rng = np.random.default_rng(2)
    log_w = largest(rng.pareto(1.5, size=(7, 500)), 256)
    found = pareto_k(log_w, 500)
    np.testing.assert_allclose(pareto_k(log_w - 700.0, 500), found, rtol=1e-9)
    np.testing.assert_allclose(pareto_k(log_w[3:4], 500), found[3:4], rtol=1e-12)
    # What lies below the tail is not looked at.
    np.testing.assert_array_equal(pareto_k(log_w[:, : tail_size(500) + 1], 500), found)


def test_says_when_there_is_nothing_to_tell():
    weights = np.random.default_rng(0).pareto(2.0, size=(2, 20))
    assert np.all(np.isnan(pareto_k(largest(weights, 20), 20)))  # four of the largest
    assert np.all(np.isfinite(pareto_k(largest(np.tile(weights, 2)[:, :25], 25), 25)))
    assert np.isnan(pareto_k(np.full([1, 256], -np.inf), 1000))  # all draws impossible
    assert np.isnan(pareto_k(np.full([1, 256], np.nan), 1000))
    few = np.ones([1, 1000])
    few[0, :4] = 2.0, 3.0, 4.0, 5.0  # four that differ from the others
    assert np.isnan(pareto_k(largest(few, 256), 1000))


def test_constant_weights_have_no_tail():
    assert pareto_k(np.full([1, 256], -83.0), 1000) == -np.inf


@pytest.mark.parametrize("others", [-np.inf, -2000.0])
def test_weights_that_few_draws_carry_have_the_heaviest(others):
    log_w = np.full([1, 256], others)
    log_w[0, :4] = 0.0, -1.0, -2.0, -3.0
    assert pareto_k(log_w, 1000) == np.inf


def test_weights_of_few_values_are_bounded():
    """As of drawn states: a top that half of the tail share, whatever the size of the tail."""
    for num_samples in (1000, 1200, 1500):
        weights = np.ones([1, num_samples])
        weights[0, :50] = 3.0
        assert pareto_k(largest(weights, 256), num_samples) < 0.0


def test_tails_beyond_the_range_of_numbers_are_told():
    """Log weights over thousands of nats, as those of large images."""
    log_w = -np.sort(-np.random.default_rng(0).normal(size=(3, 1000)) * 3000.0, axis=1)[:, :256]
    assert np.all(pareto_k(log_w, 1000) > 5.0)


def test_few_draws_bear_lighter_tails():
    """By S draws, k may be up to that of which 10**(1 / (1 - k)) draws are enough."""
    for k in (0.3, 0.5, 0.65):
        enough = 10.0 ** (1.0 / (1.0 - k))
        assert largest_k(enough) == pytest.approx(k)
    assert largest_k(10**7) == 0.7
    assert largest_k(10) == 0.0
    assert largest_k(1) == -np.inf
