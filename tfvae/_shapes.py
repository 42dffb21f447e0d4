"""Reshapes that keep what is known of a shape before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfvae._typing import Shape, Tensor

__all__ = ["joined", "leading_shape", "no_columns", "of_each", "with_event"]


def with_event(
    x: Tensor, event: Sequence[int | None], *, axes: int = 1, like: Tensor | None = None
) -> Tensor:
    """Returns `x` with the leading axes of `like`, and then those of `event`.

    Leading axes whose sizes are known stay known in graphs.

    Args:
        x: As many values as the result has.
        event: Sizes of the last axes; one of them may be unknown, None or -1.
        axes: How many of the last axes of `like` are no leading ones.
        like: Where the leading axes are taken from; `x` itself by default.

    Example:
        >>> from tfvae._shapes import with_event
        >>> with_event(tf.zeros([5, 6]), [2, 3]).shape
        TensorShape([5, 2, 3])
        >>> with_event(tf.zeros([15]), [1], like=tf.zeros([5, 3, 2])).shape
        TensorShape([5, 3, 1])
    """
    given: Any = tf.convert_to_tensor(x if like is None else like)
    rank = given.shape.rank - axes
    leading, event = given.shape[:rank], [-1 if size is None else int(size) for size in event]
    if leading.is_fully_defined():
        return tf.reshape(x, [*leading, *event])
    dynamic: Any = tf.concat([tf.shape(given)[:rank], tf.constant(event, tf.int32)], axis=0)
    static = leading.concatenate([None if size == -1 else size for size in event])
    return tf.ensure_shape(tf.reshape(x, dynamic), static)


def of_each(value: Tensor, leading: Tensor, event_shape: Shape) -> Tensor:
    """Returns values `[..., *E]` for each of the axes `leading`, folded into one `[N, *E]`."""
    event = tf.constant(event_shape, tf.int32)
    value = tf.broadcast_to(tf.convert_to_tensor(value), tf.concat([leading, event], axis=0))
    return tf.reshape(value, [-1, *event_shape])


def no_columns(static: tf.TensorShape, shape: Tensor) -> Tensor:
    """Returns `[N, 0]`, of as many rows as a shape has first: there is nothing in it to read."""
    return tf.ensure_shape(tf.zeros(tf.stack([shape[0], 0])), [static[0], 0])


def leading_shape(value: Tensor, event_rank: int) -> Any:
    """Returns the shape before the event, as ints where all are known."""
    static = value.shape[: value.shape.rank - event_rank]
    return static.as_list() if static.is_fully_defined() else tf.shape(value)[: static.rank]


def joined(*parts: Any) -> Any:
    """Returns shapes one after the other, as ints where all are."""
    if all(not tf.is_tensor(size) for part in parts for size in _sizes(part)):
        return [size for part in parts for size in _sizes(part)]
    return tf.concat([tf.cast(part, tf.int32) for part in parts if _sizes(part)], axis=0)


def _sizes(shape: Any) -> list[Any]:
    """Returns the sizes that are known without a graph; a dynamic shape as one."""
    return [shape] if tf.is_tensor(shape) else list(shape)
