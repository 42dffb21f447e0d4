"""One draw with its log-density, by the shortest way that a family allows."""

from __future__ import annotations

import math

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._random import standard_normal
from tfvae._typing import Distribution, Tensor
from tfvae.distributions.gaussian import as_diagonal_normal

__all__ = ["sample", "sample_and_log_prob"]

_tfd = tfp.distributions
# A subclass that draws in its own way keeps it.
_AS_TFP_DRAWS = {
    cls._sample_and_log_prob for cls in (_tfd.MultivariateNormalDiag, _tfd.Independent)
}


def sample(distribution: Distribution, num_samples: int | Tensor, seed: Tensor) -> Tensor:
    """Returns draws `[S, *B, *E]`: those of `sample_and_log_prob` of a diagonal Gaussian.

    Args:
        distribution: Batch shape `B`, event shape `E`.
        num_samples: Number of draws, S.
        seed: Int32 pair `[2]`.
    """
    normal = _drawn_here(distribution)
    if normal is None:
        return distribution.sample(num_samples, seed=seed)
    return normal.loc + normal.scale * _noise(normal, num_samples, seed)


def sample_and_log_prob(
    distribution: Distribution, num_samples: int, seed: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns draws `[S, B, *E]` and their log-densities `[S, B]`, nats.

    Diagonal Gaussians are drawn here, all others by `experimental_sample_and_log_prob`:

        z = loc + scale * noise,   log q(z) = sum_k -noise_k**2 / 2 - log scale_k - log(2 pi) / 2

    TFP leaves the choice of generator to the device ("auto_select"). XLA then works through the
    scrambling of the seed once per number instead of once, which takes 65 ns a number on a CPU, and
    draws others than without XLA; `standard_normal` takes 4 ns.

    Args:
        distribution: Batch shape `[B]`, event shape `E`.
        num_samples: Number of draws, S.
        seed: Int32 pair `[2]`.
    """
    normal = _drawn_here(distribution)
    if normal is None:
        return distribution.experimental_sample_and_log_prob(num_samples, seed=seed)
    noise = _noise(normal, num_samples, seed)
    log_prob = -0.5 * (tf.square(noise) + math.log(2 * math.pi)) - tf.math.log(normal.scale)
    event_axes = list(range(-len(distribution.event_shape), 0))
    return normal.loc + normal.scale * noise, tf.reduce_sum(log_prob, axis=event_axes)


def _drawn_here(distribution: Distribution) -> Distribution | None:
    """Returns the normal elements of a diagonal Gaussian that TFP draws, None of anything else."""
    is_own = getattr(type(distribution), "_sample_and_log_prob", None) not in _AS_TFP_DRAWS
    return None if is_own else as_diagonal_normal(distribution)


def _noise(normal: Distribution, num_samples: int | Tensor, seed: Tensor) -> Tensor:
    """Returns standard normals `[S, *B]`."""
    shape = tf.concat([[num_samples], normal.batch_shape_tensor()], axis=0)
    # Keeps what is known of the shape: S is, where it is a Python int.
    static = tf.TensorShape([tf.get_static_value(num_samples)])
    noise = standard_normal(shape, seed, normal.dtype)
    return tf.ensure_shape(noise, static.concatenate(normal.batch_shape))
