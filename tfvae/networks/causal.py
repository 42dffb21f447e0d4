"""Convolutional networks in which every pixel sees only the pixels before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfvae._typing import Shape, Tensor, event_tuple, register, whole_number
from tfvae.networks.bodies import another
from tfvae.networks.input_range import checked_range
from tfvae.networks.made import MADE
from tfvae.networks.masked import check_context, initializers_config, product
from tfvae.networks.pixel_steps import (
    Block,
    PixelSteps,
    PixelWeights,
    convolved,
    gated,
    of_rows_above,
    seen_values,
)
from tfvae.networks.steps import Draw

__all__ = ["GatedPixelCNN"]


@register
class GatedPixelCNN(keras.layers.Layer):
    """Gated PixelCNN: parameters of each value of an image from the values before it.

        p(x | context) = prod_i p(x_i | net(x, context)[i]),   row by row, pixel by pixel, channel
                                                               by channel

    One stack of convolutions sees all rows above, without a blind spot, another the pixels to the
    left. Each block has the gate `tanh(a) * sigmoid(b)`, a residual connection, and the context in
    both stacks. The channels of one pixel follow each other in a `MADE` on top. The reach is
    `(first_kernel_size - 1) / 2 + num_blocks * (kernel_size - 1) / 2` pixels up, left and right.

    Args:
        params: Number of parameters per value, P.
        event_shape: `(height, width, channels)`; None takes it from the first input.
        filters: Channels inside of the network, F.
        num_blocks: Number of gated blocks.
        kernel_size: Side of the kernels of the blocks, odd, of which the half before is used.
        first_kernel_size: The same for the first convolution.
        context_size: Size of the context, C; None takes it from the first call.
        input_range: Least and greatest value of the images, which the network then sees as -1 and
            1; None leaves them as they are.
        kernel_initializer: Keras initializer of all kernels.
        bias_initializer: Keras initializer of all biases.
        kernel_regularizer: Keras regularizer of all kernels.
        bias_regularizer: Keras regularizer of all biases.
        **kwargs: `name`, `dtype` and the other arguments of `keras.layers.Layer`.

    Call arguments:
        x: `[..., height, width, channels]`.
        context: `[..., C]`; leading axes broadcast with those of `x`.

    Returns:
        Parameters `[..., height, width, channels, P]`.

    Raises:
        ValueError: A size is none, or shapes do not fit.

    Example:
        >>> net = tfvae.networks.GatedPixelCNN(2, filters=8, num_blocks=2)
        >>> net(tf.zeros([5, 6, 6, 3])).shape
        TensorShape([5, 6, 6, 3, 2])

    Reference: Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016),
    https://arxiv.org/abs/1606.05328
    """

    def __init__(
        self,
        params: int,
        event_shape: Sequence[int] | None = None,
        *,
        filters: int = 32,
        num_blocks: int = 5,
        kernel_size: int = 3,
        first_kernel_size: int = 7,
        context_size: int | None = None,
        input_range: Sequence[float] | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.params = whole_number("params", params)
        self.event_shape = None if event_shape is None else event_tuple(event_shape)
        if self.event_shape is not None and len(self.event_shape) != 3:
            raise ValueError(
                "`event_shape` must be (height, width, channels). "
                f"Received: event_shape={event_shape}"
            )
        self.filters = whole_number("filters", filters)
        self.num_blocks = whole_number("num_blocks", num_blocks)
        self.kernel_size = _odd("kernel_size", kernel_size)
        self.first_kernel_size = _odd("first_kernel_size", first_kernel_size)
        self.context_size = context_size
        if context_size is not None:
            self.context_size = whole_number("context_size", context_size, 0)
        self.input_range = checked_range(input_range)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self._blocks: tuple[Block, ...] = ()

    def build(self, x_shape: Shape, context_shape: Shape | None = None) -> None:
        if self.event_shape is None and len(x_shape) >= 3 and None not in x_shape[-3:]:
            self.event_shape = tuple(x_shape[-3:])
        if self.event_shape is None or tuple(x_shape[-3:]) != self.event_shape:
            raise ValueError(
                "`x` must hold images of one size in its last axes. "
                f"Expected: [..., {', '.join(map(str, self.event_shape or ('H', 'W', 'C')))}]. "
                f"Received: x of shape {tuple(x_shape)}"
            )
        if self.context_size is None:
            self.context_size = 0 if context_shape is None else context_shape[-1]
        width, seen = self.filters, self.event_shape[-1] + 1
        first, reach = self.first_kernel_size // 2, self.kernel_size // 2
        self._first_above = self._kernel("first_above", first, 2 * first + 1, seen, width)
        self._first_left = self._kernel("first_left", first, seen, width)
        self._first_bias = self._bias("first_above_bias", width)
        self._first_left_bias = self._bias("first_left_bias", width)
        self._blocks = tuple(
            Block(
                above=self._kernel(f"above_{i}", reach + 1, 2 * reach + 1, width, 2 * width),
                above_bias=self._bias(f"above_bias_{i}", 2 * width),
                above_context=self._context_kernel(f"above_context_{i}"),
                link=self._kernel(f"link_{i}", 2 * width, 2 * width),
                left=self._kernel(f"left_{i}", reach + 1, width, 2 * width),
                left_bias=self._bias(f"left_bias_{i}", 2 * width),
                left_context=self._context_kernel(f"left_context_{i}"),
                out=self._kernel(f"out_{i}", width, width),
                out_bias=self._bias(f"out_bias_{i}", width),
            )
            for i in range(self.num_blocks)
        )
        self._head = MADE(
            self.params,
            self.event_shape[-1],
            hidden_units=[width],
            context_size=width,
            input_range=self.input_range,
            activation="relu",
            kernel_initializer=another(self.kernel_initializer, len(self.weights)),
            bias_initializer=self.bias_initializer,
            kernel_regularizer=self.kernel_regularizer,
            bias_regularizer=self.bias_regularizer,
            seed=0,
            dtype=self.dtype_policy,
            name="channels",
        )
        self._head.build(self.event_shape, (width,))
        self.built = True

    def call(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        check_context(context, self.context_size)
        assert self.event_shape is not None
        x = tf.cast(x, self.compute_dtype)
        leading = tf.shape(x)[:-3]
        static = x.shape[:-3]
        if self.context_size and context is not None:
            leading = tf.broadcast_dynamic_shape(leading, tf.shape(context)[:-1])
            static = tf.broadcast_static_shape(static, context.shape[:-1])
        x = tf.broadcast_to(x, tf.concat([leading, self.event_shape], axis=0))
        images = tf.reshape(x, [-1, *self.event_shape])
        seen, weights = seen_values(images, self.input_range), self._weights()  # [N, H, W, C + 1]
        first, reach = self.first_kernel_size // 2, self.kernel_size // 2
        v = of_rows_above(seen[:, :-1], first, weights.first_above, first) + weights.first_bias
        h = _left(seen[:, :, :-1], first, weights.first_left) + weights.first_left_bias
        for block in weights.blocks:
            above, left = self._offsets(block, context)
            v_both = of_rows_above(v, reach, block.above, reach) + _per_image(above, leading)
            h_both = _left(h, reach, block.left) + _per_image(left, leading)
            h_both += product(v_both, block.link)
            h += product(gated(h_both), block.out) + block.out_bias
            v = gated(v_both)
        params = self._head(images, context=tf.nn.relu(h))  # [N, H, W, C, P]
        event = [*self.event_shape, self.params]
        params = tf.reshape(params, tf.concat([leading, event], axis=0))
        return tf.ensure_shape(params, static.concatenate(event))

    def generate(self, draw: Draw, num: int | Tensor, context: Tensor) -> Tensor:
        """Draws all values in their order, for about the cost of one pass.

        The stack of the rows above runs once per row and the other once per pixel, each on the
        few rows or pixels that its kernels cover; all else is kept from earlier steps.

        Args:
            draw: From the number of the step `[]` and parameters `[S, B, P]` to values `[S, B]`.
                Called height * width * channels times.
            num: Number of draws, S.
            context: `[B, C]`, C = 0 without a context.

        Returns:
            `[S, B, height, width, channels]`.
        """
        assert self.event_shape is not None
        batch = tf.shape(context)[0]
        weights = self._weights()
        offsets = [
            [_repeated(offset, num, batch) for offset in self._offsets(block, context)]
            for block in weights.blocks
        ]
        steps = PixelSteps(weights, offsets, self._head, self.event_shape, draw)
        return tf.reshape(steps.images(num, batch), [num, batch, *self.event_shape])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "params": self.params,
            "event_shape": self.event_shape,
            "filters": self.filters,
            "num_blocks": self.num_blocks,
            "kernel_size": self.kernel_size,
            "first_kernel_size": self.first_kernel_size,
            "context_size": self.context_size,
            "input_range": self.input_range,
            **initializers_config(self),
        }

    def _kernel(self, name: str, *shape: int) -> Any:
        return self.add_weight(
            shape=shape,
            initializer=another(self.kernel_initializer, len(self.weights)),
            regularizer=self.kernel_regularizer,
            autocast=False,
            name=name,
        )

    def _context_kernel(self, name: str) -> Any:
        size: Any = self.context_size
        return self._kernel(name, size, 2 * self.filters) if size else None

    def _bias(self, name: str, size: int) -> Any:
        return self.add_weight(
            shape=(size,),
            initializer=self.bias_initializer,
            regularizer=self.bias_regularizer,
            autocast=False,
            name=name,
        )

    def _cast(self, weight: Any) -> Any:
        # Here and not by Keras, which does so only within a call.
        return None if weight is None else keras.ops.cast(weight, self.compute_dtype)

    def _weights(self) -> PixelWeights:
        return PixelWeights(
            first_above=self._cast(self._first_above),
            first_bias=self._cast(self._first_bias),
            first_left=self._cast(self._first_left),
            first_left_bias=self._cast(self._first_left_bias),
            blocks=[Block(*map(self._cast, block)) for block in self._blocks],
        )

    def _offsets(self, block: Block, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns what biases and context add in both stacks of a block, `[..., 2 F]`."""
        above, left = block.above_bias, block.left_bias
        if self.context_size:
            above += product(context, block.above_context)
            left += product(context, block.left_context)
        return above, left


def _odd(name: str, value: Any) -> int:
    number = whole_number(name, value)
    if number < 3 or number % 2 == 0:
        raise ValueError(f"`{name}` must be an odd number >= 3. Received: {name}={value}")
    return number


def _left(x: Tensor, missing: int, kernel: Any) -> Tensor:
    """Convolves the pixels to the left, `missing` of them outside of the image."""
    return convolved(x, [[0, 0], [missing, 0], [0, 0]], kernel[None])


def _per_image(offset: Tensor, leading: Tensor) -> Tensor:
    """Brings an offset `[..., 2 F]` to all images, `[N, 1, 1, 2 F]`, or `[2 F]` as it is."""
    if offset.shape.rank == 1:
        return offset
    size = offset.shape[-1]
    offset = tf.broadcast_to(offset, tf.concat([leading, [size]], axis=0))
    return tf.reshape(offset, [-1, 1, 1, size])


def _repeated(offset: Tensor, num: int | Tensor, batch: Tensor) -> Tensor:
    """Brings an offset `[B, 2 F]` or `[2 F]` to all draws, `[S * B, 2 F]`."""
    size = offset.shape[-1]
    return tf.reshape(tf.broadcast_to(offset, [num, batch, size]), [-1, size])
