"""Weights of a layer as tensors: what a distribution made by it is told, and reads again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import keras
import tensorflow as tf

from tfvae._precision import uncast
from tfvae._typing import Tensor

__all__ = ["values_of", "with_values"]


def values_of(layer: keras.layers.Layer) -> list[Tensor]:
    """Returns the values of all variables of a built layer, in their own types.

    As tensors of a composite they are parts of a distribution: gradients pass, and it can leave a
    `tf.function` or be detached from them.
    """
    with uncast():  # Else a layer of half precision around rounds them.
        return [tf.convert_to_tensor(variable.value) for variable in layer.variables]


@contextlib.contextmanager
def with_values(layer: keras.layers.Layer, values: Sequence[Tensor]) -> Iterator[None]:
    """Lets `layer` read these values in place of its variables, in its own precision.

    Example:
        >>> from tfvae._snapshots import with_values
        >>> layer = keras.layers.Dense(1, use_bias=False)
        >>> layer.build((1, 2))
        >>> with with_values(layer, [tf.ones([2, 1])]):
        ...     print(float(layer(tf.ones([1, 2]))[0, 0]))
        2.0
    """
    mapping = list(zip(layer.variables, values, strict=True))
    with uncast(), keras.StatelessScope(state_mapping=mapping):
        yield
