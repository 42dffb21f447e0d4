"""Flows of several transforms of one kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae._stored import parts_config
from tfvae._typing import Shape, Tensor, whole_number
from tfvae.flows.base import Flow
from tfvae.flows.elementwise import affine

__all__ = ["LayeredFlow"]


class LayeredFlow(Flow):
    """Abstract flow of several transforms of one kind, with the dimensions reordered in between.

    Each transform has a network that gives every dimension the parameters of a map of its own.

    Args:
        num_transforms: Number of transforms, one after the other.
        hidden_units: Units of the hidden layers of each network.
        activation: Keras activation of the hidden layers, by name or as a callable.
        **kwargs: See `Flow`.

    Raises:
        ValueError: A number is not a positive int.
    """

    num_params: int = 2

    def __init__(
        self,
        num_transforms: int = 4,
        hidden_units: Sequence[int] = (64, 64),
        *,
        activation: str | Callable[[Tensor], Tensor] = "relu",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_transforms = whole_number("num_transforms", num_transforms)
        self.hidden_units = [whole_number("hidden_units", units) for units in hidden_units]
        self.activation: Any = keras.activations.get(activation)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_transforms": self.num_transforms,
            "hidden_units": self.hidden_units,
            **parts_config(self, "activation"),
        }

    def _orders(self, size: int) -> list[np.ndarray]:
        """Returns the order of the dimensions within each transform, as permutations `[D]`."""
        raise NotImplementedError

    def _network(self, index: int, size: int, context_size: int) -> keras.layers.Layer:
        """Returns the built network of one transform."""
        raise NotImplementedError

    def _transform(
        self, index: int, x: Tensor, context: Tensor | None, *, inverse: bool
    ) -> tuple[Tensor, Tensor]:
        """Maps by one transform: the image `[..., D]` and the log-determinant `[...]`."""
        raise NotImplementedError

    def _elementwise(self, x: Tensor, params: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        """Maps `x` `[..., D]` by parameters `[..., D, num_params]`: image and log slopes."""
        return affine(x, params, inverse=inverse)

    def _build(self, size: int, context_size: int) -> None:
        # Where each transform finds its dimensions in the output of the one before.
        orders = [np.arange(size), *self._orders(size), np.arange(size)]
        self._moves = tuple(tuple(np.argsort(a)[b].tolist()) for a, b in pairwise(orders))
        self._networks = [
            self._network(index, size, context_size) for index in range(self.num_transforms)
        ]

    def _parameters(self, index: int, x: Tensor, context: Tensor | None) -> Tensor:
        return tf.cast(self._networks[index](x, context), x.dtype)

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        log_det: Any = 0.0
        for index, move in enumerate(self._moves[:-1]):
            x, term = self._transform(index, _reordered(x, move), context, inverse=False)
            log_det += term
        return _reordered(x, self._moves[-1]), log_det

    def _inverse(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        log_det: Any = 0.0
        for index in reversed(range(self.num_transforms)):
            y = _reordered(y, self._moves[index + 1], back=True)
            y, term = self._transform(index, y, context, inverse=True)
            log_det += term
        return _reordered(y, self._moves[0], back=True), log_det


def _reordered(x: Tensor, move: Shape, *, back: bool = False) -> Tensor:
    """Returns `x[..., move]`, or what was so moved in its place again."""
    order = np.argsort(move) if back else np.asarray(move)
    size = len(order)
    if np.array_equal(order, np.arange(size)):
        return x
    if np.array_equal(order, np.arange(size)[::-1]):
        return tf.reverse(x, axis=[-1])

    @tf.custom_gradient
    def gather(x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        # The gradient of a gather is a scatter, which is slow, as if places could be read twice.
        def gradient(upstream: Tensor) -> Tensor:
            return _reordered(upstream, tuple(np.argsort(order)))

        return tf.gather(x, order, axis=-1), gradient

    return gather(x)
