"""Coupling flows: one part of the dimensions tells how to map the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae._precision import full_dtype
from tfvae._typing import Tensor, whole_number
from tfvae.flows.base import register_flow
from tfvae.flows.elementwise import rational_quadratic
from tfvae.flows.layered import LayeredFlow
from tfvae.networks import ConditionalMLP

__all__ = ["CouplingFlow", "NeuralSpline", "RealNVP"]


class CouplingFlow(LayeredFlow):
    """Abstract flow of coupling transforms, with one pass in either direction.

        y[a] = x[a],   y[b] = map(x[b]; network(x[a], context)),   a and b halves of the dimensions

    Two transforms on the same halves, a and b exchanged, change all dimensions; every further two
    have halves of their own, drawn by `seed`.

    Args:
        num_transforms: Number of transforms; at least two change every dimension.
        hidden_units: Units of the hidden layers of each network.
        activation: Keras activation of the hidden layers.
        seed: Draws the halves.
        **kwargs: See `Flow`.

    Raises:
        ValueError: On `build`: the latents have one dimension, so there are no halves.
    """

    def __init__(
        self,
        num_transforms: int = 4,
        hidden_units: Sequence[int] = (64, 64),
        *,
        activation: str | Callable[[Tensor], Tensor] = "relu",
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_transforms, hidden_units, activation=activation, **kwargs)
        self.seed = seed

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}

    def _build(self, size: int, context_size: int) -> None:
        if size < 2:
            raise ValueError(
                f"`{type(self).__name__}` maps one half of the dimensions by the other. "
                f"Expected: latents of at least 2 dimensions. Received: {size}. For one dimension "
                "use an autoregressive flow."
            )
        super()._build(size, context_size)

    def _orders(self, size: int) -> list[np.ndarray]:
        generator, order, orders = np.random.default_rng(self.seed), np.arange(size), []
        for index in range(self.num_transforms):
            if index % 2:
                order = np.roll(order, -(size // 2))
            elif index:
                order = generator.permutation(size)
            orders.append(order)
        return orders

    def _num_kept(self, index: int, size: int) -> int:
        return size - size // 2 if index % 2 else size // 2

    def _network(self, index: int, size: int, context_size: int) -> keras.layers.Layer:
        num_kept = self._num_kept(index, size)
        shape = (size - num_kept, self.num_params)
        dtype = full_dtype(self.dtype)
        network = ConditionalMLP(self.hidden_units, shape, self.activation, dtype=dtype)
        network.build((num_kept,), (context_size,) if context_size else None)
        return network

    def _transform(
        self, index: int, x: Tensor, context: Tensor | None, *, inverse: bool
    ) -> tuple[Tensor, Tensor]:
        num_kept = self._num_kept(index, x.shape[-1])
        kept, changed = x[..., :num_kept], x[..., num_kept:]
        params = self._parameters(index, kept, context)  # [..., D - A, P]
        changed, log_slopes = self._elementwise(changed, params, inverse=inverse)
        if context is not None:
            # The context may have leading axes that the latents do not have.
            kept += tf.zeros_like(changed[..., :1])
        return tf.concat([kept, changed], axis=-1), tf.reduce_sum(log_slopes, axis=-1)


@register_flow
class RealNVP(CouplingFlow):
    """Affine coupling transforms.

        y[a] = x[a],   y[b] = x[b] * exp(log_scale(x[a], context)) + shift(x[a], context)

    Sampling and density take one pass each. A new flow is close to the identity, and the scale of
    each transform is within [exp(-3), exp(3)].

    Args:
        num_transforms: Number of transforms; at least two change every dimension.
        hidden_units: Units of the hidden layers of each network.
        activation: Keras activation of the hidden layers.
        seed: Draws the halves.
        **kwargs: See `Flow`.

    Raises:
        ValueError: On `build`: the latents have one dimension, so there are no halves.

    Example:
        >>> flow = tfvae.flows.RealNVP(num_transforms=6, hidden_units=[32])
        >>> flow.build(2, context_size=3)
        >>> flow.bijector(tf.zeros([5, 3])).forward(tf.zeros([5, 2])).shape
        TensorShape([5, 2])

    Reference: Density estimation using Real NVP (Dinh et al., 2017),
    https://arxiv.org/abs/1605.08803
    """


@register_flow
class NeuralSpline(CouplingFlow):
    """Coupling transforms by monotone splines of quotients of quadratics.

        y[a] = x[a],   y[b] = spline(x[b]; knots(x[a], context))

    Splines bend what lies in `[-bound, bound]` and leave the rest as it is, so the base should have
    most of its mass in there. Sampling and density take one pass each. A new flow is close to the
    identity.

    Args:
        num_transforms: Number of transforms; at least two change every dimension.
        hidden_units: Units of the hidden layers of each network.
        num_bins: Number of bins of each spline, K.
        bound: End of the interval that the splines bend.
        activation: Keras activation of the hidden layers.
        seed: Draws the halves.
        **kwargs: See `Flow`.

    Raises:
        ValueError: `num_bins` is smaller than 2 or `bound` is not positive; on `build`: the latents
            have one dimension, so there are no halves.

    Example:
        >>> flow = tfvae.flows.NeuralSpline(num_transforms=2, hidden_units=[32], num_bins=5)
        >>> flow.build(2)
        >>> flow.bijector().inverse(tf.zeros([5, 2])).shape
        TensorShape([5, 2])

    Reference: Neural Spline Flows (Durkan et al., 2019), https://arxiv.org/abs/1906.04032
    """

    def __init__(
        self,
        num_transforms: int = 4,
        hidden_units: Sequence[int] = (64, 64),
        *,
        num_bins: int = 8,
        bound: float = 5.0,
        activation: str | Callable[[Tensor], Tensor] = "relu",
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_transforms, hidden_units, activation=activation, seed=seed, **kwargs)
        self.num_bins = whole_number("num_bins", num_bins)
        if self.num_bins < 2 or not bound > 0.0:
            raise ValueError(
                "A spline needs `num_bins` >= 2 and `bound` > 0. "
                f"Received: num_bins={num_bins}, bound={bound}"
            )
        self.bound = bound
        self.num_params = 3 * self.num_bins - 1

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_bins": self.num_bins, "bound": self.bound}

    def _elementwise(self, x: Tensor, params: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        return rational_quadratic(x, params, self.bound, inverse=inverse)
