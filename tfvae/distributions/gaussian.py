"""One view of the many tfp classes that are diagonal Gaussians, and the product of two."""

from __future__ import annotations

import functools

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._typing import Distribution, Tensor
from tfvae.distributions.wrappers import Independent

__all__ = ["LowRankNormal", "as_diagonal_normal", "as_multivariate_normal", "precision_weighted"]

tfd = tfp.distributions

# No relative of the other Gaussians in TFP, which has no KL of it.
LowRankNormal = tfd.MultivariateNormalDiagPlusLowRankCovariance


@functools.singledispatch
def as_diagonal_normal(distribution: Distribution) -> Distribution | None:
    """Returns the elementwise `tfd.Normal` of a diagonal Gaussian, None for anything else.

    Its batch shape is the batch shape followed by the event shape of `distribution`, and so are the
    shapes of its `loc` and `scale`, also where those of `distribution` are left to broadcasting.
    What costs a matrix product, or has a closed form, for diagonal Gaussians is so for all families
    that `as_diagonal_normal.register` adds.

    Example:
        >>> q = tfd.MultivariateNormalDiag(tf.zeros([5, 2]), tf.ones([5, 2]))
        >>> tfvae.distributions.as_diagonal_normal(q).batch_shape
        TensorShape([5, 2])
    """
    del distribution
    return None


@as_diagonal_normal.register(tfd.Normal)
def _(distribution: Distribution) -> Distribution:
    shape = distribution.batch_shape
    whole = shape.is_fully_defined() and distribution.loc.shape == shape
    return distribution if whole and distribution.scale.shape == shape else _elements(distribution)


def _elements(distribution: Distribution) -> Distribution:
    shape = tf.concat([distribution.batch_shape_tensor(), distribution.event_shape_tensor()], 0)
    static = distribution.batch_shape + distribution.event_shape
    moments = distribution.mean(), distribution.stddev()
    return tfd.Normal(*(_broadcast(moment, shape, static) for moment in moments))


@as_diagonal_normal.register(tfd.MultivariateNormalDiag)
def _(distribution: Distribution) -> Distribution:
    loc, scale = distribution.loc, distribution.scale.diag_part()
    static = distribution.batch_shape + distribution.event_shape
    if loc is None or not static.is_fully_defined() or not loc.shape == static == scale.shape:
        return _elements(distribution)
    # Nothing to broadcast, which takes a dozen operations.
    return tfd.Normal(loc, tf.abs(scale))


@as_diagonal_normal.register(Independent)
def _(distribution: Distribution) -> Distribution | None:
    return as_diagonal_normal(distribution.distribution)


def as_multivariate_normal(distribution: Distribution) -> Distribution | None:
    """Returns a Gaussian over vectors as one of three tfp classes, None for anything else.

    These are `tfd.MultivariateNormalLinearOperator`, `tfd.MultivariateNormalDiag` among them, and
    `LowRankNormal`.
    """
    if isinstance(distribution, (tfd.MultivariateNormalLinearOperator, LowRankNormal)):
        return distribution
    if distribution.event_shape.rank != 1:
        return None
    normal = as_diagonal_normal(distribution)
    if normal is None:
        return None
    return tfd.MultivariateNormalDiag(normal.mean(), normal.stddev())


def _broadcast(moment: Tensor, shape: Tensor, static: tf.TensorShape) -> Tensor:
    return tf.ensure_shape(tf.broadcast_to(moment, shape), static)


def precision_weighted(one: Distribution, other: Distribution) -> Distribution:
    """Returns the normalised product of two diagonal Gaussians, as the class of the first.

        1 / scale**2 = 1 / scale_1**2 + 1 / scale_2**2
        loc = scale**2 * (loc_1 / scale_1**2 + loc_2 / scale_2**2)

    Args:
        one: `tfd.Normal` with the event shape as last axes of its batch shape, `[N, *E]`.
        other: The same.

    Returns:
        `tfd.Independent(tfd.Normal)`, batch shape `[N]`, event shape `E`.

    Reference: Ladder Variational Autoencoders (Sonderby et al., 2016), equations 11 and 12,
    https://arxiv.org/abs/1602.02282
    """
    precisions = [tf.math.reciprocal(tf.square(part.scale)) for part in (one, other)]
    variance = tf.math.reciprocal(precisions[0] + precisions[1])
    loc = variance * (precisions[0] * one.loc + precisions[1] * other.loc)
    return tfd.Independent(tfd.Normal(loc, tf.sqrt(variance)), loc.shape.rank - 1)
