"""Squared distances of all pairs, without a tensor of their differences."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfvae._typing import Tensor

__all__ = ["array_squares", "pairwise_squares"]


def pairwise_squares(x: Tensor, loc: Tensor, precision: Tensor | None = None) -> Tensor:
    """Returns the weighted squared distances of all pairs, as matrix products.

        d[n, m] = sum_k precision[m, k] * (x[n, k] - loc[m, k])**2

    Expanding the square loses digits to cancellation: with 40 dimensions about 1e-3 in float32.
    Nothing of size `[N, M, K]` is held.

    Args:
        x: `[N, K]`.
        loc: `[M, K]`.
        precision: `[M, K]`; None for ones.

    Returns:
        `[N, M]`; rounding may take zero below zero.

    Example:
        >>> from tfvae.distributions.squares import pairwise_squares
        >>> pairwise_squares(tf.zeros([1, 2]), tf.constant([[3.0, 1.0], [0.0, 2.0]])).numpy()
        array([[10.,  4.]], dtype=float32)
    """
    # The centre leaves distances as they are and makes the terms that cancel small.
    centre = tf.stop_gradient(tf.reduce_mean(loc, axis=0))
    x, loc = x - centre, loc - centre
    if precision is None:
        cross = tf.reduce_sum(tf.square(x), axis=-1)[:, None] - 2.0 * tf.matmul(x, loc, False, True)
        return cross + tf.reduce_sum(tf.square(loc), axis=-1)
    left = tf.concat([tf.square(x), x], axis=-1)
    right = tf.concat([precision, -2.0 * loc * precision], axis=-1)
    constant = tf.reduce_sum(tf.square(loc) * precision, axis=-1)
    return tf.matmul(left, right, transpose_b=True) + constant


def array_squares(
    x: np.ndarray, loc: np.ndarray, precision: np.ndarray | None = None
) -> np.ndarray:
    """Returns what `pairwise_squares` does, of arrays: `[N, M]` in float64, none below zero.

    Example:
        >>> from tfvae.distributions.squares import array_squares
        >>> array_squares(np.zeros([1, 2]), np.array([[3.0, 1.0], [0.0, 2.0]]))
        array([[10.,  4.]])
    """
    centre = np.mean(x, axis=0, dtype=np.float64)
    x, loc = x - centre, loc - centre
    precision = np.ones_like(loc) if precision is None else precision
    squares = x**2 @ precision.T - 2.0 * x @ (precision * loc).T
    return np.maximum(squares + np.sum(precision * loc**2, axis=1), 0.0)
