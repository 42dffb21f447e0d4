"""Moments of distributions that may not have them."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._random import stateless_seed
from tfvae._typing import Distribution, Tensor

__all__ = ["Composed", "centre", "probabilities", "statistic"]

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
    try:
        return getattr(distribution, name)()
    except NotImplementedError:
        return None


def probabilities(distribution: Distribution) -> Tensor | None:
    """Returns the probability of each of L categories `[..., *E, L]`, None of other families."""
    if isinstance(distribution, tfd.Independent):
        return probabilities(distribution.distribution)
    if isinstance(distribution, tfd.Categorical):
        return distribution.probs_parameter()
    if isinstance(distribution, tfd.MixtureSameFamily):
        each = probabilities(distribution.components_distribution)  # [..., C, *E, L]
        if each is not None:
            weights = distribution.mixture_distribution.probs_parameter()  # [..., C]
            axis = -2 - distribution.event_shape.rank
            for _ in range(-axis - 1):
                weights = weights[..., None]
            return tf.reduce_sum(weights * each, axis=axis)
    return None


def centre(distribution: Distribution, draw: Tensor | None = None) -> Tensor:
    """Returns the mean, the most probable of unordered categories, or else one draw.

    Args:
        distribution: Any.
        draw: The draw that stands in where there is neither; by default a fixed one.
    """
    if isinstance(distribution, Composed):
        return distribution.centre()
    categories = probabilities(distribution)
    if categories is not None:
        return tf.cast(tf.argmax(categories, axis=-1), distribution.dtype)
    mean = statistic(distribution, "mean")
    if mean is not None:
        return mean
    return distribution.sample(seed=stateless_seed(0)) if draw is None else draw
