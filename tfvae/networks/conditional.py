"""A dense network that reads a context beside its input."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfvae._shapes import with_event
from tfvae._stored import parts_config
from tfvae._typing import Shape, Tensor, event_tuple, register, whole_number

__all__ = ["ConditionalMLP"]


@register
class ConditionalMLP(keras.layers.Layer):
    """Dense layers over vectors and, where given, a context that broadcasts with them.

        h = activation(x W_x + context W_c + b),   then dense layers of h

    Context and input meet after the first products, so that one context serves many inputs, or
    many contexts one input, without copies of either.

    Args:
        hidden_units: Units of each hidden layer, at least one.
        output_shape: Shape of the output per vector; an int means a vector.
        activation: Keras activation of the hidden layers, by name or as a callable.
        output_stddev: Spread of the first kernel values of the output layer, whose biases are zero:
            with a small one the outputs of a new network are near zero for every input.
        **kwargs: `name`, `dtype` and the other arguments of `keras.layers.Layer`.

    Call arguments:
        x: `[..., D]`.
        context: `[..., C]`, leading axes that broadcast with those of `x`; None for none.

    Returns:
        `[..., *output_shape]`.

    Raises:
        ValueError: A number of units is not a positive int.

    Example:
        >>> network = tfvae.networks.ConditionalMLP([64], (2, 3))
        >>> network(tf.zeros([5, 1, 4]), tf.zeros([7, 6])).shape
        TensorShape([5, 7, 2, 3])
    """

    def __init__(
        self,
        hidden_units: Sequence[int],
        output_shape: int | Sequence[int],
        activation: str | Callable[[Tensor], Tensor] = "relu",
        *,
        output_stddev: float = 1e-3,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.hidden_units = [whole_number("hidden_units", units) for units in hidden_units]
        if not self.hidden_units:
            raise ValueError("`hidden_units` must name at least one layer. Received: none")
        self.output_event: Shape = event_tuple(output_shape)
        self.activation: Any = keras.activations.get(activation)
        self.output_stddev = output_stddev
        first, *others = self.hidden_units
        self._input_layer = keras.layers.Dense(first, dtype=self.dtype_policy)
        self._context_layer = keras.layers.Dense(first, use_bias=False, dtype=self.dtype_policy)
        near_zero: Any = keras.initializers.RandomNormal(stddev=output_stddev)
        last = keras.layers.Dense(
            math.prod(self.output_event), kernel_initializer=near_zero, dtype=self.dtype_policy
        )
        hidden = [keras.layers.Dense(n, activation, dtype=self.dtype_policy) for n in others]
        self._layers_above = [*hidden, last]

    def build(self, x_shape: Shape, context_shape: Shape | None = None) -> None:
        self._input_layer.build((None, x_shape[-1]))
        if context_shape is not None:
            self._context_layer.build((None, context_shape[-1]))
        for layer, size in zip(self._layers_above, self.hidden_units, strict=True):
            layer.build((None, size))
        self.built = True

    def call(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        h = _by_rows(self._input_layer, x)
        if context is not None:
            h += _by_rows(self._context_layer, context)
        h, leading = self.activation(h), h
        rows = tf.reshape(h, [-1, self.hidden_units[0]])
        for layer in self._layers_above:
            rows = layer(rows)
        return with_event(rows, self.output_event, like=leading)

    def compute_output_spec(self, x: Any, context: Any = None) -> keras.KerasTensor:
        leading = tf.TensorShape(x.shape[:-1])
        if context is not None:
            leading = tf.broadcast_static_shape(leading, tf.TensorShape(context.shape[:-1]))
        return keras.KerasTensor((*leading, *self.output_event), dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "hidden_units": self.hidden_units,
            "output_shape": list(self.output_event),
            **parts_config(self, "activation"),
            "output_stddev": self.output_stddev,
        }


def _by_rows(layer: keras.layers.Layer, x: Tensor) -> Tensor:
    """Applies a dense layer to `[..., D]` as one matrix product."""
    rows: Any = layer(tf.reshape(x, [-1, x.shape[-1]]))
    return with_event(rows, (rows.shape[-1],), like=x)
