"""One view of the many tfp classes that are Gaussians with diagonal covariance."""

from __future__ import annotations

import tensorflow_probability as tfp

from tfvae._typing import Distribution

__all__ = ["as_diagonal_normal", "as_multivariate_normal"]

tfd = tfp.distributions


def as_diagonal_normal(distribution: Distribution) -> Distribution | None:
    """Returns the elementwise `tfd.Normal` of a diagonal Gaussian, None for anything else.

    Its batch shape is the batch shape followed by the event shape of `distribution`.
    """
    if isinstance(distribution, tfd.Normal):
        return distribution
    if isinstance(distribution, tfd.MultivariateNormalDiag):
        return tfd.Normal(distribution.mean(), distribution.stddev())
    if isinstance(distribution, tfd.Independent):
        return as_diagonal_normal(distribution.distribution)
    return None


def as_multivariate_normal(distribution: Distribution) -> Distribution | None:
    """Returns a Gaussian over vectors as a class that TFP's KLs know, None for anything else."""
    if isinstance(distribution, tfd.MultivariateNormalLinearOperator):
        return distribution
    if distribution.event_shape.rank != 1:
        return None
    normal = as_diagonal_normal(distribution)
    if normal is None:
        return None
    return tfd.MultivariateNormalDiag(normal.mean(), normal.stddev())
