"""Dense networks with masks: every output sees only the inputs before it in an order."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae._shapes import with_event
from tfvae._stored import parts_config
from tfvae._typing import Shape, Tensor, event_tuple, register, whole_number
from tfvae.networks.activation import elementwise_activation
from tfvae.networks.bodies import another
from tfvae.networks.input_range import checked_range, scaled
from tfvae.networks.masked import MaskedDense, check_context, initializers_config
from tfvae.networks.steps import Draw, Steps

__all__ = ["MADE"]


@register
class MADE(keras.layers.Layer):
    """Masked autoencoder: parameters of each element from the elements before it in an order.

        p(x | context) = prod_i p(x_i | made(x, context)[i]),
        made(x, context)[i] depends on x_j only where order[j] < order[i]

    Units of the hidden layers have degrees: one of degree d sees the inputs of order 1 to d. With
    a context there also are units of degree 0, which see it alone; the context enters each layer.
    The arguments are those of `tfp.bijectors.AutoregressiveNetwork`, with `context_size` in place
    of `conditional` and `conditional_event_shape`.

    Args:
        params: Number of parameters per element, P.
        event_shape: Number of elements, D, an int or a sequence of one; None takes it from the
            first input.
        hidden_units: Units of each hidden layer.
        context_size: Size of the context, C; None takes it from the first call.
        input_range: Least and greatest value of the elements, which the network then sees as -1
            and 1; None leaves them as they are.
        levels: Number of categories, L, where elements are unordered ones, numbered from 0, which
            the network then sees as one-hot vectors; None for elements that are numbers.
        input_order: "left-to-right", "right-to-left", "random", or the place of each element in
            the order, counted from 1.
        hidden_degrees: "equal" spreads the degrees evenly, "random" draws them.
        activation: Keras activation of the hidden layers, by name or as a callable, of each unit
            by itself.
        use_bias: Whether the layers have biases.
        kernel_initializer: Keras initializer of all kernels.
        output_initializer: Keras initializer of the kernels of the last layer, where it is another.
        bias_initializer: Keras initializer of all biases.
        kernel_regularizer: Keras regularizer of all kernels.
        bias_regularizer: Keras regularizer of all biases.
        seed: Seed of random orders and degrees; None takes one from Python's generator, which
            `keras.utils.set_random_seed` sets, and stores it.
        **kwargs: `name`, `dtype` and the other arguments of `keras.layers.Layer`.

    Attributes:
        event_size: Number of elements, D, once known.

    Call arguments:
        x: `[..., D]`.
        context: `[..., C]`; leading axes broadcast with those of `x`.

    Returns:
        Parameters `[..., D, P]`.

    Raises:
        ValueError: A size, an order or a kind of degrees is none, shapes do not fit, or the
            activation mixes units.

    Example:
        >>> made = tfvae.networks.MADE(2, hidden_units=[16, 16], activation="relu")
        >>> made(tf.zeros([5, 3])).shape
        TensorShape([5, 3, 2])

    Reference: MADE (Germain et al., 2015), https://arxiv.org/abs/1502.03509
    """

    def __init__(
        self,
        params: int,
        event_shape: int | Sequence[int] | None = None,
        *,
        hidden_units: Sequence[int] | None = None,
        context_size: int | None = None,
        input_range: Sequence[float] | None = None,
        levels: int | None = None,
        input_order: str | Sequence[int] = "left-to-right",
        hidden_degrees: str = "equal",
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        output_initializer: Any = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.params = whole_number("params", params)
        self.event_size: int | None = None
        if event_shape is not None:
            event = event_tuple(event_shape)
            if len(event) != 1:
                raise ValueError(
                    "`event_shape` must be one int, the number of elements: flatten other events "
                    f"first. Received: event_shape={event_shape}"
                )
            self.event_size = event[0]
        self.hidden_units = [whole_number("hidden_units", units) for units in hidden_units or ()]
        self.context_size = context_size
        if context_size is not None:
            self.context_size = whole_number("context_size", context_size, 0)
        self.input_range = checked_range(input_range)
        self.levels = None if levels is None else whole_number("levels", levels)
        if levels is not None and input_range is not None:
            raise ValueError(
                "Categories have no `input_range`. "
                f"Received: levels={levels}, input_range={input_range}. Leave out one of them."
            )
        if isinstance(input_order, str):
            if input_order not in ("left-to-right", "right-to-left", "random"):
                raise ValueError(_wrong_order(input_order, self.event_size))
            self.input_order: str | list[int] = input_order
        else:
            self.input_order = [int(place) for place in input_order]
        if hidden_degrees not in ("equal", "random"):
            raise ValueError(
                '`hidden_degrees` must be "equal" or "random". '
                f"Received: hidden_degrees={hidden_degrees!r}"
            )
        self.hidden_degrees = hidden_degrees
        self.activation = elementwise_activation(activation)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.output_initializer = (
            None if output_initializer is None else keras.initializers.get(output_initializer)
        )
        self.seed = random.randrange(2**31) if seed is None else seed
        self.masked_layers: list[MaskedDense] = []
        if self.event_size is not None:
            _places(self.input_order, self.event_size, self.seed)

    @property
    def order(self) -> np.ndarray:
        """Place of each element in the order, counted from 1: `[D]`."""
        if self.event_size is None:
            raise ValueError("This `MADE` does not know its number of elements before it is built.")
        return _places(self.input_order, self.event_size, self.seed)

    def build(self, x_shape: Shape, context_shape: Shape | None = None) -> None:
        if self.event_size is None and x_shape[-1] is not None:
            self.event_size = x_shape[-1]
        if self.event_size is None or x_shape[-1] != self.event_size:
            raise ValueError(
                f"`x` must hold the elements in its last axis. Expected: [..., {self.event_size}]. "
                f"Received: x of shape {tuple(x_shape)}"
            )
        if self.context_size is None:
            self.context_size = 0 if context_shape is None else context_shape[-1]
        order = self.order
        seen = np.repeat(order, self.levels or 1)
        degrees = [seen, *self._hidden_degrees(), np.repeat(order, self.params)]
        shared = {
            "context_size": self.context_size,
            "use_bias": self.use_bias,
            "bias_initializer": self.bias_initializer,
            "kernel_regularizer": self.kernel_regularizer,
            "bias_regularizer": self.bias_regularizer,
            "dtype": self.dtype_policy,
        }
        initializers = [self.kernel_initializer] * (len(degrees) - 1)
        if self.output_initializer is not None:
            initializers[-1] = self.output_initializer
        self.masked_layers = [
            MaskedDense(
                degrees[i],
                degrees[i + 1],
                exclusive=i == len(degrees) - 2,
                activation=self.activation if i < len(degrees) - 2 else None,
                kernel_initializer=another(initializers[i], 2 * i),
                name=f"masked_dense_{i}",
                **shared,
            )
            for i in range(len(degrees) - 1)
        ]
        for layer in self.masked_layers:
            layer.build((len(layer.in_degrees),), context_shape)
        self.built = True

    def call(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.from_features(self.features(x), context)

    def features(self, x: Tensor) -> Tensor:
        """Returns elements `[..., D]` as the first layer sees them, `[..., D * (L or 1)]`."""
        if self.levels is None:
            return scaled(keras.ops.cast(x, self.compute_dtype), self.input_range)
        one_hot = tf.one_hot(tf.cast(x, tf.int32), self.levels, dtype=self.compute_dtype)
        return with_event(one_hot, [one_hot.shape[-2] * self.levels], axes=2)

    def from_features(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Returns the parameters `[..., D, P]` of what `features` returns, or of values between."""
        check_context(context, self.context_size)
        for layer in self.masked_layers:
            x = layer(x, context=context) if self.context_size else layer(x)
        event: Any = [self.event_size, self.params]
        return with_event(tf.convert_to_tensor(x), event)

    def generate(self, draw: Draw, num: int | Tensor, context: Tensor) -> Tensor:
        """Draws all elements in their order, for about the cost of one pass.

        Each unit is computed once, at the step from which on it does not change. The part of the
        context is computed once for all draws.

        Args:
            draw: From the number of the step `[]` and parameters `[S, B, P]` to elements
                `[S, B]`. Called D times.
            num: Number of draws, S.
            context: `[B, C]`, C = 0 without a context.

        Returns:
            `[S, B, D]`.
        """
        steps, batch, size = Steps(self), tf.shape(context)[0], self.event_size
        offsets = steps.offsets(context, num)

        def step(t: Tensor, *units: Tensor) -> tuple[Tensor, ...]:
            params, units = steps.params(t, units, offsets)
            x = draw(t, tf.reshape(params, [num, batch, self.params]))
            return t + 1, *steps.placed(t, tf.reshape(x, [-1]), units)

        rows = num * batch
        _, *units = tf.while_loop(
            lambda t, *_: (t < size) & (rows > 0),  # TensorFlow scatters nothing into nothing.
            step,
            (tf.constant(0), *steps.start(rows)),
            maximum_iterations=size,
        )
        return tf.reshape(steps.elements(units), [num, batch, size])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "params": self.params,
            "event_shape": self.event_size,
            "hidden_units": self.hidden_units,
            "context_size": self.context_size,
            "input_range": self.input_range,
            "levels": self.levels,
            "input_order": self.input_order,
            "hidden_degrees": self.hidden_degrees,
            **parts_config(self, "activation"),
            "use_bias": self.use_bias,
            **initializers_config(self),
            **parts_config(self, "output_initializer"),
            "seed": self.seed,
        }

    def _hidden_degrees(self) -> list[np.ndarray]:
        """Returns the degrees of the units of each hidden layer."""
        assert self.event_size is not None
        last = self.event_size - 1
        # A unit of degree 0 is a constant without a context.
        first = 0 if self.context_size else min(1, last)
        generator = np.random.default_rng([self.seed, 1])
        degrees = []
        for units in self.hidden_units:
            if self.hidden_degrees == "random":
                # No layer has units of smaller degree than all of the layer before: those would
                # see nothing.
                first = min(degrees[-1].min(), last) if degrees and not self.context_size else first
                degrees.append(generator.integers(first, last + 1, units))
            elif self.context_size:
                degrees.append(np.arange(units) * (last + 1) // units)
            else:
                spread = np.ceil(np.arange(1, units + 1) * last / (units + 1)).astype(int)
                degrees.append(np.maximum(first, spread))
        return degrees


def _places(input_order: str | list[int], size: int, seed: int) -> np.ndarray:
    """Returns the place of each element in the order, `[D]`."""
    places = np.arange(1, size + 1)
    if input_order == "right-to-left":
        return places[::-1]
    if input_order == "random":
        return np.random.default_rng([seed, 0]).permutation(places)
    if input_order != "left-to-right":
        if sorted(input_order) != places.tolist():
            raise ValueError(_wrong_order(input_order, size))
        return np.array(input_order)
    return places


def _wrong_order(order: Any, size: int | None) -> str:
    return (
        '`input_order` must be "left-to-right", "right-to-left", "random", or the places of the '
        f"{size or 'D'} elements in the order, the numbers from 1 to {size or 'D'}. "
        f"Received: input_order={order!r}"
    )
