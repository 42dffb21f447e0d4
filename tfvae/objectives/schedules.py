"""Weights that change with the optimizer's step, or with how training goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow as tf

from tfvae._config import Configured, check_amount, keep_counts
from tfvae._typing import Tensor, register

__all__ = ["Constant", "Cyclical", "Linear", "Plateau", "Schedule"]

State = Mapping[str, Tensor]


class Schedule(Configured):
    """Abstract function of the optimizer's step; most hold no state, so resuming needs none.

    One that follows the course of training says how, as an objective does: `initial_state` names
    its numbers, `__call__` takes them as a second argument `state`, and `next_state` returns the
    next ones. The objective that it is a field or a weight of passes them through, and the model
    holds them, in `model.objective_state`.

    Call arguments:
        step: Number of updates made so far, an integer scalar.

    Returns:
        Scalar float32.
    """

    def __call__(self, step: int | Tensor) -> Tensor:
        raise NotImplementedError

    def initial_state(self) -> dict[str, float]:
        """Returns the numbers that this schedule changes from step to step, as they begin.

        Those whose names begin with an underscore are not logged.
        """
        return {}

    def next_state(self, state: State, bound: Tensor) -> dict[str, Tensor]:
        """Returns the numbers of `initial_state` after a step.

        Args:
            state: The numbers before it.
            bound: What the step raised: minus the loss, a scalar.
        """
        del bound
        return dict(state)


def is_heavy(weight: float | Schedule) -> bool:
    """Whether a weight is at least one for sure: with it on the rate, the ELBO stays a bound.

    Example:
        >>> from tfvae.objectives.schedules import is_heavy
        >>> is_heavy(4.0), is_heavy(0.5), is_heavy(tfvae.objectives.Linear(0.0, 1.0, steps=10))
        (True, False, False)
    """
    return not isinstance(weight, Schedule) and weight >= 1.0


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
        keep_counts(self, "steps")
        for name in ("start", "end"):
            check_amount(name, getattr(self, name), negative=True)

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
        keep_counts(self, "period")
        for name in ("start", "end"):
            check_amount(name, getattr(self, name), negative=True)
        if not 0.0 < self.ramp <= 1.0:
            raise ValueError(f"`ramp` must lie in (0, 1]. Received: ramp={self.ramp}")

    def __call__(self, step: int | Tensor) -> Tensor:
        position = tf.cast(tf.math.floormod(tf.cast(step, tf.int64), self.period), tf.float32)
        done = tf.minimum(position / (self.ramp * self.period), 1.0)
        return self.start + (self.end - self.start) * done


@register
@dataclass(frozen=True)
class Plateau(Schedule):
    """Moves from `start` to `end` by one `increment` whenever training has come to a rest.

    After each `patience` updates, the mean over them of what is maximised is compared with the best
    such mean at the value as it stands. Where it is not higher by more than `min_rise`, the value
    moves, and the comparison begins anew: at another weight the bound is another one.

    The value is a state of the training: logged as `<argument>_level`, `beta_level` in
    `ELBO(beta=Plateau(...))`, and stored with the model.

    Args:
        start: Value at first.
        end: Value that it moves to, and stays at.
        increment: Size of each move, > 0, up or down.
        patience: Number of updates of each mean.
        min_rise: Least rise of the mean, in nats, that counts.

    Call arguments:
        step: Not used.
        state: The value as it stands; by default `start`.

    Raises:
        ValueError: `patience` is smaller than 1, `increment` not positive, `min_rise` negative, or
            an argument no number.

    Example:
        >>> from tfvae.demo import vae
        >>> warm_up = tfvae.objectives.Plateau(0.0, 1.0, increment=0.1, patience=100)
        >>> vae.compile("adam", tfvae.objectives.ELBO(beta=warm_up))
        >>> float(vae.objective_state["beta_level"])
        0.0

    Reference: Lagging Inference Networks and Posterior Collapse in Variational Autoencoders
    (He et al., 2019), https://arxiv.org/abs/1901.05534, who time the end of a phase so; the moves
    are those of a learning rate that is lowered on a plateau, the other way round.
    """

    start: float
    end: float
    increment: float
    patience: int
    min_rise: float = 0.0

    def __post_init__(self) -> None:
        check_amount("start", self.start, negative=True)
        check_amount("end", self.end, negative=True)
        check_amount("increment", self.increment, positive=True)
        keep_counts(self, "patience")
        check_amount("min_rise", self.min_rise)

    def __call__(self, step: int | Tensor, state: State | None = None) -> Tensor:
        del step
        level = self.start if state is None else state["level"]
        return tf.convert_to_tensor(level, tf.float32)

    def initial_state(self) -> dict[str, float]:
        """Returns the value, and what is summed up and compared at it."""
        hidden = ("_total", "_updates", "_best", "_looks")
        return {"level": float(self.start), **dict.fromkeys(hidden, 0.0)}

    def next_state(self, state: State, bound: Tensor) -> dict[str, Tensor]:
        """See `Schedule.next_state`."""
        total = state["_total"] + tf.cast(bound, tf.float32)
        count = state["_updates"] + 1.0
        looks = count >= float(self.patience)
        mean, best = total / count, state["_best"]
        rises = (mean > best + self.min_rise) | (state["_looks"] < 1.0)
        moves = looks & ~rises
        level, end = state["level"], float(self.end)
        way = tf.clip_by_value(end - level, -float(self.increment), float(self.increment))
        # The last step may leave a rest that is rounding alone.
        arrives = tf.abs(end - level) <= float(self.increment) * (1.0 + 1e-5)
        moved = tf.where(arrives, end, level + way)
        looked = tf.where(moves, 0.0, state["_looks"] + 1.0)
        return {
            "level": tf.where(moves, moved, level),
            "_total": tf.where(looks, 0.0, total),
            "_updates": tf.where(looks, 0.0, count),
            "_best": tf.where(looks & rises, mean, best),
            "_looks": tf.where(looks, looked, state["_looks"]),
        }


@dataclass(frozen=True)
class Resolved(Schedule):
    """A schedule with a state, at one step.

    Args:
        value: Its value, a scalar tensor.
    """

    value: Tensor

    def __call__(self, step: int | Tensor) -> Tensor:
        del step
        return self.value
