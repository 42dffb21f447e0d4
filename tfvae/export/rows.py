"""Requests of any number of rows, none among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from tfvae._typing import Tensor

__all__ = ["with_rows"]

# Inputs of a request that have no row for each row of the answer.
_WITHOUT_ROWS = ("num_samples", "seed")


def with_rows(
    answer: Callable[..., dict[str, Tensor]], inputs: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Returns the answer to a request, which is asked of one row where there is none.

    Convolutions of TensorFlow 2.21 give no rows another shape (CPU, oneDNN), and whatever else a
    network holds may stumble over them too. The row that takes their place is left out again.

    Args:
        answer: From inputs to outputs, by name, `[B, ...]` each.
        inputs: Those with rows `[B, ...]`, all of one B, and any of `num_samples` and `seed`.

    Example:
        >>> with_rows(lambda x: {"mean": tf.reduce_mean(x, axis=1)}, {"x": tf.zeros([0, 3])})[
        ...     "mean"].shape
        TensorShape([0])
    """
    rows = {name: value for name, value in inputs.items() if name not in _WITHOUT_ROWS}
    if not rows:
        return answer(**inputs)
    count: Any = tf.shape(next(iter(rows.values())))[0]
    lacking = tf.maximum(1 - count, 0)
    full = {name: _longer(value, lacking) for name, value in rows.items()}
    return {name: value[:count] for name, value in answer(**{**inputs, **full}).items()}


def _longer(value: Tensor, lacking: Tensor) -> Tensor:
    # No `tf.pad`, which TensorFlow makes one operation with a convolution that follows, and then
    # forgets what it adds to the rows.
    zeros = tf.zeros(tf.concat([[lacking], tf.shape(value)[1:]], axis=0), value.dtype)
    return tf.ensure_shape(tf.concat([value, zeros], axis=0), [None, *value.shape[1:]])
