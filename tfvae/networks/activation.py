"""Activations, where each unit must depend on its own input alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae._typing import Tensor

__all__ = ["elementwise_activation"]


def elementwise_activation(activation: Any) -> Callable[[Tensor], Tensor]:
    """Returns a Keras activation that treats each number by itself, by name or as a callable.

    Tried on a few numbers: masks keep units apart only as long as no activation, such as a softmax
    or a normalisation, brings them together again.

    Raises:
        ValueError: It mixes units or examples, changes shapes, draws, or has weights.
    """
    found: Any = keras.activations.get(activation)
    tried = found
    if isinstance(found, keras.layers.Layer):
        tried = type(found).from_config(found.get_config())  # Not built for the shapes tried here.
    values = np.linspace(-2.0, 2.0, 12, dtype="float32").reshape(3, 4)
    changed = values.copy()
    changed[1, 2] = 0.7
    with tf.init_scope():
        if not tf.executing_eagerly():  # In a graph of TensorFlow 1 nothing can be tried.
            return found
        before, after = (np.asarray(tried(tf.constant(x))) for x in (values, changed))
    elementwise = before.shape == after.shape == values.shape
    if elementwise:
        same = before == after
        same[1, 2] = True
        elementwise = bool(same.all()) and not getattr(tried, "weights", None)
    if not elementwise:
        raise ValueError(
            "`activation` of a masked network must treat each number by itself, without weights "
            "and draws: units would see what the masks hide. "
            f"Received: activation={activation!r}. Choose one such as 'relu', 'elu' or 'tanh'."
        )
    return found
