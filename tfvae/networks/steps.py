"""The pass of a masked network element by element, by which draws cost about one whole pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae._typing import Tensor
from tfvae.networks.input_range import scaled
from tfvae.networks.masked import MaskedDense

__all__ = ["Steps"]

# From the number of the step `[]` and parameters `[S, B, P]` to drawn elements `[S, B]`.
Draw = Callable[[Tensor, Tensor], Tensor]


class Steps:
    """The pass of a built `MADE`, one element after the other, each unit computed once.

    Step t gives the parameters of the element of place t + 1 from the units of degree t or less;
    those of degree t are computed in it. All tensors have the draws, R, as their last axis.

    Args:
        made: A built `tfvae.networks.MADE`, whose weights are read now.
    """

    def __init__(self, made: Any) -> None:
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
        # Of the type of `tf.range`, with which vectorised loops put them together.
        self._tables = [tf.constant(table, tf.int32) for table in tables]  # [D, M]
        self._places = tf.constant(order, tf.int32)

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


def _units_by_step(layer: MaskedDense, steps: int) -> np.ndarray:
    """Returns the units of degree t in row t, filled up with the number of units: `[D, M]`."""
    degrees = np.array(layer.out_degrees)
    units = [np.flatnonzero(degrees == t) for t in range(steps)]
    width = max(len(found) for found in units)
    return np.array([np.pad(u, (0, width - len(u)), constant_values=len(degrees)) for u in units])
