"""Products of conditional distributions, one element after the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability.python.distributions.distribution import (
    AutoCompositeTensorDistribution,
)

from tfvae._typing import Distribution, Tensor, event_tuple
from tfvae.distributions.one_hot import OneHot
from tfvae.distributions.support import Support, support_of

__all__ = ["Autoregressive"]

tfd = tfp.distributions


class Autoregressive(AutoCompositeTensorDistribution):
    """Elements one after the other, each with a density given those before it and a context.

        log p(x) = sum_i log p(x_i | x_<i, context)

    Densities take one pass of a function, which must be autoregressive: parameters of an element
    depend on the elements before it only. There is no mean, mode or entropy in closed form.

    The functions are told apart by identity: pass the same objects for the same function.

    Args:
        params_fn: From `x` `[..., *E]`, the context and `weights` to parameters `[..., *D, P]`,
            those of each element.
        element_fn: From parameters `[..., P]` to a distribution of batch shape `[...]`: the
            elements. Their event shape is `[]`, or that of the last axes of a draw, such as of
            one-hot vectors.
        event_shape: Shape of one draw, `E`: that of the elements, `D`, before that of one.
        params_size: Number of parameters per element, P.
        context: `[..., C]`, whose leading axes are the batch.
        weights: Tensors that the functions read: parts of the distribution, beside the context.
        sample_fn: From the number of draws S, a context `[B, C]`, `weights` and a seed `[2]` to
            draws `[S, B, *E]`. None takes size(E) passes of `params_fn`.
        validate_args: See `tfd.Distribution`.
        allow_nan_stats: See `tfd.Distribution`.
        name: See `tfd.Distribution`.

    Example:
        >>> from tfvae.distributions import Autoregressive
        >>> def chain(x, context, weights):  # each element is like the one before it
        ...     before = tf.pad(x[..., :-1], [[0, 0]] * (len(x.shape) - 1) + [[1, 0]])
        ...     return 4.0 * before[..., None] + context[..., None, :]
        >>> p = Autoregressive(
        ...     chain, lambda logits: tfd.Bernoulli(logits[..., 0], dtype=tf.float32),
        ...     event_shape=5, params_size=1, context=tf.fill([3, 1], -2.0))
        >>> p.sample(2, seed=[0, 1]).shape, p.log_prob(tf.ones(5)).shape
        (TensorShape([2, 3, 5]), TensorShape([3]))

    Reference: Neural Autoregressive Distribution Estimation (Uria et al., 2016),
    https://arxiv.org/abs/1605.02226
    """

    def __init__(
        self,
        params_fn: Callable[[Tensor, Tensor, Sequence[Tensor]], Tensor],
        element_fn: Callable[[Tensor], Distribution],
        event_shape: int | Sequence[int],
        params_size: int,
        context: Any,
        weights: Sequence[Tensor] = (),
        sample_fn: Callable[..., Tensor] | None = None,
        validate_args: bool = False,
        allow_nan_stats: bool = True,
        name: str = "Autoregressive",
    ) -> None:
        parameters = dict(locals())
        self._params_fn = params_fn
        self._element_fn = element_fn
        self._sample_fn = sample_fn
        self._event = event_tuple(event_shape)
        self._params_size = params_size
        self._context = tf.convert_to_tensor(context)
        self._weights = tuple(weights)
        self._element = element_fn(tf.zeros([params_size], self._context.dtype))
        self._elements = self._event[: len(self._event) - len(self._element.event_shape)]
        super().__init__(
            dtype=tf.as_dtype(self._element.dtype),
            reparameterization_type=self._element.reparameterization_type,
            validate_args=validate_args,
            allow_nan_stats=allow_nan_stats,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: int | None = None) -> dict[str, Any]:
        return {"context": tfp.util.ParameterProperties(event_ndims=1)}

    @property
    def context(self) -> Tensor:
        """What all elements are given, `[..., C]`."""
        return self._context

    @property
    def element(self) -> Distribution:
        """The distribution of one element at parameters of zero: its family and its support."""
        return self._element

    def support(self) -> Support:
        """Returns the support of one element."""
        return support_of(self.element)

    @property
    def follows_draws(self) -> bool:
        """Whether log p(x) of draws of few states carries a gradient to values between them."""
        return isinstance(self._element, OneHot)

    def conditionals(self, x: Tensor) -> Distribution:
        """Returns the distributions of all elements given those before them in `x` `[..., *E]`.

        Batch shape `[..., *D]`, event shape that of one element.
        """
        x = tf.cast(tf.convert_to_tensor(x), self._context.dtype)
        return self._element_fn(self._params_fn(x, self._context, self._weights))

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape(self._event)

    def _event_shape_tensor(self) -> Tensor:
        return tf.constant(self._event, tf.int32)

    def _log_prob(self, x: Tensor) -> Tensor:
        log_probs = self.conditionals(x).log_prob(x)
        log_prob = tf.reduce_sum(log_probs, axis=list(range(-len(self._elements), 0)))
        # Without a context nothing else brings in the batch.
        shape = tf.broadcast_dynamic_shape(tf.shape(log_prob), self._batch_shape_tensor())
        static = tf.broadcast_static_shape(log_prob.shape, self.batch_shape)
        return tf.ensure_shape(tf.broadcast_to(log_prob, shape), static)

    def _sample_n(self, n: Tensor, seed: Any = None) -> Tensor:
        seed = tfp.random.sanitize_seed(seed, salt="Autoregressive")
        batch_shape: Any = self.batch_shape_tensor()
        rows = [tf.reduce_prod(batch_shape), self._context.shape[-1]]
        context = tf.reshape(self._context, rows)

        draws = (self._sample_fn or self._passes)(n, context, self._weights, seed)
        shape = tf.concat([[n], batch_shape, self._event], axis=0)
        dtype: Any = self.dtype
        return tf.cast(tf.reshape(draws, shape), dtype)

    def _passes(
        self, num: Tensor, context: Tensor, weights: Sequence[Tensor], seed: Tensor
    ) -> Tensor:
        """Draws all elements again and again with the same noise.

        After k passes the first k elements, in whatever order, are final.
        """
        size = math.prod(self._elements)
        shape = tf.concat([[num], tf.shape(context)[:1], self._event], axis=0)

        def one_pass(step: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
            params = self._params_fn(x, context, weights)
            full = tf.concat([shape[:2], self._elements, [self._params_size]], axis=0)
            drawn = self._element_fn(tf.broadcast_to(params, full)).sample(seed=seed)
            return step + 1, tf.cast(tf.reshape(drawn, shape), x.dtype)

        start = (tf.constant(0), tf.zeros(shape, context.dtype))
        return tf.while_loop(lambda k, _: k < size, one_pass, start, maximum_iterations=size)[1]

    def _default_event_space_bijector(self) -> Any:
        return self._element.experimental_default_event_space_bijector()


support_of.register(Autoregressive, lambda p: p.support())
