"""The levels of a hierarchy: what each is a distribution given, and draws of all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._shapes import joined, with_event
from tfvae._typing import Distribution, Shape, Tensor
from tfvae.distributions.finite import weighed
from tfvae.distributions.gaussian import as_diagonal_normal

__all__ = ["Conditional", "Factor", "LevelDraws", "split_levels"]

tfd = tfp.distributions


class Factor(NamedTuple):
    """One conditional of a `Hierarchy`.

    Attributes:
        name: The level that it is a distribution of.
        reads: Names of the levels, and of what else is given, that it depends on.
        make: From these, by name, each `[N, ...]`, to the distribution, batch shape `[N]`; batch
            shape `[]` where it reads nothing.
    """

    name: str
    reads: tuple[str, ...]
    make: Callable[[dict[str, Tensor]], Distribution]


class Conditional(NamedTuple):
    """The distribution of one level at given values of the levels that it depends on.

    Attributes:
        distribution: Of batch shape `[N]`, all leading axes of the values in one; or of the batch
            shape of the hierarchy, for a level that depends on no other.
        leading: The shape that was folded into `[N]`; None for a level that depends on no other.
    """

    distribution: Distribution
    leading: Any = None

    def log_prob(self, value: Tensor, event_shape: Shape) -> Tensor:
        """Returns the log-density `[...]` of values `[..., *event_shape]`, nats."""
        value = tf.cast(value, self.distribution.dtype)
        if self.leading is None:
            return self.distribution.log_prob(value)
        folded = tf.reshape(value, [-1, *event_shape])
        return tf.reshape(self.distribution.log_prob(folded), self.leading)

    def unfolded(self, event_shape: Shape) -> Distribution | None:
        """Returns the elementwise `tfd.Normal` `[..., *event_shape]`, None for no Gaussian."""
        normal = as_diagonal_normal(self.distribution)
        if normal is None or self.leading is None:
            return normal
        shape = joined(self.leading, event_shape)
        return tfd.Normal(tf.reshape(normal.loc, shape), tf.reshape(normal.scale, shape))


class LevelDraws(NamedTuple):
    """Draws of all levels, by name.

    Attributes:
        values: The levels `[S, B, *E_l]`.
        log_probs: Their log-densities `[S, B]`, each given those that it depends on.
        conditionals: What they are drawn from.
        extra: The sum over the levels `[..., S, B]` of what `draw` returned third, if anything.
        log_shares: Logarithms `[S, B]` of the share of each row in sums over rows, where levels
            take all states; None where each row is a draw.
        summed: The levels that take all states.
        slopes: The gradient `[S, B, *E_l]` of the sum of `log_probs` in the draws of each level,
            where it was asked for.
    """

    values: dict[str, Tensor]
    log_probs: dict[str, Tensor]
    conditionals: dict[str, Conditional]
    extra: Tensor | None = None
    log_shares: Tensor | None = None
    summed: tuple[str, ...] = ()
    slopes: dict[str, Tensor] | None = None

    @property
    def log_weights(self) -> Tensor | None:
        """Logarithms `[S, B]` of the weights of the rows; None where each row is a draw."""
        if self.log_shares is None:
            return None
        return self.log_shares + tf.add_n([self.log_probs[name] for name in self.summed])

    @property
    def log_measure(self) -> Tensor | None:
        """`log_weights` less all `log_probs` `[S, B]`, also where q gives a state nothing."""
        if self.log_shares is None:
            return None
        drawn = [value for name, value in self.log_probs.items() if name not in self.summed]
        return self.log_shares - tf.add_n(drawn) if drawn else self.log_shares

    def expect(self, values: Tensor) -> Tensor:
        """Returns the expectation `[B]` of values `[S, B]` of the rows."""
        weights = self.log_weights
        if weights is None:
            return tf.reduce_mean(values, axis=0)
        return tf.reduce_sum(weighed(weights, values), axis=0)


def split_levels(z: Tensor, event_shapes: Mapping[str, Shape]) -> dict[str, Tensor]:
    """Returns the levels `[..., *E_l]` of draws `[..., K]`, by name."""
    sizes = [math.prod(event) for event in event_shapes.values()]
    parts = zip(tf.split(z, sizes, axis=-1), event_shapes.items(), strict=True)
    return {
        name: part if len(event) == 1 else with_event(part, event) for part, (name, event) in parts
    }
