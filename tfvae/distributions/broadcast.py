"""Batch shapes of the parts of a distribution, brought to that of the whole."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfvae._typing import Distribution, Tensor

__all__ = ["over_batch"]


def over_batch(distribution: Distribution, static: tf.TensorShape, shape: Tensor) -> Distribution:
    """Returns `distribution` with a batch shape that its own broadcasts to.

    Its draws are then independent over the whole batch. A draw of the smaller batch, broadcast,
    would be one number many times.

    Args:
        distribution: Any that describes its parameters to TFP.
        static: The batch shape, as far as it is known.
        shape: The same as a tensor.

    Example:
        >>> from tfvae.distributions.broadcast import over_batch
        >>> over_batch(tfd.Poisson(5.0), tf.TensorShape([3]), tf.constant([3])).batch_shape
        TensorShape([3])
    """
    if static.is_fully_defined() and distribution.batch_shape.is_fully_defined():
        if distribution.batch_shape == static:
            return distribution
        sizes: Any = static.as_list()
        shape = tf.constant(sizes, tf.int32)
    whole: Any = distribution
    return whole._broadcast_parameters_with_batch_shape(shape)
