"""Weights in half of their bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfvae._protocols import Served

__all__ = ["SmallWeights", "in_small"]

_TYPES = ("bfloat16", "float16")


class SmallWeights:
    """Copies of weights in a smaller type, which functions read in place of the weights.

    Args:
        pairs: Weights, each with its copy.
    """

    def __init__(self, pairs: Sequence[tuple[keras.Variable, tf.Variable]] = ()) -> None:
        self._pairs = list(pairs)

    def reading(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a function that reads the copies, in the type of the weights."""
        if not self._pairs:
            return function

        def reads_small(*inputs: Any) -> Any:
            mapping = [(weight, tf.cast(copy, weight.dtype)) for weight, copy in self._pairs]
            with keras.StatelessScope(state_mapping=mapping):
                return function(*inputs)

        return reads_small


def in_small(model: Served, dtype: str | None) -> SmallWeights:
    """Returns the weights of a model in a smaller type: all arrays of two axes and more.

    Vectors, such as biases, and numbers stay: they are few, and scales are read from them.

    Args:
        model: A built model.
        dtype: "bfloat16" or "float16"; None for none.

    Raises:
        ValueError: It is another type, or a weight is too large for it.

    Example:
        >>> from tfvae.demo import vae
        >>> from tfvae.export.small import in_small
        >>> half = in_small(vae, "bfloat16")
        >>> z = tf.zeros([1, 2])
        >>> p, exact = half.reading(lambda z: vae.decode(z).mean())(z), vae.decode(z).mean()
        >>> float(tf.reduce_max(abs(p - exact))) < 0.01
        True
    """
    if dtype is None:
        return SmallWeights()
    if dtype not in _TYPES:
        raise ValueError(
            f"`weights_dtype` must be one of {', '.join(_TYPES)}, or None for that of the model. "
            f"Received: weights_dtype={dtype!r}"
        )
    small = tf.as_dtype(dtype)
    pairs = []
    for weight in model.weights:
        kind = tf.as_dtype(weight.dtype)
        if len(weight.shape) < 2 or not kind.is_floating or kind.size <= small.size:
            continue
        value = tf.convert_to_tensor(weight)
        if not bool(tf.reduce_all(tf.abs(value) <= small.max)):
            raise ValueError(
                f"The weight {weight.path} has values beyond {small.max:.3g}, the largest of "
                f"{dtype}. Choose bfloat16, which has the range of float32."
            )
        copy = tf.Variable(tf.cast(value, small), trainable=False, name=weight.name)
        pairs.append((weight, copy))
    return SmallWeights(pairs)
