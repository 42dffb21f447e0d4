"""Power means of importance weights: what most bounds on log p(x) are made of."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from tfvae._typing import Tensor

__all__ = ["PowerMean", "PowerMeans"]

# Below this order logarithms and exponentials are taken around one, where they lose no digits.
_SMALL_ORDER = 0.01


@dataclass(frozen=True)
class PowerMean:
    """log (mean_s w_s ** order) ** (1 / order), the mean of that over groups of draws.

    The order 1 is the log of the mean weight, and the limit 0 the mean of the log weights.

    Args:
        order: Any number.
        groups: Number of groups of equal size that the draws fall into, one after another.
    """

    order: float = 1.0
    groups: int = 1

    def value(self, log_w: Tensor) -> Tensor:
        """Returns `[...]` for log weights `[S, ...]`."""
        if self.order == 0.0:
            return tf.reduce_mean(log_w, axis=0)
        grouped = self._grouped(log_w)  # [G, S / G, ...]
        log_size = tf.math.log(tf.cast(tf.shape(grouped)[1], log_w.dtype))
        if abs(self.order) >= _SMALL_ORDER:
            log_mean = tf.reduce_logsumexp(self.order * grouped, axis=1) - log_size
            return tf.reduce_mean(log_mean / self.order, axis=0)
        centre = tf.reduce_max(grouped, axis=1, keepdims=True)
        scaled = self.order * (grouped - centre)
        near = tf.clip_by_value(scaled, -0.5, 0.5)
        log_mean = tf.where(
            tf.reduce_all(tf.abs(scaled) <= 0.5, axis=1),
            tf.math.log1p(tf.reduce_mean(tf.math.expm1(near), axis=1)),
            tf.reduce_logsumexp(scaled, axis=1) - log_size,
        )
        return tf.reduce_mean(tf.squeeze(centre, 1) + log_mean / self.order, axis=0)

    def weights(self, log_w: Tensor) -> Tensor:
        """Returns the gradient of `value` in the log weights `[S, ...]`; they add up to one."""
        grouped = self._grouped(log_w)
        return (
            tf.reshape(tf.nn.softmax(self.order * grouped, axis=1), tf.shape(log_w)) / self.groups
        )

    def curvature(self, log_w: Tensor) -> Tensor:
        """Returns the second derivative of `value` in each log weight `[S, ...]`."""
        weights = self.weights(log_w)
        return self.order * weights * (1.0 - self.groups * weights)

    def _grouped(self, log_w: Tensor) -> Tensor:
        shape = tf.concat([[self.groups, -1], tf.shape(log_w)[1:]], axis=0)
        return tf.reshape(log_w, shape)


@dataclass(frozen=True)
class PowerMeans:
    """A weighted sum of power means.

    Args:
        parts: Pairs of a weight and a `PowerMean`.
    """

    parts: tuple[tuple[float, PowerMean], ...]

    @classmethod
    def of(cls, order: float = 1.0, groups: int = 1) -> PowerMeans:
        """Returns one power mean of weight one."""
        return cls(((1.0, PowerMean(order, groups)),))

    @property
    def are_linear(self) -> bool:
        """Whether the sum is linear in the log weights: means of them."""
        return all(mean.order == 0.0 for _, mean in self.parts)

    @property
    def total(self) -> float:
        """The sum of the weights of the parts."""
        return sum(weight for weight, _ in self.parts)

    def __call__(self, log_w: Tensor) -> Tensor:
        """Returns the sum `[...]` for log weights `[S, ...]`."""
        return tf.add_n([weight * mean.value(log_w) for weight, mean in self.parts])

    def weights(self, log_w: Tensor) -> Tensor:
        """Returns the gradient of the sum in the log weights `[S, ...]`."""
        return tf.add_n([weight * mean.weights(log_w) for weight, mean in self.parts])

    def curvature(self, log_w: Tensor) -> Tensor:
        """Returns the second derivative of the sum in each log weight `[S, ...]`."""
        return tf.add_n([weight * mean.curvature(log_w) for weight, mean in self.parts])
