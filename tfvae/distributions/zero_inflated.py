"""Counts with more zeros than their family explains."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability.python.distributions.distribution import (
    AutoCompositeTensorDistribution,
)

from tfvae._random import split_seed, standard_uniform
from tfvae._typing import Distribution, Tensor
from tfvae.distributions.broadcast import over_batch
from tfvae.distributions.support import Support, support_of

__all__ = ["ZeroInflated"]

tfd = tfp.distributions


class ZeroInflated(AutoCompositeTensorDistribution):
    """Zero with probability pi, else a draw from another distribution of scalars.

        pi = sigmoid(logits)
        p(x) = pi * [x == 0] + (1 - pi) * p_counts(x)

    Unlike `tfd.Inflated` it keeps gradients finite for any logits.

    Args:
        distribution: `p_counts`, batch shape `[...]`, event shape `[]`.
        logits: Log odds of a zero that is none of the counts `[...]`; its shape and the batch
            shape of `distribution` broadcast against each other.
        validate_args: See `tfd.Distribution`.
        allow_nan_stats: See `tfd.Distribution`.
        name: See `tfd.Distribution`.

    Example:
        >>> from tfvae.distributions import ZeroInflated
        >>> p = ZeroInflated(tfd.Poisson(2.0), logits=0.0)
        >>> float(p.mean())
        1.0

    Reference: Zero-Inflated Poisson Regression (Lambert, 1992),
    https://doi.org/10.2307/1269547
    """

    def __init__(
        self,
        distribution: Distribution,
        logits: Any,
        validate_args: bool = False,
        allow_nan_stats: bool = True,
        name: str = "ZeroInflated",
    ) -> None:
        parameters = dict(locals())
        self._distribution = distribution
        self._logits = tf.convert_to_tensor(logits, distribution.dtype)
        super().__init__(
            dtype=distribution.dtype,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=validate_args,
            allow_nan_stats=allow_nan_stats,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: int | None = None) -> dict[str, Any]:
        return {
            "distribution": tfp.util.BatchedComponentProperties(),
            "logits": tfp.util.ParameterProperties(),
        }

    @property
    def distribution(self) -> Distribution:
        """The distribution of the counts that are no surplus zeros."""
        return self._distribution

    @property
    def logits(self) -> Tensor:
        """Log odds of a surplus zero."""
        return self._logits

    def support(self) -> Support:
        """Returns the support of the counts, which zero is among."""
        return support_of(self.distribution)

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape([])

    def _event_shape_tensor(self) -> Tensor:
        return tf.constant([], tf.int32)

    def _sample_n(self, n: Tensor, seed: Any = None) -> Tensor:
        seeds = split_seed(seed, 2)
        batch_shape: Any = self.batch_shape_tensor()
        dtype: Any = self.dtype
        shape = tf.concat([[n], batch_shape], axis=0)
        each = over_batch(self.distribution, self.batch_shape, batch_shape)
        counts = each.sample(n, seed=seeds[0])
        uniform = standard_uniform(shape, seeds[1], dtype)
        return tf.where(uniform < tf.sigmoid(self.logits), tf.zeros_like(counts), counts)

    def _log_prob(self, x: Tensor) -> Tensor:
        counted = self.distribution.log_prob(x) + tf.math.log_sigmoid(-self.logits)
        either = tfp.math.log_add_exp(tf.math.log_sigmoid(self.logits), counted)
        return tf.where(x == 0.0, either, counted)

    def _mean(self) -> Tensor:
        return tf.sigmoid(-self.logits) * self.distribution.mean()

    def _variance(self) -> Tensor:
        inner, kept = self.distribution, tf.sigmoid(-self.logits)
        surplus = tf.sigmoid(self.logits) * tf.square(inner.mean())
        return kept * (inner.variance() + surplus)

    def _mode(self) -> Tensor:
        """Zero, where it is more probable than the mode of the counts."""
        mode = self.distribution.mode()
        zero = tf.zeros_like(mode)
        return tf.where(self.log_prob(zero) >= self.log_prob(mode), zero, mode)

    def _default_event_space_bijector(self) -> None:
        return None


support_of.register(ZeroInflated, lambda p: p.support())
