"""The base of all normalizing flows: weights, and the invertible map that they make."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend import AutocastScope

from tfvae._typing import Shape, Tensor, event_tuple, positive_int
from tfvae.flows.bijector import FlowBijector
from tfvae.flows.elementwise import affine

__all__ = ["Flow", "LayeredFlow", "register_flow"]

# Priors have the same names.
register_flow = keras.saving.register_keras_serializable(package="tfvae.flows")


class Flow(keras.layers.Layer):
    """Abstract normalizing flow: an invertible map of latents, with trainable weights.

        y = f(x; context),   log p(y) = log p_base(f^-1(y)) + log |det d f^-1(y) / dy|

    A layer like any other holds the weights; `bijector(context)` makes the map from them as they
    are, anew on each call: one that is kept from an earlier call is a snapshot that never trains.

    A subclass adds its weights in `_build(size, context_size)` and maps vectors in `_forward` and
    `_inverse`; events of other shapes are vectors there.

    Args:
        **kwargs: `name`, `dtype` and the other arguments of `keras.layers.Layer`. Weights are
            float32 where the policy is half precision.

    Attributes:
        event_shape: Shape of one latent, `E`; None before `build`.
        context_size: Size of the context, C; 0 where there is none.
    """

    def __init__(self, **kwargs: Any) -> None:
        policy: Any = keras.dtype_policies.get(kwargs.pop("dtype", None))
        half = policy.variable_dtype in ("float16", "bfloat16")
        super().__init__(dtype="float32" if half else policy.variable_dtype, **kwargs)
        self.event_shape: Shape | None = None
        self.context_size = 0

    def build(self, event_shape: int | Sequence[int], context_size: int = 0) -> None:
        """Makes the weights for latents of shape `event_shape`; a second call only compares.

        Args:
            event_shape: Shape of one latent, `E`; an int means a vector.
            context_size: Size of the context, C; 0 for a map that depends on nothing else.

        Raises:
            ValueError: The flow is already built for others, or cannot map such latents.
        """
        event = event_tuple(event_shape)
        context_size = _size_of_context(context_size)
        if self.event_shape is None:
            self._build(math.prod(event), context_size)
            self.event_shape, self.context_size = event, context_size
            self.built = True
        if (event, context_size) != (self.event_shape, self.context_size):
            raise ValueError(
                f"The flow '{self.name}' is built for latents of shape {self.event_shape} and a "
                f"context of size {self.context_size}. Received: event_shape={event}, "
                f"context_size={context_size}. Make one flow for each use."
            )

    def bijector(self, context: Tensor | None = None) -> FlowBijector:
        """Returns the map f, made from the weights as they are.

        Args:
            context: `[..., C]`, whose leading axes broadcast with those of the latents; None where
                the flow is built without context.

        Returns:
            A `tfb.Bijector` of batch shape `[...]` over events `E`.

        Raises:
            ValueError: The flow is not built, or context is missing, unexpected or of another size.
        """
        if self.event_shape is None:
            raise ValueError(
                f"The flow '{self.name}' does not know the shape of its latents yet. Call "
                "`flow.build(event_shape, context_size)`, or give it to a layer or prior."
            )
        if context is not None:
            context = tf.convert_to_tensor(context)
        size = 0 if context is None else (context.shape[-1] if context.shape.rank else None)
        if size != self.context_size or (context is not None and not self.context_size):
            received = "no context" if context is None else f"a context of shape {context.shape}"
            raise ValueError(
                f"The flow '{self.name}' is built for "
                + (f"a context [..., {self.context_size}]" if self.context_size else "no context")
                + f". Received: {received}. Set the size by `context_size` of `build`, or of the "
                "layer that holds the flow."
            )
        with AutocastScope(self.dtype):  # Else a layer of half precision around rounds them.
            weights = tuple(tf.convert_to_tensor(v.value) for v in self.variables)
        return FlowBijector(self, weights, context)

    @property
    def size(self) -> int:
        """Number of dimensions of one latent, D."""
        return math.prod(self.event_shape or ())

    def get_build_config(self) -> dict[str, Any] | None:
        """Returns the arguments of `build`, None before it."""
        if self.event_shape is None:
            return None
        return {"event_shape": list(self.event_shape), "context_size": self.context_size}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Makes the weights by the output of `get_build_config`."""
        if config:
            self.build(**config)

    def _build(self, size: int, context_size: int) -> None:
        """Adds the weights of a map of vectors `[..., size]`."""
        raise NotImplementedError

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns y `[..., D]` and log |det dy/dx| `[...]`."""
        raise NotImplementedError

    def _inverse(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns x `[..., D]` and log |det dx/dy| `[...]`."""
        raise NotImplementedError


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
        self.num_transforms = positive_int("num_transforms", num_transforms)
        self.hidden_units = [positive_int("hidden_units", units) for units in hidden_units]
        self.activation: Any = keras.activations.get(activation)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_transforms": self.num_transforms,
            "hidden_units": self.hidden_units,
            "activation": keras.activations.serialize(self.activation),
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


def _size_of_context(value: Any) -> int:
    try:
        size = operator.index(value)
    except TypeError:
        size = -1
    if size < 0:
        raise ValueError(
            f"`context_size` must be a whole number >= 0. Received: context_size={value!r}"
        )
    return size


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
