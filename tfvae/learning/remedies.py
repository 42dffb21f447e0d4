"""What follows where a loss, a gradient or a weight ceases to be finite; chosen in `compile`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import keras

from tfvae._config import Configured, keep_counts
from tfvae._typing import register

__all__ = ["Best", "GoBack", "Last", "Raise", "Remedy", "Skip"]


class Remedy(Configured):
    """Abstract answer to numbers that are not finite, perhaps with another for when it is used up.

    Remedies are put together by `then`: `Skip(5, then=GoBack(2))` skips five batches, then goes
    back twice with half the learning rate, then raises.

    Attributes:
        before_weights_change: Whether steps have to look for such numbers before weights change.
    """

    before_weights_change: ClassVar[bool] = False
    times: int
    then: Remedy

    def chain(self) -> Iterator[Remedy]:
        """Yields this remedy and those that follow it, `Raise` at the end."""
        yield self
        yield from self.then.chain()

    def check_optimizer(self, optimizer: Any) -> None:
        """Checks that a Keras optimizer can be dealt with.

        Raises:
            ValueError: It cannot, and why.
        """
        self.then.check_optimizer(optimizer)


@register
@dataclass(frozen=True)
class Raise(Remedy):
    """Ends training by a `FloatingPointError`, with weights that are finite: the default.

    They are those of at most 200 updates before, or of the call that makes more at once.

    Example:
        >>> from tfvae.demo import vae
        >>> vae.compile("adam", when_not_finite=tfvae.learning.Raise())
    """

    def chain(self) -> Iterator[Remedy]:
        """Yields this remedy alone."""
        yield self

    def check_optimizer(self, optimizer: Any) -> None:
        """See `Remedy.check_optimizer`."""
        del optimizer


@register
@dataclass(frozen=True)
class Skip(Remedy):
    """Leaves out batches whose loss or gradients are not finite, with a warning that names them.

    Known before anything changes: neither weights nor slots, states or sums of what is logged. How
    many there were is logged as `skipped`. Each step takes a look at all gradients for that.

    Args:
        times: Batches of one `fit` that may be left out.
        then: What follows after these, and for weights that are not finite though all gradients
            were.

    Example:
        >>> from tfvae.demo import vae
        >>> vae.compile("adam", when_not_finite=tfvae.learning.Skip(5))

    Reference: Mixed Precision Training (Micikevicius et al., 2018),
    https://arxiv.org/abs/1710.03740
    """

    before_weights_change: ClassVar[bool] = True
    times: int = 10
    then: Remedy = field(default_factory=Raise)

    def __post_init__(self) -> None:
        _check(self)


@register
@dataclass(frozen=True)
class Last(Configured):
    """The last state that was kept, of at most 200 updates before.

    Example:
        >>> remedy = tfvae.learning.GoBack(to=tfvae.learning.Last())
    """


@register
@dataclass(frozen=True)
class Best(Configured):
    """The state after the epoch in which a number was best, the last one before there is any.

    Args:
        monitor: What `fit` logs of an epoch.
        smaller: Whether less is better; by default where the name ends with "loss" or "distortion".

    Example:
        >>> remedy = tfvae.learning.GoBack(to=tfvae.learning.Best("elbo"))
    """

    monitor: str = "val_elbo"
    smaller: bool | None = None

    def gains(self, value: float, best: float | None) -> bool:
        """Returns whether a number is better than the best one so far."""
        smaller = self.smaller
        if smaller is None:
            smaller = self.monitor.endswith(("loss", "distortion"))
        return best is None or (value < best if smaller else value > best)


@register
@dataclass(frozen=True)
class GoBack(Remedy):
    """Puts a good state back, lowers the learning rate and goes on with the next batch.

    Weights, slots, seeds and states are then those of before; a warning says so.

    Args:
        times: How often, in one `fit`.
        factor: What the learning rate is multiplied by each time, within (0, 1].
        to: Which state: `Last()` or `Best(monitor)`.
        then: What follows after that.

    Raises:
        ValueError: An argument is none that can be taken.

    Example:
        >>> from tfvae.demo import vae
        >>> vae.compile("adam", when_not_finite=tfvae.learning.GoBack(3, factor=0.1))

    Reference: PaLM: Scaling Language Modeling with Pathways (Chowdhery et al., 2022), section 5.1,
    https://arxiv.org/abs/2204.02311
    """

    times: int = 3
    factor: float = 0.5
    to: Last | Best = field(default_factory=Last)
    then: Remedy = field(default_factory=Raise)

    def __post_init__(self) -> None:
        _check(self)
        if not (isinstance(self.factor, (int, float)) and 0.0 < self.factor <= 1.0):
            raise ValueError(
                f"`factor` must be a number within (0, 1]. Received: factor={self.factor!r}"
            )
        if not isinstance(self.to, (Last, Best)):
            raise ValueError(f"`to` must be `Last()` or `Best(monitor)`. Received: {self.to!r}")

    def check_optimizer(self, optimizer: Any) -> None:
        """See `Remedy.check_optimizer`."""
        schedule = getattr(optimizer, "_learning_rate", None)
        if self.factor < 1.0 and isinstance(
            schedule, keras.optimizers.schedules.LearningRateSchedule
        ):
            raise ValueError(
                "`GoBack` lowers the learning rate, and this optimizer takes it from a schedule: "
                f"{type(schedule).__name__}. Give the optimizer a number, or pass `factor=1.0`."
            )
        self.then.check_optimizer(optimizer)


def _check(remedy: Remedy) -> None:
    keep_counts(remedy, "times")
    if not isinstance(remedy.then, Remedy):
        raise ValueError(
            "`then` must be a remedy of `tfvae.learning`, such as `Raise()`. "
            f"Received: then={remedy.then!r}"
        )
