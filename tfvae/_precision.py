"""The precision of densities, whatever policy the layers around them have."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from keras.src.backend.common import global_state

from tfvae._typing import Tensor

__all__ = ["full_dtype", "full_precision", "uncast"]

_HALVES = ("float16", "bfloat16")


def full_dtype(dtype: Any) -> str:
    """Returns the name of a type, "float32" for half precision, in which densities overflow."""
    name = tf.as_dtype(dtype).name
    return "float32" if name in _HALVES else name


def full_precision(value: Tensor) -> Tensor:
    """Returns a tensor of parameters, in float32 where it comes in half precision."""
    value = tf.convert_to_tensor(value)
    return tf.cast(value, tf.float32) if value.dtype.name in _HALVES else value


@contextlib.contextmanager
def uncast() -> Iterator[None]:
    """Returns a scope in which variables are read as they are.

    A layer of mixed precision has Keras round all variables that are read within its call. No
    `AutocastScope(None)`: in it variables of float64 say that they are of float32.
    """
    around = global_state.get_global_attribute("autocast_scope")
    global_state.set_global_attribute("autocast_scope", None)
    try:
        yield
    finally:
        global_state.set_global_attribute("autocast_scope", around)
