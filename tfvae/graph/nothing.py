"""The scores of what has no latent nodes."""

from __future__ import annotations

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._typing import Distribution, Tensor
from tfvae.terms import Terms

__all__ = ["nothing", "terms_without_latents"]


def terms_without_latents(log_p_x: Tensor, num_samples: int | Tensor) -> Terms:
    """Returns the scores of log p(x) `[B]` alone: the same in each of S rows.

    The posterior and the prior of nothing are equal, so that rate and mutual information are zero,
    the ELBO is log p(x), and whatever reads `Terms` works unchanged.
    """
    shape = tf.stack([num_samples, tf.shape(log_p_x)[0]])
    zeros = tf.zeros_like(log_p_x)
    return Terms(
        log_p_x=tf.broadcast_to(log_p_x, shape),
        log_p_z=tf.broadcast_to(zeros, shape),
        log_q_z=tf.broadcast_to(zeros, shape),
        kl=zeros,
        z=tf.zeros(tf.concat([shape, [0]], axis=0), log_p_x.dtype),
        q_z=nothing(tf.shape(log_p_x)),
        p_z=nothing(tf.constant([], tf.int32)),
        gradient_scale=tf.zeros(tf.concat([[2], shape], axis=0), log_p_x.dtype),
    )


def nothing(batch_shape: Tensor) -> Distribution:
    """Returns the distribution of nothing, event shape `[0]`."""
    zeros = tf.zeros(tf.concat([batch_shape, [0]], axis=0), keras.config.floatx())
    return tfp.distributions.Independent(tfp.distributions.Normal(zeros, tf.ones_like(zeros)), 1)
