"""One view of the distributions that factorise over the dimensions of their event."""

from __future__ import annotations

import functools

from tfvae._typing import Distribution
from tfvae.distributions.gaussian import as_diagonal_normal
from tfvae.distributions.wrappers import Independent

__all__ = ["as_factors"]


@functools.singledispatch
def as_factors(distribution: Distribution) -> Distribution | None:
    """Returns the distribution of single elements, None where there are no independent ones.

    Its batch shape is the batch shape followed by the event shape of `distribution`. Rates and
    informations split over the elements of all families that `as_factors.register` adds.

    Example:
        >>> q = tfd.MultivariateNormalDiag(tf.zeros([5, 2]), tf.ones([5, 2]))
        >>> tfvae.distributions.as_factors(q).batch_shape
        TensorShape([5, 2])
    """
    normal = as_diagonal_normal(distribution)
    if normal is not None or distribution.event_shape.rank:
        return normal
    return distribution


@as_factors.register(Independent)
def _(distribution: Distribution) -> Distribution | None:
    return as_factors(distribution.distribution)
