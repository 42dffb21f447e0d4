"""Seeds: the one place where Keras's, TensorFlow's and the user's seeds become int32 pairs."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfvae._typing import Tensor

__all__ = ["fold_in", "next_seed", "stateless_seed"]


def stateless_seed(seed: int | Sequence[int] | Tensor) -> Tensor:
    """Returns an int32 pair `[2]` for stateless sampling from an int or a pair.

    Raises:
        ValueError: `seed` is neither an int nor two ints.
    """
    if isinstance(seed, int):
        # Any Python int is accepted: both halves of its low 64 bits are kept.
        bits = [seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF]
        return tf.constant([b - 2**32 if b >= 2**31 else b for b in bits], tf.int32)
    pair = tf.convert_to_tensor(seed)
    if not pair.dtype.is_integer or pair.shape.rank > 1 or pair.shape.num_elements() not in (1, 2):
        raise ValueError(f"`seed` must be an int or a pair of ints. Received: seed={seed}")
    pair = tf.cast(pair, tf.int32)
    return pair if pair.shape == (2,) else tf.stack([tf.reshape(pair, []), 0])


def next_seed(generator: keras.random.SeedGenerator) -> Tensor:
    """Advances a Keras seed generator and returns its value as an int32 pair `[2]`."""
    state = tf.convert_to_tensor(generator.next())
    return tf.cast(tf.math.floormod(tf.cast(state, tf.int64), 2**31 - 1), tf.int32)


def fold_in(seed: Tensor, data: int | Tensor) -> Tensor:
    """Returns a new seed `[2]`, a function of `seed` and of the integer `data`."""
    data = tf.cast(data, tf.int32)
    return tf.random.fold_in(seed, data)  # pyright: ignore[reportArgumentType]
