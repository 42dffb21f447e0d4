"""Dense networks with masks: every output sees only the inputs before it in an order."""

from __future__ import annotations

import operator
import random
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae._shapes import with_event
from tfvae._stored import parts_config
from tfvae._typing import Shape, Tensor, event_tuple, positive_int, register
from tfvae.networks.activation import elementwise_activation
from tfvae.networks.bodies import another

__all__ = ["MADE", "MaskedDense"]

# From the number of the step `[]` and parameters `[S, B, P]` to drawn elements `[S, B]`.
Draw = Callable[[Tensor, Tensor], Tensor]


@register
class MaskedDense(keras.layers.Layer):
    """Dense layer whose units see only some of the inputs, and a context as a whole.

        y = activation(x (W * mask) + b + context V)
        mask[i, j] = in_degrees[i] <= out_degrees[j],   or < where `exclusive`

    Args:
        in_degrees: Degree of each input, `[I]`.
        out_degrees: Degree of each unit, `[O]`.
        exclusive: Units see only inputs of smaller degree, not those of their own.
        context_size: Size of the context, C; 0 for none.
        activation: Keras activation, by name or as a callable, of each unit by itself.
        use_bias: Whether there is a bias `b`.
        kernel_initializer: Keras initializer of `W` (then masked) and of `V`.
        bias_initializer: Keras initializer of `b`.
        kernel_regularizer: Keras regularizer of `W` and of `V`.
        bias_regularizer: Keras regularizer of `b`.
        **kwargs: `name`, `dtype` and the other arguments of `keras.layers.Layer`.

    Call arguments:
        x: `[..., I]`.
        context: `[..., C]`; leading axes broadcast with those of `x`.

    Returns:
        `[..., O]`.

    Raises:
        ValueError: Sizes do not fit, a context is missing or not expected, or the activation mixes
            units.

    Example:
        >>> layer = tfvae.networks.MaskedDense([1, 2], [1, 2], kernel_initializer="ones")
        >>> layer(tf.constant([[1.0, 10.0]])).numpy()
        array([[ 1., 11.]], dtype=float32)

    Reference: MADE (Germain et al., 2015), https://arxiv.org/abs/1502.03509
    """

    def __init__(
        self,
        in_degrees: Sequence[int],
        out_degrees: Sequence[int],
        *,
        exclusive: bool = False,
        context_size: int = 0,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.in_degrees = [int(degree) for degree in in_degrees]
        self.out_degrees = [int(degree) for degree in out_degrees]
        self.exclusive = exclusive
        self.context_size = context_size
        self.activation = elementwise_activation(activation)
        self.use_bias = use_bias
        self.kernel_initializer: Any = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)

    @property
    def mask(self) -> np.ndarray:
        """Which unit sees which input, bool `[I, O]`."""
        before = np.less if self.exclusive else np.less_equal
        return before(np.array(self.in_degrees)[:, None], np.array(self.out_degrees)[None])

    def build(self, x_shape: Shape, context_shape: Shape | None = None) -> None:
        sizes = len(self.in_degrees), len(self.out_degrees)
        if x_shape[-1] != sizes[0]:
            raise ValueError(
                f"`x` must hold {sizes[0]} values in its last axis, as many as `in_degrees`. "
                f"Received: x of shape {tuple(x_shape)}"
            )
        mask = self.mask

        def masked(shape: Shape, dtype: Any = None) -> Tensor:
            kernel = self.kernel_initializer(shape, dtype=dtype)
            return kernel * keras.ops.cast(mask, kernel.dtype)

        self.kernel = None
        if mask.any():  # Otherwise it would be a weight that nothing trains.
            self.kernel = self.add_weight(
                shape=sizes,
                initializer=masked,
                regularizer=self.kernel_regularizer,
                autocast=False,
                name="kernel",
            )
        self.context_kernel = None
        if self.context_size:
            self.context_kernel = self.add_weight(
                shape=(self.context_size, sizes[1]),
                initializer=another(self.kernel_initializer),
                regularizer=self.kernel_regularizer,
                autocast=False,
                name="context_kernel",
            )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                shape=sizes[1:],
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                autocast=False,
                name="bias",
            )
        self.built = True

    def call(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        check_context(context, self.context_size)
        return self.activation(product(x, self.masked_kernel()) + self.offset(context))

    def masked_kernel(self) -> Tensor:
        """Returns `W * mask` `[I, O]`."""
        if self.kernel is None:
            return keras.ops.zeros(self.mask.shape, self.compute_dtype)
        kernel: Any = self._cast(self.kernel)
        return kernel * keras.ops.cast(self.mask, kernel.dtype)

    def offset(self, context: Tensor | None) -> Tensor:
        """Returns what does not depend on `x`, `b + context V`: `[..., O]`, or `[O]`."""
        if self.bias is None:
            offset: Any = keras.ops.zeros([len(self.out_degrees)], self.compute_dtype)
        else:
            offset = self._cast(self.bias)
        if self.context_kernel is not None:
            offset = offset + product(context, self._cast(self.context_kernel))
        return offset

    def _cast(self, weight: Any) -> Any:
        # Here and not by Keras, which does so only within a call.
        return keras.ops.cast(weight, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "in_degrees": self.in_degrees,
            "out_degrees": self.out_degrees,
            "exclusive": self.exclusive,
            "context_size": self.context_size,
            **parts_config(self, "activation"),
            "use_bias": self.use_bias,
            **initializers_config(self),
        }


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
        self.params = positive_int("params", params)
        self.event_size: int | None = None
        if event_shape is not None:
            event = event_tuple(event_shape)
            if len(event) != 1:
                raise ValueError(
                    "`event_shape` must be one int, the number of elements: flatten other events "
                    f"first. Received: event_shape={event_shape}"
                )
            self.event_size = event[0]
        self.hidden_units = [positive_int("hidden_units", units) for units in hidden_units or ()]
        self.context_size = None if context_size is None else operator.index(context_size)
        if self.context_size is not None and self.context_size < 0:
            raise ValueError(f"`context_size` must be >= 0. Received: context_size={context_size}")
        self.input_range = checked_range(input_range)
        self.levels = None if levels is None else positive_int("levels", levels)
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


class Steps:
    """The pass of a built `MADE`, one element after the other, each unit computed once.

    Step t gives the parameters of the element of place t + 1 from the units of degree t or less;
    those of degree t are computed in it. All tensors have the draws, R, as their last axis.

    Args:
        made: The network, whose weights are read now.
    """

    def __init__(self, made: MADE) -> None:
        assert made.event_size is not None
        self._made, self._layers, size = made, made.masked_layers, made.event_size
        order = np.argsort(made.order)
        tables = [_units_by_step(layer, size) for layer in self._layers[:-1]]
        tables.append(order[:, None] * made.params + np.arange(made.params))
        # A unit of zeros beside the others: steps with fewer units than others compute it.
        kernels = [tf.pad(layer.masked_kernel(), [[0, 1], [0, 1]]) for layer in self._layers]
        self._kernels = [  # [D, M, I + 1]
            tf.gather(tf.transpose(kernel), table)
            for kernel, table in zip(kernels, tables, strict=True)
        ]
        self._tables = [tf.constant(table) for table in tables]  # [D, M]
        self._places = tf.constant(order)

    def offsets(self, context: Tensor, num: int | Tensor = 1) -> list[Tensor]:
        """Returns what the context `[B, C]` adds to the units of each step, `[D, M, R = S * B]`."""
        batch, found = tf.shape(context)[0], []
        for layer, table in zip(self._layers, self._tables, strict=True):
            offset = layer.offset(context if layer.context_size else None)
            offset = tf.broadcast_to(offset, [num, batch, len(layer.out_degrees)])
            offset = tf.reshape(offset, [-1, len(layer.out_degrees)])
            offset = tf.pad(offset, [[0, 0], [0, 1]])
            found.append(tf.gather(tf.transpose(offset), table))
        return found

    def start(self, rows: int | Tensor) -> tuple[Tensor, ...]:
        """Returns the elements `[D, R]` and the units `[I + 1, R]` before the first step."""
        sizes = [self._places.shape[0], *(kernel.shape[-1] for kernel in self._kernels)]
        return tuple(tf.zeros([size, rows], self._kernels[0].dtype) for size in sizes)

    def params(
        self, t: int | Tensor, units: Sequence[Tensor], offsets: list[Tensor]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Returns the parameters `[R, P]` of the element of step t, and the units so far."""
        (elements, *so_far), last = units, len(self._kernels) - 1
        for i in range(last):
            found = tf.matmul(self._kernels[i][t], so_far[i]) + offsets[i][t]  # [M, R]
            found: Any = self._made.activation(found)
            so_far[i + 1] = tf.tensor_scatter_nd_update(
                so_far[i + 1], self._tables[i][t][:, None], found
            )
        params = tf.matmul(self._kernels[last][t], so_far[last]) + offsets[last][t]
        return tf.transpose(params), (elements, *so_far)

    def placed(self, t: int | Tensor, x: Tensor, units: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Returns the units after the element of step t is `x` `[R]`."""
        x = tf.cast(x, units[0].dtype)[None]
        place = tf.reshape(self._places[t], [1, 1])
        seen, width = scaled(x, self._made.input_range), self._made.levels
        places = place
        if width:
            seen = tf.transpose(tf.one_hot(tf.cast(x[0], tf.int32), width, dtype=x.dtype))
            places = place * width + tf.range(width, dtype=place.dtype)[:, None]
        return (
            tf.tensor_scatter_nd_update(units[0], place, x),
            tf.tensor_scatter_nd_update(units[1], places, seen),
            *units[2:],
        )

    def elements(self, units: Sequence[Tensor]) -> Tensor:
        """Returns the elements `[R, D]`."""
        return tf.transpose(units[0])


def product(x: Any, kernel: Any) -> Any:
    """Returns `x` `[..., I]` times `kernel` `[I, O]`.

    As one product of matrices: with a batch of `[N, 1]` and more, `tf.matmul` of TensorFlow 2.21
    writes beyond its memory on CPUs (oneDNN).
    """
    return tf.tensordot(x, kernel, 1)


def checked_range(input_range: Sequence[float] | None) -> tuple[float, float] | None:
    """Returns a range as two floats, None as it is."""
    if input_range is None:
        return None
    low, high = input_range
    if not low < high:
        raise ValueError(
            "`input_range` must be a least and a greatest value. "
            f"Received: input_range={tuple(input_range)}"
        )
    return float(low), float(high)


def scaled(x: Any, input_range: tuple[float, float] | None) -> Any:
    """Returns `x` with the ends of the range at -1 and 1."""
    if input_range is None:
        return x
    low, high = input_range
    return (x - low) * (2.0 / (high - low)) - 1.0


def check_context(context: Tensor | None, context_size: int | None) -> None:
    """Raises where a context is missing, not expected, or of a wrong size."""
    received = "none" if context is None else f"context of shape {tuple(context.shape)}"
    if not context_size:
        if context is not None and context.shape[-1] != 0:
            raise ValueError(
                "This layer was built without a context. "
                f"Received: {received}. Set `context_size` where it is made."
            )
    elif context is None or context.shape[-1] != context_size:
        raise ValueError(
            f"`context` must hold {context_size} values in its last axis. Received: {received}"
        )


def initializers_config(layer: Any) -> dict[str, Any]:
    """Returns initializers and regularizers of a layer as plain data."""
    names = ("kernel_initializer", "bias_initializer", "kernel_regularizer", "bias_regularizer")
    return parts_config(layer, *names)


def _units_by_step(layer: MaskedDense, steps: int) -> np.ndarray:
    """Returns the units of degree t in row t, filled up with the number of units: `[D, M]`."""
    degrees = np.array(layer.out_degrees)
    units = [np.flatnonzero(degrees == t) for t in range(steps)]
    width = max(len(found) for found in units)
    return np.array([np.pad(u, (0, width - len(u)), constant_values=len(degrees)) for u in units])


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
