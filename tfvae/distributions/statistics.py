"""Moments of distributions that may not have them."""

from __future__ import annotations

import functools

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._random import stateless_seed
from tfvae._typing import Distribution, Tensor
from tfvae.distributions.wrappers import Independent, MixtureSameFamily

__all__ = ["Composed", "centre", "known_centre", "probabilities", "statistic"]

tfd = tfp.distributions


class Composed:
    """Mixin of the distributions made of others, each of which has a centre of its own kind."""

    def centre(self) -> Tensor:
        """Returns the centre of each part, `[..., *E]`."""
        raise NotImplementedError


def statistic(distribution: Distribution, name: str) -> Tensor | None:
    """Returns the `mean`, `stddev` or `entropy` of a distribution, None where it has none."""
    if (
        name == "entropy"
        and isinstance(distribution, tfd.TransformedDistribution)
        and distribution.distribution.batch_shape != distribution.batch_shape
    ):
        return None  # Where the map alone has batch axes, TFP adds up other shapes and fails.
    known = _moment_as_it_is(distribution, name)
    if known is not None:
        return known
    try:
        return getattr(distribution, name)()
    except NotImplementedError:
        return None


def _moment_as_it_is(distribution: Distribution, name: str) -> Tensor | None:
    """Returns the parameter that a moment is, where there is nothing to broadcast.

    TFP brings loc and scale to one shape also where they have one, by a dozen operations of which
    some are known to TensorFlow alone.
    """
    while isinstance(distribution, Independent):
        distribution = distribution.distribution
    loc = distribution.parameters.get("loc")
    if not isinstance(distribution, (tfd.Normal, tfd.MultivariateNormalDiag)):
        return None
    of_elements = isinstance(distribution, tfd.Normal)
    scale = distribution.parameters.get("scale" if of_elements else "scale_diag")
    if name not in ("mean", "stddev") or not (tf.is_tensor(loc) and tf.is_tensor(scale)):
        return None
    if not loc.shape.rank or loc.shape.as_list() != scale.shape.as_list():
        return None
    if name == "mean":
        return loc
    return scale if of_elements else tf.abs(scale)


@functools.singledispatch
def probabilities(distribution: Distribution) -> Tensor | None:
    """Returns the probability of each of L categories `[..., *E, L]`, None of other families.

    Means of numbers that stand for categories mean nothing: reconstructions, imputations and
    summaries of posteriors read these in their place, for all families that
    `probabilities.register` adds.

    Example:
        >>> tfvae.distributions.probabilities(tfd.Categorical(tf.zeros([5, 4]))).shape
        TensorShape([5, 4])
    """
    del distribution
    return None


@probabilities.register(tfd.Categorical)
def _(distribution: Distribution) -> Tensor:
    return distribution.probs_parameter()


@probabilities.register(Independent)
def _(distribution: Distribution) -> Tensor | None:
    return probabilities(distribution.distribution)


@probabilities.register(MixtureSameFamily)
def _(distribution: Distribution) -> Tensor | None:
    each = probabilities(distribution.components_distribution)  # [..., C, *E, L]
    if each is None:
        return None
    weights = distribution.mixture_distribution.probs_parameter()  # [..., C]
    axis = -2 - distribution.event_shape.rank
    for _ in range(-axis - 1):
        weights = weights[..., None]
    return tf.reduce_sum(weights * each, axis=axis)


@functools.singledispatch
def known_centre(distribution: Distribution) -> Tensor | None:
    """Returns the mean, or of unordered categories the most probable one; None without either."""
    categories = probabilities(distribution)
    if categories is not None:
        return tf.cast(tf.argmax(categories, axis=-1), distribution.dtype)
    return statistic(distribution, "mean")


known_centre.register(Composed, lambda distribution: distribution.centre())


def centre(distribution: Distribution, draw: Tensor | None = None) -> Tensor:
    """Returns the mean, the most probable of unordered categories, or else one draw.

    Args:
        distribution: Any.
        draw: The draw that stands in where there is neither; by default a fixed one.
    """
    known = known_centre(distribution)
    if known is not None:
        return known
    return distribution.sample(seed=stateless_seed(0)) if draw is None else draw
