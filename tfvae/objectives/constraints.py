"""Targets for rate or distortion, held by a Lagrange multiplier that learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tfvae._config import NUMBERS, check_amount, keep_counts
from tfvae._typing import Tensor, register
from tfvae.objectives.base import Expectation
from tfvae.objectives.gradients import GradientEstimator, check_following_gradient, checked_rate
from tfvae.objectives.schedules import Schedule, value_at
from tfvae.terms import Terms

__all__ = ["TargetDistortion", "TargetRate"]

_SMALLEST, _LARGEST = 1e-4, 1e4


@dataclass(frozen=True)
class _Target(Expectation):
    """Abstract bound with a constraint: what is said of both is in `TargetRate`."""

    target: float | Schedule
    speed: float = 0.01
    smoothing: float = 0.9
    num_samples: int = 1
    gradient: GradientEstimator | None = None
    is_bound = False

    def __post_init__(self) -> None:
        check_amount("target", self.target, Schedule, negative=True)
        check_amount("speed", self.speed)
        if not (isinstance(self.smoothing, NUMBERS) and 0.0 <= self.smoothing < 1.0):
            raise ValueError(
                f"`smoothing` must lie in [0, 1). Received: smoothing={self.smoothing!r}"
            )
        keep_counts(self, "num_samples")
        check_following_gradient(self.gradient)

    def __call__(self, terms: Terms, step: int | Tensor = 0, state: Any = None) -> Tensor:
        multiplier = (self.initial_state() if state is None else state)["multiplier"]
        free, held = self._free_and_held(terms)
        excess = held - value_at(self.target, step)
        return -free - tf.cast(multiplier, held.dtype) * excess

    def initial_state(self) -> dict[str, float]:
        """Returns the multiplier, one, and the smoothed excess, zero."""
        return {"multiplier": 1.0, "excess": 0.0}

    def next_state(self, state: Any, terms: Terms, step: int | Tensor) -> dict[str, Tensor]:
        """Returns the multiplier and the smoothed excess after a step."""
        held = tf.cast(terms.mean(self._free_and_held(terms)[1]), tf.float32)
        excess = held - value_at(self.target, step)
        excess = self.smoothing * state["excess"] + (1.0 - self.smoothing) * excess
        growth = tf.exp(self.speed * tf.clip_by_value(excess, -1.0, 1.0))
        multiplier = tf.clip_by_value(state["multiplier"] * growth, _SMALLEST, _LARGEST)
        return {"multiplier": multiplier, "excess": excess}

    def _free_and_held(self, terms: Terms) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


@register
@dataclass(frozen=True)
class TargetRate(_Target):
    """The least distortion at a given rate.

        bound = -distortion - beta * (rate - target)
        beta <- beta * exp(speed * excess),   excess: smoothed rate - target, within one nat

    beta, the multiplier, is a state of the training: logged as `multiplier`, stored with the
    model, and kept between 1e-4 and 1e4. Where it comes to rest, the model is that of `ELBO(beta)`.

    Args:
        target: The rate in nats: a number or a `Schedule`.
        speed: Relative change of the multiplier per step and nat of excess, >= 0.
        smoothing: Share that the excess keeps of its earlier value, in [0, 1).
        num_samples: Draws of z per data point, S.
        gradient: How the gradient in the parameters of q(z|x) follows the draws; None takes
            `Reparameterised`, or that of a sum.

    Call arguments:
        terms: `Terms`; reads `distortion` and `rate`.
        step: Number of updates made so far.
        state: The multiplier; by default one.

    Returns:
        bound: `[B]`, nats.

    Raises:
        TypeError: `gradient` is no gradient estimator.
        ValueError: `target` is no finite number, `speed` negative, `smoothing` outside [0, 1), or
            `num_samples` smaller than 1.

    Example:
        >>> from tfvae.demo import terms
        >>> tfvae.objectives.TargetRate(8.0)(terms).shape
        TensorShape([20])

    References:
        Taming VAEs (Rezende and Viola, 2018), https://arxiv.org/abs/1810.00597
        Fixing a Broken ELBO (Alemi et al., 2018), https://arxiv.org/abs/1711.00464
    """

    def _free_and_held(self, terms: Terms) -> tuple[Tensor, Tensor]:
        return terms.distortion, checked_rate(terms, self.gradient)


@register
@dataclass(frozen=True)
class TargetDistortion(_Target):
    """The least rate at a given distortion: GECO.

        bound = -rate - multiplier * (distortion - target)
        multiplier <- multiplier * exp(speed * excess)
        excess: smoothed distortion - target, within one nat

    The multiplier is a state of the training: logged as `multiplier`, stored with the model, and
    kept between 1e-4 and 1e4. Where it comes to rest, the model is that of
    `ELBO(1 / multiplier)`.

    Args:
        target: The distortion in nats, which may be negative: a number or a `Schedule`.
        speed: Relative change of the multiplier per step and nat of excess, >= 0.
        smoothing: Share that the excess keeps of its earlier value, in [0, 1).
        num_samples: Draws of z per data point, S.
        gradient: How the gradient in the parameters of q(z|x) follows the draws; None takes
            `Reparameterised`, or that of a sum.

    Call arguments:
        terms: `Terms`; reads `distortion` and `rate`.
        step: Number of updates made so far.
        state: The multiplier; by default one.

    Returns:
        bound: `[B]`, nats.

    Raises:
        TypeError: `gradient` is no gradient estimator.
        ValueError: `target` is no finite number, `speed` negative, `smoothing` outside [0, 1), or
            `num_samples` smaller than 1.

    Example:
        >>> from tfvae.demo import terms
        >>> tfvae.objectives.TargetDistortion(20.0)(terms).shape
        TensorShape([20])

    Reference: Taming VAEs (Rezende and Viola, 2018), https://arxiv.org/abs/1810.00597
    """

    def _free_and_held(self, terms: Terms) -> tuple[Tensor, Tensor]:
        return checked_rate(terms, self.gradient), terms.distortion
