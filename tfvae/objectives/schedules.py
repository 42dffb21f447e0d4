"""Weights that change with the optimizer's step."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from tfvae._config import Configured, check_count
from tfvae._typing import Tensor, register

__all__ = ["Constant", "Cyclical", "Linear", "Schedule"]


class Schedule(Configured):
    """Abstract function of the optimizer's step; holds no state, so resuming needs none.

    Call arguments:
        step: Number of updates made so far, an integer scalar.

    Returns:
        Scalar float32.
    """

    def __call__(self, step: int | Tensor) -> Tensor:
        raise NotImplementedError


def value_at(value: float | Schedule, step: int | Tensor) -> float | Tensor:
    """Returns a number as it is, and the value of a schedule at `step`."""
    return value(step) if isinstance(value, Schedule) else value


@register
@dataclass(frozen=True)
class Constant(Schedule):
    """The same value at every step.

    Args:
        value: The value.

    Example:
        >>> float(tfvae.objectives.Constant(0.5)(123))
        0.5
    """

    value: float = 1.0

    def __call__(self, step: int | Tensor) -> Tensor:
        del step
        return tf.constant(self.value, tf.float32)


@register
@dataclass(frozen=True)
class Linear(Schedule):
    """A straight line from `start` to `end` over `steps` updates, then `end`.

        value = start + (end - start) * min(1, step / steps)

    Args:
        start: Value at step 0.
        end: Value from step `steps` on.
        steps: Number of updates of the ramp.

    Raises:
        ValueError: `steps` is smaller than 1.

    Example:
        >>> float(tfvae.objectives.Linear(0.0, 1.0, steps=100)(50))
        0.5

    Reference: Ladder Variational Autoencoders (Sonderby et al., 2016),
    https://arxiv.org/abs/1602.02282
    """

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        check_count("steps", self.steps)

    def __call__(self, step: int | Tensor) -> Tensor:
        done = tf.minimum(tf.cast(step, tf.float32) / self.steps, 1.0)
        return self.start + (self.end - self.start) * done


@register
@dataclass(frozen=True)
class Cyclical(Schedule):
    """A line from `start` to `end` that begins anew every `period` updates.

    Each period rises over its first `ramp` share and stays at `end` for the rest.

    Args:
        start: Value at the beginning of each period.
        end: Value after the ramp.
        period: Number of updates of one period.
        ramp: Share of the period that rises, in (0, 1].

    Raises:
        ValueError: `period` is smaller than 1, or `ramp` outside (0, 1].

    Example:
        >>> float(tfvae.objectives.Cyclical(0.0, 1.0, period=100, ramp=0.5)(125))
        0.5

    Reference: Cyclical Annealing Schedule (Fu et al., 2019), https://arxiv.org/abs/1903.10145
    """

    start: float
    end: float
    period: int
    ramp: float = 0.5

    def __post_init__(self) -> None:
        check_count("period", self.period)
        if not 0.0 < self.ramp <= 1.0:
            raise ValueError(f"`ramp` must lie in (0, 1]. Received: ramp={self.ramp}")

    def __call__(self, step: int | Tensor) -> Tensor:
        position = tf.cast(tf.math.floormod(tf.cast(step, tf.int64), self.period), tf.float32)
        done = tf.minimum(position / (self.ramp * self.period), 1.0)
        return self.start + (self.end - self.start) * done
