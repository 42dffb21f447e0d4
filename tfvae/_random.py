"""Seeds: the one place where Keras's, TensorFlow's and the user's seeds become int32 pairs."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._tracing import in_xla
from tfvae._typing import Tensor

__all__ = [
    "fold_in",
    "next_seed",
    "split_seed",
    "standard_normal",
    "standard_uniform",
    "stateless_seed",
]

_INTS = (int, np.integer)


def stateless_seed(seed: int | Sequence[int] | Tensor) -> Tensor:
    """Returns an int32 pair `[2]` for stateless sampling from an int or a pair.

    An int of 64 bits is the pair of its halves, and a pair of ints of 32 bits stays as it is. What
    is larger is mixed into that size, so that no bit of it is without effect.

    Args:
        seed: A Python int of any size, a whole number of NumPy, or a tensor or sequence of one or
            two whole numbers.

    Raises:
        ValueError: `seed` is neither an int nor two ints.
    """
    if isinstance(seed, (list, tuple)) and all(isinstance(part, _INTS) for part in seed):
        pair: Any = tf.constant([_low_bits(int(part)) for part in seed], tf.int64)
    elif isinstance(seed, _INTS):
        pair = tf.constant(_low_bits(int(seed)), tf.int64)
    else:
        pair = tf.convert_to_tensor(seed)
    if not pair.dtype.is_integer or pair.shape.rank > 1 or pair.shape.num_elements() not in (1, 2):
        raise ValueError(f"`seed` must be an int or a pair of ints. Received: seed={seed}")
    if pair.shape == (2,):
        return pair if pair.dtype == tf.int32 else _mixed(tf.cast(pair, tf.int64))
    return tf.bitcast(tf.cast(tf.reshape(pair, []), tf.int64), tf.int32)  # low half first


def _low_bits(value: int) -> int:
    """Returns an int of 64 bits, with its sign: itself, or a hash of what is larger."""
    if value.bit_length() > 64:
        data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        value = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


def _mixed(pair: Tensor) -> Tensor:
    """Returns a pair of int64 as one of int32, the same where it fits."""
    low, high = tf.unstack(tf.bitcast(pair, tf.int32), axis=-1)
    lost = high - tf.where(low < 0, -1, 0)  # More than a sign.
    mixed = fold_in(fold_in(low, lost[0]), lost[1])
    return tf.where(tf.reduce_any(lost != 0), mixed, low)


def next_seed(generator: keras.random.SeedGenerator) -> Tensor:
    """Advances a Keras seed generator and returns its value as an int32 pair `[2]`."""
    state = tf.convert_to_tensor(generator.next())
    return tf.cast(tf.math.floormod(tf.cast(state, tf.int64), 2**31 - 1), tf.int32)


def fold_in(seed: Tensor, data: int | Tensor) -> Tensor:
    """Returns a new seed `[2]`, a function of `seed` and of the integer `data`."""
    data = tf.cast(data, tf.int32)
    return tf.random.fold_in(seed, data, alg="philox")  # pyright: ignore[reportArgumentType]


def split_seed(seed: Any, num: int, salt: str | None = None) -> list[Tensor]:
    """Returns so many new seeds: those of `tfp.random.split_seed`, under XLA too.

    Args:
        seed: Any that TFP takes.
        num: How many.
        salt: What tells uses of one seed apart.

    Example:
        >>> from tfvae._random import split_seed
        >>> [seed.shape for seed in split_seed([0, 1], 2)]
        [TensorShape([2]), TensorShape([2])]
    """
    whole: Any = None
    seed = tfp.random.sanitize_seed(seed, salt=salt)
    seeds = tf.random.stateless_uniform([num, 2], seed, whole, whole, tf.int32, alg="philox")
    return tf.unstack(seeds)


def standard_normal(shape: Any, seed: Tensor, dtype: Any = tf.float32) -> Tensor:
    """Returns independent draws of the standard normal: those of `tf.random.stateless_normal`.

    Under XLA they are made here in 32 bits, the same to rounding. Pairs of uniform numbers become
    pairs of normal ones,

        sqrt(-2 log u) (sin 2 pi v, cos 2 pi v)

    which XLA's own version works out twice, with the bits of four numbers for each: 21 ns a number
    on a CPU, and 4 ns so. Of many it also draws others than TensorFlow.

    Args:
        shape: A sequence of ints, or an integer tensor.
        seed: Int32 pair `[2]`.
        dtype: A floating type.

    Example:
        >>> from tfvae._random import standard_normal
        >>> standard_normal([3], [0, 1]).shape
        TensorShape([3])

    Reference: A Note on the Generation of Random Normal Deviates (Box and Muller, 1958),
    https://doi.org/10.1214/aoms/1177706645
    """
    if tf.as_dtype(dtype) != tf.float32 or not in_xla():
        return tf.random.stateless_normal(shape, seed, dtype=dtype, alg="philox")
    shape = tf.convert_to_tensor(shape, tf.int32)
    known = tf.get_static_value(shape)
    count = tf.reduce_prod(shape) if known is None else math.prod(known.tolist())
    return tf.reshape(tf.reshape(_pairs((count + 1) // 2, seed), [-1])[:count], shape)


def standard_uniform(shape: Any, seed: Tensor, dtype: Any = tf.float32) -> Tensor:
    """Returns independent draws from 0 to 1, without 1: those of `tf.random.stateless_uniform`.

    XLA makes others of the same bits; under it they are made here in 32 bits.

    Args:
        shape: A sequence of ints, or an integer tensor.
        seed: Int32 pair `[2]`.
        dtype: A floating type.

    Example:
        >>> from tfvae._random import standard_uniform
        >>> standard_uniform([3], [0, 1]).shape
        TensorShape([3])
    """
    if tf.as_dtype(dtype) != tf.float32 or not in_xla():
        return tf.random.stateless_uniform(shape, seed, dtype=dtype, alg="philox")
    whole: Any = None
    return _uniform(tf.random.stateless_uniform(shape, seed, whole, whole, tf.int32, alg="philox"))


def _uniform(bits: Tensor) -> Tensor:
    """Returns numbers from 0 to 1, without 1, of int32."""
    # From 1 to 2 all numbers of 32 bits lie equally far apart: 23 random bits are one of them.
    lower = tf.bitwise.bitwise_and(bits, 2**23 - 1)
    return tf.bitcast(tf.bitwise.bitwise_or(lower, 127 << 23), tf.float32) - 1.0


def _pairs(count: int | Tensor, seed: Tensor) -> Tensor:
    """Returns pairs of standard normals `[count, 2]`, by operations that XLA makes one loop of."""
    # Of 64 bits XLA makes as many at a time as of 32.
    whole: Any = None
    bits = tf.random.stateless_uniform([count], seed, whole, whole, tf.int64, alg="philox")
    uniform = _uniform(tf.bitcast(bits, tf.int32))
    radius = tf.sqrt(-2.0 * tf.math.log(tf.maximum(uniform[:, :1], 1e-7)))
    return radius * _sine(uniform[:, 1:] + [0.0, 0.25])


def _sine(turns: Tensor) -> Tensor:
    """Returns sin(2 pi turns) by its series up to a quarter of a turn, which leaves out 7e-10."""
    turns -= tf.round(turns)
    quarter = tf.minimum(tf.abs(turns), 0.5 - tf.abs(turns)) * tf.sign(turns)
    angle = 2.0 * math.pi * quarter
    square, total = tf.square(angle), tf.ones_like(angle)
    for power in (12, 10, 8, 6, 4, 2):
        total = 1.0 - total * square / (power * (power + 1))
    return angle * total
