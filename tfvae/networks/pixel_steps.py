"""The pass of a causal convolutional network value by value, for about the cost of a whole one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tfvae._typing import Shape, Tensor
from tfvae.networks.input_range import scaled
from tfvae.networks.made import MADE
from tfvae.networks.masked import product
from tfvae.networks.steps import Draw, Steps

__all__ = [
    "Block",
    "PixelSteps",
    "PixelWeights",
    "convolved",
    "gated",
    "of_rows_above",
    "seen_values",
]


class Block(NamedTuple):
    """The weights of one gated block, r = (kernel_size - 1) / 2."""

    above: Any  # [r + 1, 2 r + 1, F, 2 F]
    above_bias: Any  # [2 F]
    above_context: Any  # [C, 2 F], None without a context
    link: Any  # [2 F, 2 F]
    left: Any  # [r + 1, F, 2 F]
    left_bias: Any  # [2 F]
    left_context: Any  # [C, 2 F], None without a context
    out: Any  # [F, F]
    out_bias: Any  # [F]


class PixelWeights(NamedTuple):
    """The weights of all blocks, and of the layers before them; f = (first_kernel_size - 1) / 2."""

    first_above: Any  # [f, 2 f + 1, C + 1, F]
    first_bias: Any  # [F]
    first_left: Any  # [f, C + 1, F]
    first_left_bias: Any  # [F]
    blocks: Sequence[Block]


class PixelSteps:
    """Draws images row by row and pixel by pixel, and computes at each step what is new.

    The stack of the rows above runs once per row and the other once per pixel, each on the few rows
    or pixels that its kernels cover; all else is kept from earlier steps. N are the draws of all
    contexts, F the filters.

    Args:
        weights: Those of the network, as they are now.
        offsets: What biases and context add in both stacks of each block, `[N, 2 F]`.
        head: The network within a pixel, from features to the channels in their order.
        event_shape: `(H, W, C)`.
        draw: See `tfvae.networks.GatedPixelCNN.generate`.
    """

    def __init__(
        self,
        weights: PixelWeights,
        offsets: Sequence[Sequence[Tensor]],
        head: MADE,
        event_shape: Shape,
        draw: Draw,
    ) -> None:
        self._weights, self._offsets, self._head, self._draw = weights, offsets, head, draw
        self._height, self._width, self._channels = event_shape
        self._within = Steps(head)
        self._first, _, self._filters = weights.first_left.shape
        self._dtype = weights.first_left.dtype

    def images(self, num: int | Tensor, batch: Tensor) -> Tensor:
        """Returns `[N = S * B, H, W, C]` for `num` draws, S, of each of B contexts."""
        rows, width = num * batch, self._width

        def draw_row(i: Tensor, image: Tensor, seen: Tensor, *caches: Tensor) -> tuple[Any, ...]:
            # seen [N, f, W, C + 1] and caches [N, r, W, F] hold the rows above.
            links, caches = self._links(seen, caches)
            row = self._row(i, links, num, batch)  # [W, N, C]
            image = tf.tensor_scatter_nd_update(image, [[i]], row[None])
            new_row = self._seen(tf.transpose(row, [1, 0, 2]))[:, None]
            return i + 1, image, tf.concat([seen[:, 1:], new_row], axis=1), *caches

        _, image, *_ = tf.while_loop(
            lambda i, *_: (i < self._height) & (rows > 0),  # as in `MADE.generate`
            draw_row,
            (
                tf.constant(0),
                self._zeros(self._height, width, rows, self._channels),
                self._zeros(rows, self._first, width, self._channels + 1),
                *(self._zeros(rows, reach, width, self._filters) for reach in self._reaches()),
            ),
            maximum_iterations=self._height,
        )
        return tf.transpose(image, [2, 0, 1, 3])

    def _links(self, seen: Tensor, caches: Sequence[Tensor]) -> tuple[list[Tensor], Any]:
        """Returns what the rows above add in each block to a row `[N, W, 2 F]`, and the caches."""
        weights = self._weights
        v = of_rows_above(seen, 0, weights.first_above, self._first) + weights.first_bias
        links, new_caches = [], []
        for block, (above, left), cache in zip(weights.blocks, self._offsets, caches, strict=True):
            window = tf.concat([cache, v], axis=1)
            reach = block.left.shape[0] - 1
            v_both = of_rows_above(window, 0, block.above, reach) + above[:, None, None]
            links.append(product(v_both[:, 0], block.link) + left[:, None])
            v = gated(v_both)
            new_caches.append(window[:, 1:])
        return links, new_caches

    def _row(self, i: Tensor, links: list[Tensor], num: int | Tensor, batch: Tensor) -> Tensor:
        """Returns the values `[W, N, C]` of a row."""
        weights, rows = self._weights, num * batch

        def next_pixel(j: Tensor, row: Tensor, pixels: Tensor, *caches: Tensor) -> tuple[Any, ...]:
            # pixels [N, f, C + 1] and caches [N, r, F] hold what is to the left.
            h = tf.einsum("nkc,kcf->nf", pixels, weights.first_left) + weights.first_left_bias
            new_caches = []
            for block, link, cache in zip(weights.blocks, links, caches, strict=True):
                window = tf.concat([cache, h[:, None]], axis=1)
                h_both = tf.einsum("nkf,kfg->ng", window, block.left) + link[:, j]
                h += product(gated(h_both), block.out) + block.out_bias
                new_caches.append(window[:, 1:])
            x = self._pixel(i * self._width + j, h, num, batch)
            row = tf.tensor_scatter_nd_update(row, [[j]], x[None])
            pixels = tf.concat([pixels[:, 1:], self._seen(x)[:, None]], axis=1)
            return j + 1, row, pixels, *new_caches

        _, row, *_ = tf.while_loop(
            lambda j, *_: j < self._width,
            next_pixel,
            (
                tf.constant(0),
                self._zeros(self._width, rows, self._channels),
                self._zeros(rows, self._first, self._channels + 1),
                *(self._zeros(rows, reach, self._filters) for reach in self._reaches()),
            ),
            maximum_iterations=self._width,
        )
        return row

    def _pixel(self, index: Tensor, h: Tensor, num: int | Tensor, batch: Tensor) -> Tensor:
        """Returns the values `[N, C]` of a pixel, counted row by row, from features `[N, F]`."""
        at_features = self._within.offsets(tf.nn.relu(h))
        units = self._within.start(num * batch)
        for channel in range(self._channels):
            params, units = self._within.params(channel, units, at_features)
            step = index * self._channels + channel
            x = self._draw(step, tf.reshape(params, [num, batch, self._head.params]))
            units = self._within.placed(channel, tf.reshape(x, [-1]), units)
        return self._within.elements(units)

    def _seen(self, x: Tensor) -> Tensor:
        return seen_values(x, self._head.input_range)

    def _reaches(self) -> list[int]:
        return [block.left.shape[0] - 1 for block in self._weights.blocks]

    def _zeros(self, *shape: Any) -> Tensor:
        return tf.zeros(shape, self._dtype)


def seen_values(x: Tensor, input_range: tuple[float, float] | None) -> Tensor:
    """Returns values `[..., C]` with a one behind: it tells them from those outside."""
    x = scaled(x, input_range)
    return tf.concat([x, tf.ones_like(x[..., :1])], axis=-1)


def of_rows_above(x: Tensor, missing: int, kernel: Any, reach: int) -> Tensor:
    """Convolves the rows above, `missing` of them outside of the image, and both sides."""
    return convolved(x, [[missing, 0], [reach, reach], [0, 0]], kernel)


def convolved(x: Tensor, paddings: list[list[int]], kernel: Any) -> Tensor:
    """Convolves images `[N, H, W, C]`, padded by zeros; there may be none of them."""
    x = tf.pad(x, [[0, 0], *paddings])
    if x.shape[0]:
        return tf.nn.conv2d(x, kernel, 1, "VALID")
    # Of no images TensorFlow 2.21 gives the shape of `x` (CPU, oneDNN), and takes no account of
    # rows that `tf.pad` adds, which it makes one operation with the convolution.
    rows: Any = tf.shape(x)[0]
    one = tf.zeros(tf.stack([tf.maximum(1 - rows, 0), *x.shape[1:]]), x.dtype)
    return tf.nn.conv2d(tf.concat([x, one], axis=0), kernel, 1, "VALID")[:rows]


def gated(both: Tensor) -> Tensor:
    """Returns `tanh(a) * sigmoid(b)` `[..., F]` of both halves of `[..., 2 F]`."""
    a, b = tf.split(both, 2, axis=-1)
    return tf.tanh(a) * tf.sigmoid(b)
