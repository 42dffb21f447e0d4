"""Moments of distributions that may not have them."""

from __future__ import annotations

from tfvae._random import stateless_seed
from tfvae._typing import Distribution, Tensor

__all__ = ["centre", "statistic"]


def statistic(distribution: Distribution, name: str) -> Tensor | None:
    """Returns the `mean`, `stddev` or `entropy` of a distribution, None where it has none."""
    try:
        return getattr(distribution, name)()
    except NotImplementedError:
        return None


def centre(distribution: Distribution) -> Tensor:
    """Returns the mean of a distribution, or one fixed draw where it has no mean."""
    mean = statistic(distribution, "mean")
    return distribution.sample(seed=stateless_seed(0)) if mean is None else mean
