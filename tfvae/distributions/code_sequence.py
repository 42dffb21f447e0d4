"""Categorical variables one after the other, each given those before it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._typing import Distribution, Shape, Tensor

__all__ = ["CodeSequence"]

tfd = tfp.distributions


class CodeSequence(tfd.Distribution):
    """Joint distribution of n categorical variables of K states, by the chain rule.

        p(z) = prod_i softmax(logits_i(z_1, ..., z_i-1))[z_i]

    A density takes one pass of the function, a draw n of them. Of one-hot vectors the log-density
    is linear in each vector given those before it, so that relaxed ones, which sum to one, have a
    gradient too.

    Args:
        logits_fn: From one-hot codes `[..., n, K]` to logits `[..., n, K]`, of which row i depends
            on the rows before i alone.
        event_shape: Shape of one draw: n numbers from 0, in any shape, or, for one-hot vectors,
            n of them in any shape, and K as last axis.
        levels: K.
        one_hot: Whether draws are one-hot vectors.
        rows: What `logits_fn` depends on beside the codes `[B, ...]`, for batch shape `[B]`; None
            for nothing, batch shape `[]`.
        dtype: Type of the draws.

    Example:
        >>> like_before = lambda h: 3.0 * tf.pad(h[..., :-1, :], [[0, 0]] * (len(h.shape) - 2)
        ...                                      + [[1, 0], [0, 0]])
        >>> p = CodeSequence(like_before, (4,), 2)
        >>> p.sample(3, seed=[0, 1]).shape, round(float(tf.exp(p.log_prob([0.0] * 4))), 3)
        (TensorShape([3, 4]), 0.432)

    Reference: Neural Discrete Representation Learning (van den Oord et al., 2017), section 4.2,
    https://arxiv.org/abs/1711.00937
    """

    def __init__(
        self,
        logits_fn: Callable[[Tensor], Tensor],
        event_shape: Shape,
        levels: int,
        *,
        one_hot: bool = False,
        rows: Tensor | None = None,
        dtype: Any = tf.float32,
    ) -> None:
        self._logits_fn = logits_fn
        self._event, self._levels, self._one_hot = tuple(event_shape), levels, one_hot
        self._rows = rows
        super().__init__(
            dtype=dtype,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            name="CodeSequence",
        )

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: int | None = None) -> dict[str, Any]:
        return {}

    def conditionals(self, z: Tensor) -> Distribution:
        """Returns the distribution of each code given those before it, batch shape `[..., n]`."""
        return tfd.Categorical(logits=self._logits_fn(self._one_hot_codes(z)))

    @property
    def _num_codes(self) -> int:
        return math.prod(self._event[:-1] if self._one_hot else self._event)

    def _one_hot_codes(self, z: Tensor) -> Tensor:
        """Returns `[..., n, K]` of values `[..., *E]`."""
        z = tf.convert_to_tensor(z, self.dtype)
        leading = z.shape.rank - len(self._event)
        ends = [self._num_codes, self._levels] if self._one_hot else [self._num_codes]
        static = z.shape[:leading].concatenate(ends)
        z = tf.ensure_shape(tf.reshape(z, tf.concat([tf.shape(z)[:leading], ends], 0)), static)
        if self._one_hot:
            return z
        return tf.one_hot(tf.cast(z, tf.int32), self._levels, dtype=self.dtype)

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape(self._event)

    def _event_shape_tensor(self) -> Tensor:
        return tf.constant(self._event, tf.int32)

    def _batch_shape(self) -> tf.TensorShape:
        return tf.TensorShape([]) if self._rows is None else self._rows.shape[:1]

    def _batch_shape_tensor(self) -> Tensor:
        return tf.zeros([0], tf.int32) if self._rows is None else tf.shape(self._rows)[:1]

    def _log_prob(self, value: Tensor) -> Tensor:
        codes = self._one_hot_codes(value)
        log_probs = tf.nn.log_softmax(self._logits_fn(codes))
        log_prob = tf.reduce_sum(codes * log_probs, axis=[-2, -1])
        if self._one_hot:
            return log_prob
        known = tf.reduce_all(tf.reduce_any(codes > 0.0, axis=-1), axis=-1)
        return tf.where(known, log_prob, tf.cast(-float("inf"), log_prob.dtype))

    def _sample_n(self, n: Tensor, seed: Any = None) -> Tensor:
        size, levels = self._num_codes, self._levels
        batch: Any = self._batch_shape_tensor()
        shape = tf.concat([[n], batch, [size, levels]], axis=0)
        seed = tfp.random.sanitize_seed(seed, salt="CodeSequence")
        dtype: Any = self.dtype
        uniform = tf.random.stateless_uniform(shape, seed, minval=1e-30, dtype=dtype)
        gumbel = -tf.math.log(-tf.math.log(uniform))

        def one_pass(step: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
            # After k passes with the same noise the first k codes are final.
            best = tf.argmax(self._logits_fn(codes) + gumbel, axis=-1)
            drawn = tf.one_hot(best, levels, dtype=self.dtype)
            return step + 1, tf.ensure_shape(drawn, codes.shape)

        start = (tf.constant(0), tf.zeros(shape, self.dtype))
        codes = tf.while_loop(lambda k, _: k < size, one_pass, start, maximum_iterations=size)[1]
        if not self._one_hot:
            codes = tf.cast(tf.argmax(codes, axis=-1), self.dtype)
        return tf.reshape(codes, tf.concat([[n], batch, self._event], axis=0))
