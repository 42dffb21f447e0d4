"""One view of the distributions that factorise over the dimensions of their event."""

from __future__ import annotations

import tensorflow_probability as tfp

from tfvae._typing import Distribution
from tfvae.distributions.gaussian import as_diagonal_normal

__all__ = ["as_factors"]

tfd = tfp.distributions


def as_factors(distribution: Distribution) -> Distribution | None:
    """Returns the distribution of single elements, None where there are no independent ones.

    Its batch shape is the batch shape followed by the event shape of `distribution`.

    Example:
        >>> as_factors(tfd.MultivariateNormalDiag(tf.zeros([5, 2]), tf.ones([5, 2]))).batch_shape
        TensorShape([5, 2])
    """
    normal = as_diagonal_normal(distribution)
    if normal is not None or distribution.event_shape.rank == 0:
        return distribution if normal is None else normal
    if isinstance(distribution, tfd.Independent):
        inner = distribution.distribution
        # Elements that are vectors themselves do not factorise further, nor do some of their axes.
        return as_factors(inner) if inner.event_shape.rank == 0 else None
    return None
