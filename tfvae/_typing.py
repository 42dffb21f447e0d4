"""Aliases for the untyped parts of the stack, and the one registration decorator."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

__all__ = [
    "Distribution",
    "Seed",
    "Shape",
    "Tensor",
    "event_tuple",
    "register",
    "whole_number",
]

Shape = tuple[int, ...]
Tensor = Any  # tf.Tensor: TensorFlow ships no type information
Distribution = tfp.distributions.Distribution
Seed = int | Sequence[int] | Tensor | None

register = keras.saving.register_keras_serializable(package="tfvae")


def event_tuple(event_shape: int | Sequence[int] | tf.TensorShape) -> Shape:
    """Returns `event_shape` as a tuple of Python ints; a plain int means a vector.

    Arrays and eager tensors of whole numbers will do too.

    Raises:
        ValueError: A size is unknown or smaller than one.
    """
    try:
        several = isinstance(event_shape, Iterable) and getattr(event_shape, "ndim", 1) > 0
        given: Any = event_shape if several else (event_shape,)
        sizes = tuple(operator.index(size) for size in given)
    except TypeError:
        sizes = (0,)
    if any(size < 1 for size in sizes):
        raise ValueError(
            "An event shape holds known, positive sizes: an int or a sequence of ints >= 1. "
            f"Received: event_shape={event_shape!r}"
        )
    return sizes


def whole_number(name: str, value: Any, least: int = 1) -> int:
    """Returns an argument as an int; floats without a fraction, such as 1e4, will do.

    Raises:
        ValueError: It is no whole number, or smaller than `least`.
    """
    try:
        number = operator.index(value)
    except TypeError:
        whole = isinstance(value, (float, np.floating)) and value % 1 == 0
        number = int(value) if whole else least - 1
    if number < least:
        raise ValueError(f"`{name}` must be a whole number >= {least}. Received: {name}={value!r}")
    return number
