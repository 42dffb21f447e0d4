"""Moments of quantised logistic variables; their densities are in `layers/cases.py`."""

import numpy as np
import pytest
from scipy import special

from tfvae.distributions import DiscretizedLogistic


@pytest.mark.slow
@pytest.mark.parametrize("loc", [-0.2, 0.37, 0.9, 1.0])
@pytest.mark.parametrize("scale", [3e-4, 1e-3, 0.02, 1.5])
def test_moments_are_the_sums_over_all_levels(loc, scale):
    """Also of sharp ones, whose variance is far below the squares of the levels' numbers."""
    x = np.linspace(0.0, 1.0, 256)
    edges = np.concatenate([[-np.inf], x[:-1] + 0.5 / 255, [np.inf]])
    loc, scale = np.float32(loc), np.float32(scale)
    at_most = special.expit((edges - float(loc)) / float(scale))
    above = special.expit((float(loc) - edges) / float(scale))
    # By the tail that is smaller: no cancellation.
    prob = np.where(edges[1:] < loc, np.diff(at_most), -np.diff(above))
    mean = prob @ x
    stddev = np.sqrt(prob @ (x - mean) ** 2)
    p = DiscretizedLogistic(loc, scale)
    np.testing.assert_allclose(p.mean(), mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(p.stddev(), stddev, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("loc", [0.5, 0.37, 2.0, 100.5 / 255.0, -1e4])
@pytest.mark.parametrize("scale", [1e-8, 1e-7, 1e-6, 1e-5, 1e-3, 0.1, 30.0])
def test_sharp_distributions_on_the_border_of_two_levels_add_up(loc, scale):
    p = DiscretizedLogistic(np.float32(loc), np.float32(scale))
    levels = np.arange(256, dtype="float32") / np.float32(255.0)
    total = np.sum(np.exp(np.asarray(p.log_prob(levels), "float64")))
    assert total == pytest.approx(1.0, abs=2e-5)
