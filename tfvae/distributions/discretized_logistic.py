"""Logistic distributions cut into levels: the likelihood of quantised values."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability.python.distributions.distribution import (
    AutoCompositeTensorDistribution,
)

from tfvae._typing import Tensor
from tfvae.distributions.support import Support, support_of

__all__ = ["DiscretizedLogistic"]

tfd = tfp.distributions

_LEVELS = (
    "Set `levels`, `low` and `high` of the layer to those of the data, or choose "
    "`ContinuousBernoulli` for values from 0 to 1 and `IndependentNormal` for real values."
)

# Numbers that sums over levels hold at once, and levels where nobody knows of how many numbers.
_HELD, _FEW = 2**18, 16


class DiscretizedLogistic(AutoCompositeTensorDistribution):
    """A logistic variable rounded to the nearest of L equal steps from `low` to `high`.

        p(x) = F(x + step / 2) - F(x - step / 2),   F(t) = sigmoid((t - loc) / scale)

    The first level takes all the mass below it and the last all above, so that the probabilities
    of the levels sum to one. Values are taken as the nearest level.

    Args:
        loc: Location `[...]`, in the units of the data.
        scale: Scale `[...]`, in the units of the data.
        levels: Number of levels, L >= 2.
        low: Value of the first level.
        high: Value of the last level.
        validate_args: See `tfd.Distribution`.
        allow_nan_stats: See `tfd.Distribution`.
        name: See `tfd.Distribution`.

    Example:
        >>> from tfvae.distributions import DiscretizedLogistic
        >>> p = DiscretizedLogistic(loc=0.5, scale=0.2, levels=4)
        >>> float(tf.reduce_sum(p.prob(tf.linspace(0.0, 1.0, 4))))
        1.0

    Reference: PixelCNN++ (Salimans et al., 2017), https://arxiv.org/abs/1701.05517
    """

    def __init__(
        self,
        loc: Any,
        scale: Any,
        levels: int = 256,
        low: float = 0.0,
        high: float = 1.0,
        validate_args: bool = False,
        allow_nan_stats: bool = True,
        name: str = "DiscretizedLogistic",
    ) -> None:
        parameters = dict(locals())
        if levels < 2 or not low < high:
            raise ValueError(
                "A discretized logistic needs levels >= 2 and low < high. "
                f"Received: levels={levels}, low={low}, high={high}"
            )
        self._loc = tf.convert_to_tensor(loc)
        self._scale = tf.convert_to_tensor(scale, self._loc.dtype)
        self._levels, self._low, self._high = levels, low, high
        super().__init__(
            dtype=self._loc.dtype,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=validate_args,
            allow_nan_stats=allow_nan_stats,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: int | None = None) -> dict[str, Any]:
        return {
            "loc": tfp.util.ParameterProperties(),
            "scale": tfp.util.ParameterProperties(
                default_constraining_bijector_fn=tfp.bijectors.Softplus
            ),
        }

    @property
    def loc(self) -> Tensor:
        """Location of the logistic variable."""
        return self._loc

    @property
    def scale(self) -> Tensor:
        """Scale of the logistic variable."""
        return self._scale

    @property
    def levels(self) -> int:
        """Number of levels, L."""
        return self._levels

    @property
    def low(self) -> float:
        """Value of the first level."""
        return self._low

    @property
    def high(self) -> float:
        """Value of the last level."""
        return self._high

    @property
    def step(self) -> float:
        """Distance between neighbouring levels."""
        return (self._high - self._low) / (self._levels - 1)

    def support(self) -> Support:
        """Returns the levels, as `support_of` does."""
        return Support(
            "DiscretizedLogistic",
            self.low,
            self.high,
            whole=True,
            remedy=_LEVELS,
            spacing=self.step,
        )

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape([])

    def _event_shape_tensor(self) -> Tensor:
        return tf.constant([], tf.int32)

    def _sample_n(self, n: Tensor, seed: Any = None) -> Tensor:
        return self._nearest(tfd.Logistic(self.loc, self.scale).sample(n, seed=seed))

    def _log_prob(self, x: Tensor) -> Tensor:
        # Counted in levels the upper end of one is the lower end of the next to the bit: ends that
        # round apart make sums of sharp distributions another number than one.
        index, loc = self._index(x), self._in_levels(self.loc)
        upper, lower = ((end - loc) * self.step / self.scale for end in (index + 0.5, index - 0.5))
        log_below, log_above = tf.math.log_sigmoid(upper), tf.math.log_sigmoid(-lower)
        # sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - exp(l - u)): no cancellation.
        # TFP's `log1mexp` has a NaN gradient where the exponent rounds to one.
        between = log_below + log_above + tf.math.log(-tf.math.expm1(-self.step / self.scale))
        last = index > self.levels - 1.5
        return tf.where(index < 0.5, log_below, tf.where(last, log_above, between))

    def _mean(self) -> Tensor:
        centre, mean, _ = self._moments()
        return centre + self.step * mean

    def _variance(self) -> Tensor:
        _, mean, square = self._moments()
        return self.step**2 * tf.maximum(square - tf.square(mean), 0.0)

    def _mode(self) -> Tensor:
        # The tails make the first or the last level the likeliest, or else the one around `loc`.
        inner = tf.clip_by_value(self._nearest(self.loc), self.low, self.high)
        best = inner + tf.zeros_like(self.scale)
        for edge in (self.low, self.high):
            candidate = tf.fill(tf.shape(best), tf.cast(edge, best.dtype))
            better = self._log_prob(candidate) > self._log_prob(best)
            best = tf.where(better, candidate, best)
        return best

    def _nearest(self, x: Tensor) -> Tensor:
        return self.low + self.step * self._index(x)

    def _index(self, x: Tensor) -> Tensor:
        """Returns the number of the level nearest to `x`, from 0 to L - 1."""
        return tf.clip_by_value(tf.round(self._in_levels(x)), 0.0, self.levels - 1.0)

    def _in_levels(self, x: Tensor) -> Tensor:
        return (x - self.low) / self.step

    def _moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the level nearest to `loc`, and E[N] and E[N**2] of the levels N above it.

        Counted from there no digits are lost: squares of numbers of levels, such as 200**2, leave
        none to the variance of a sharp distribution. Some levels at a time, by

            E[N] = sum_{n > 0} P(N >= n) - sum_{n <= 0} P(N < n)
            E[N**2] = sum_{n > 0} (2 n - 1) P(N >= n) + sum_{n <= 0} (1 - 2 n) P(N < n)
        """
        dtype: Any = self.dtype
        start = tf.stop_gradient(self._index(self.loc))
        centre = self.low + self.step * start
        own = self._in_levels(self.loc), self.scale, start
        loc, scale, first = (x[..., None] for x in own)
        most = _HELD // max(1, self.batch_shape.num_elements() or _HELD // _FEW)
        block = min(max(1, most), self.levels - 1)

        def add(k: Tensor, mean: Tensor, square: Tensor) -> tuple[Tensor, ...]:
            index = tf.cast(k, dtype) + tf.range(block, dtype=dtype)  # [block]
            above = (loc - (index - 0.5)) * self.step / scale
            n = index - first
            # P(N >= n) beyond the centre, and minus P(N < n) up to it.
            share = tf.where(n > 0.0, tf.sigmoid(above), -tf.sigmoid(-above))
            share = tf.where(index < self.levels, share, tf.zeros([], dtype))
            square += tf.reduce_sum((2.0 * n - 1.0) * share, axis=-1)
            return k + block, mean + tf.reduce_sum(share, axis=-1), square

        batch_shape: Any = self.batch_shape_tensor()
        zeros = tf.zeros(batch_shape, dtype)
        zeros = tf.ensure_shape(zeros, self.batch_shape)
        _, mean, square = tf.while_loop(
            lambda k, *_: k < self.levels,
            add,
            (tf.constant(1), zeros, zeros),
            maximum_iterations=-(-(self.levels - 1) // block),
        )
        return centre, mean, square

    def _default_event_space_bijector(self) -> None:
        return None


support_of.register(DiscretizedLogistic, lambda p: p.support())
