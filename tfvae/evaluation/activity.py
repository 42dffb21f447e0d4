"""Which dimensions of z say anything of data: those whose posterior mean moves with x."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfvae._typing import Distribution, Tensor
from tfvae.distributions.statistics import known_centre, probabilities

__all__ = ["ACTIVE", "activity", "posterior_means"]

# A latent dimension is active where the mean of its posterior varies by more (Burda et al., 2016).
ACTIVE = 0.01
# Draws of each half by which the variance of means is estimated where means are not known.
_DRAWS = 32


def posterior_means(q_z: Distribution, seed: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the means of posteriors twice, `[B, K]`, of numbered categories `[B, K, L]`.

    Means that are not known are estimated by draws, those of each half their own: the covariance
    over points of two estimates is the variance of the means without the noise of the draws.
    """
    batch: Any = q_z.batch_shape_tensor()
    size = batch[0]
    categories = probabilities(q_z)
    if categories is not None:
        found = tf.reshape(categories, [size, -1, categories.shape[-1]])
        return found, found
    known = known_centre(q_z)
    if known is not None:
        found = tf.reshape(known, [size, -1])
        return found, found
    draws = q_z.sample(2 * _DRAWS, seed=seed)
    halves = tf.split(tf.reshape(draws, [2 * _DRAWS, size, -1]), 2)
    one, other = (tf.reduce_mean(half, axis=0) for half in halves)
    return one, other


def activity(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns the variance over points of posterior means `[K]`, of what `posterior_means` gives.

    Example:
        >>> from tfvae.evaluation.activity import activity
        >>> activity(np.array([[0.0, 1.0], [2.0, 1.0]]), np.array([[0.0, 1.0], [2.0, 1.0]]))
        array([1., 0.])
    """
    product = np.mean((one - one.mean(axis=0)) * (other - other.mean(axis=0)), axis=0)
    return product.sum(axis=-1) if product.ndim == 2 else product
