"""Directions whose draws and densities have finite gradients, however narrow they are.

    x = (1 - d) mean_direction + sqrt(d (2 - d)) v,   v a unit vector orthogonal to mean_direction

d, from 0 to 2, is how far a draw lies behind the mean direction, and is drawn as such: 1 - d rounds
to one, where the root has no gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._random import split_seed, standard_normal, standard_uniform
from tfvae._typing import Tensor
from tfvae.distributions.open_support import OpenBeta

__all__ = ["SmoothPowerSpherical", "SmoothVonMisesFisher"]

tfd = tfp.distributions


class SmoothPowerSpherical(tfd.PowerSpherical):
    """`tfd.PowerSpherical` with finite densities and gradients of all draws.

    Args:
        mean_direction: See `tfd.PowerSpherical`.
        concentration: See `tfd.PowerSpherical`.
        **kwargs: See `tfd.PowerSpherical`.

    Example:
        >>> from tfvae.distributions.directions import SmoothPowerSpherical
        >>> p = SmoothPowerSpherical([1.0, 0.0], 1e6)
        >>> p.sample(3, seed=[0, 1]).shape
        TensorShape([3, 2])
    """

    def _sample_n(self, n: Tensor, seed: Any = None) -> Tensor:
        own, side = split_seed(seed, 2, salt="PowerSpherical")
        half = 0.5 * (tf.cast(self._event_shape_tensor()[-1], self.dtype) - 1.0)
        concentration = tf.broadcast_to(self.concentration, self._batch_shape_tensor())
        share = OpenBeta(half, half + concentration).sample(n, seed=own)
        return _beside(self.mean_direction, 2.0 * share, side)

    def _log_unnormalized_prob(self, samples: Tensor, concentration: Any = None) -> Tensor:
        concentration = self.concentration if concentration is None else concentration
        cosine = tf.reduce_sum(samples * self.mean_direction, axis=-1)
        # Opposite of the mean direction floats round to -1, where there is no density.
        least = tf.constant(2.0 * _eps(self.dtype) - 1.0, cosine.dtype)
        return concentration * tf.math.log1p(tf.clip_by_value(cosine, least, 1.0))


class SmoothVonMisesFisher(tfd.VonMisesFisher):
    """`tfd.VonMisesFisher` with finite gradients of all draws.

    Args:
        mean_direction: See `tfd.VonMisesFisher`.
        concentration: See `tfd.VonMisesFisher`.
        **kwargs: See `tfd.VonMisesFisher`.

    Example:
        >>> from tfvae.distributions.directions import SmoothVonMisesFisher
        >>> p = SmoothVonMisesFisher([1.0, 0.0, 0.0], 1e6)
        >>> p.sample(3, seed=[0, 1]).shape
        TensorShape([3, 3])
    """

    def _sample_n(self, n: Tensor, seed: Any = None) -> Tensor:
        own, side = split_seed(seed, 2, salt="VonMisesFisher")
        concentration = tf.broadcast_to(self.concentration, self._batch_shape_tensor())
        if self.event_shape[-1] == 3:
            # The distribution function of d, inverted: log(1 + u (exp(-2 k) - 1)) / -k.
            shape = tf.concat([[n], tf.shape(concentration)], axis=0)
            least = _eps(self.dtype) ** 2
            uniform = least + (1.0 - least) * standard_uniform(shape, own, self.dtype)
            behind = -tf.math.log1p(uniform * tf.math.expm1(-2.0 * concentration)) / concentration
        else:
            # TFP's rejection, which carries no gradient to the concentration.
            drawn = super()._sample_n(n, seed=own)
            behind = 1.0 - tf.reduce_sum(drawn * self.mean_direction, axis=-1)
            behind = tf.stop_gradient(behind)
        return _beside(self.mean_direction, behind, side)


def _beside(mean_direction: Tensor, behind: Tensor, seed: Tensor) -> Tensor:
    """Returns unit vectors `[S, ..., K]` that lie `behind` `[S, ...]` the mean direction."""
    eps = _eps(behind.dtype)
    behind = tf.expand_dims(tf.clip_by_value(behind, eps**2, 2.0 - 2.0 * eps), -1)
    shape = tf.concat([tf.shape(behind)[:-1], tf.shape(mean_direction)[-1:]], axis=0)
    noise = standard_normal(shape, seed, behind.dtype)
    along = tf.reduce_sum(noise * mean_direction, axis=-1, keepdims=True)
    side = tf.math.l2_normalize(noise - along * mean_direction, axis=-1)
    x = (1.0 - behind) * mean_direction + tf.sqrt(behind * (2.0 - behind)) * side
    return tf.math.l2_normalize(x, axis=-1)


def _eps(dtype: Any) -> float:
    return float(np.finfo(tf.as_dtype(dtype).name).eps)
