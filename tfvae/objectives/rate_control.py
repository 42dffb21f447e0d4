"""Objectives that hold the rate up, so that the latents stay in use."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from tfvae._config import check_amount, keep_counts
from tfvae._typing import Distribution, Tensor, register
from tfvae.distributions.factors import as_factors
from tfvae.distributions.hierarchy import Hierarchy
from tfvae.objectives.base import Expectation
from tfvae.objectives.gradients import GradientEstimator, check_following_gradient, checked_rate
from tfvae.objectives.schedules import Schedule, value_at
from tfvae.terms import Terms

__all__ = ["Capacity", "FreeBits"]

_ONE_LEVEL = (
    "`by_level=True` is for hierarchies; the latents of this model are all of one level. Leave it "
    "out to have free bits by dimension."
)


@register
@dataclass(frozen=True)
class Capacity(Expectation):
    """Holds the rate near a capacity that may rise in the course of training.

        bound = -distortion - weight * |rate - capacity|

    The distance is that of the mean rate of the batch, not of each point's rate.

    Args:
        capacity: C in nats, >= 0: a number or a `Schedule`.
        weight: Weight of the distance, >= 0.
        num_samples: Draws of z per data point, S.
        gradient: How the gradient in the parameters of q(z|x) follows the draws; None takes
            `Reparameterised`, or that of a sum.

    Call arguments:
        terms: `Terms`; reads `distortion` and `rate`.
        step: Number of updates made so far.

    Returns:
        bound: `[B]`, nats; its mean is that of the formula.

    Raises:
        TypeError: `gradient` is no gradient estimator.
        ValueError: `capacity` or `weight` is negative, or `num_samples` smaller than 1.

    Example:
        >>> from tfvae.demo import terms
        >>> rising = tfvae.objectives.Linear(0.0, 25.0, steps=10_000)
        >>> tfvae.objectives.Capacity(rising, weight=100.0)(terms, 5000).shape
        TensorShape([20])

    Reference: Understanding Disentangling in beta-VAE (Burgess et al., 2018),
    https://arxiv.org/abs/1804.03599
    """

    capacity: float | Schedule
    weight: float = 1.0
    num_samples: int = 1
    gradient: GradientEstimator | None = None
    is_bound = False

    def __post_init__(self) -> None:
        check_amount("capacity", self.capacity, Schedule)
        check_amount("weight", self.weight)
        keep_counts(self, "num_samples")
        check_following_gradient(self.gradient)

    def __call__(self, terms: Terms, step: int | Tensor = 0) -> Tensor:
        excess = checked_rate(terms, self.gradient) - value_at(self.capacity, step)  # [B]
        side = tf.stop_gradient(tf.sign(terms.mean(excess)))
        return -terms.distortion - self.weight * side * excess


@register
@dataclass(frozen=True)
class FreeBits(Expectation):
    """Lets each dimension of z, or each level of a hierarchy, carry some nats for free.

        bound = -distortion - sum_k max(nats, rate_k)

    `rate_k` is the mean over the batch: a dimension below `nats` gets no gradient from the rate.

    Args:
        nats: Free nats of each dimension or level, >= 0: a number or a `Schedule`.
        by_level: Takes `terms.level_rates`, which hierarchies have, in place of
            `terms.dimension_rates`, which takes posteriors and priors that factorise.
        num_samples: Draws of z per data point, S.
        gradient: How the gradient in the parameters of q(z|x) follows the draws; None takes
            `Reparameterised`, or that of a sum.

    Call arguments:
        terms: `Terms`; reads `distortion` and the rates.
        step: Number of updates made so far.

    Returns:
        bound: `[B]`, nats; its mean is that of the formula.

    Raises:
        TypeError: `gradient` is no gradient estimator.
        ValueError: `nats` is negative, `num_samples` smaller than 1; on call, the rate does not
            split.

    Example:
        >>> from tfvae.demo import terms
        >>> tfvae.objectives.FreeBits(0.1)(terms).shape
        TensorShape([20])

    Reference: Improving Variational Inference with Inverse Autoregressive Flow (Kingma et al.,
    2016), https://arxiv.org/abs/1606.04934
    """

    nats: float | Schedule
    by_level: bool = False
    num_samples: int = 1
    gradient: GradientEstimator | None = None
    is_bound = True

    def __post_init__(self) -> None:
        check_amount("nats", self.nats, Schedule)
        keep_counts(self, "num_samples")
        check_following_gradient(self.gradient)

    def check_family(self, q_z: Distribution) -> None:
        """Checks that the rate splits over the dimensions of z, or over its levels."""
        if self.by_level and not isinstance(q_z, Hierarchy):
            raise ValueError(_ONE_LEVEL)
        self._check_factors("posterior", q_z)

    def check_prior(self, p_z: Distribution) -> None:
        """Checks that the rate splits over the dimensions of z, where it has to."""
        self._check_factors("prior", p_z)

    def __call__(self, terms: Terms, step: int | Tensor = 0) -> Tensor:
        if self.by_level and terms.level_rates is None:
            raise ValueError(_ONE_LEVEL)
        rates: Tensor = terms.level_rates if self.by_level else terms.dimension_rates
        rates = tf.reshape(rates, [tf.shape(rates)[0], -1])  # [B, K]
        nats = tf.cast(value_at(self.nats, step), rates.dtype)
        # Point by point what has the mean max(nats, rate_k): sample weights then weigh points.
        above = terms.mean(rates) > nats
        return -terms.distortion - tf.reduce_sum(tf.where(above, rates, nats), axis=1)

    def _check_factors(self, name: str, distribution: Distribution) -> None:
        if not self.by_level and as_factors(distribution) is None:
            raise ValueError(
                f"`FreeBits` by dimension takes a {name} that factorises over the dimensions of "
                f"z, such as `MultivariateNormalDiag`. Received: {type(distribution).__name__}. Of "
                "a hierarchy take `by_level=True`."
            )
