"""Draws, and the gradients that they and what is read from them carry."""

from __future__ import annotations

import tensorflow as tf

from tfvae._shapes import with_event
from tfvae._typing import Distribution, Tensor
from tfvae.distributions.detached import detached_log_prob
from tfvae.distributions.reparameterised import sample_and_log_prob
from tfvae.objectives.power_means import PowerMeans
from tfvae.terms import Draws, Terms

__all__ = [
    "bound_with_paths",
    "draw_constants",
    "draw_for_paths",
    "plain_draws",
    "scalable",
    "zeros_with_gradient",
]

# Weights below this share of one are raised to it where a gradient is divided by them: far less
# than rounding moves the sum of weights, and far above what float32 cannot hold.
_SMALLEST_SHARE = 1e-10


def zeros_with_gradient(factor: Tensor | float, tensor: Tensor) -> Tensor:
    """Returns zeros of the shape of `tensor`, whose gradient is `factor` times its gradient."""
    # Infinity less itself would be no number.
    finite = tf.where(tf.math.is_finite(tensor), tensor, tf.zeros_like(tensor))
    return factor * (finite - tf.stop_gradient(finite))


def plain_draws(q_z: Distribution, num_samples: int, seed: Tensor) -> Draws:
    """Returns draws by the way of least work; they carry the gradient that the family gives."""
    return Draws(*sample_and_log_prob(q_z, num_samples, seed))


def draw_constants(q_z: Distribution, num_samples: int, seed: Tensor) -> Draws:
    """Returns draws that carry no gradient; log q(z|x) has that of its parameters."""
    z = tf.stop_gradient(q_z.sample(num_samples, seed=seed))
    return Draws(z, q_z.log_prob(z))


def draw_for_paths(q_z: Distribution, num_samples: int, seed: Tensor) -> Draws:
    """Returns draws for `bound_with_paths`; log q(z|x) has the gradient in z alone."""
    z, log_q_z = sample_and_log_prob(q_z, num_samples, seed)
    z, gradient_scale = scalable(z, tf.shape(log_q_z))
    return Draws(z, detached_log_prob(q_z, z), gradient_scale)


def bound_with_paths(terms: Terms, log_w: Tensor, means: PowerMeans, paths: Tensor) -> Tensor:
    """Returns `means(log_w)` with a gradient through draws of its own.

    Args:
        terms: Of draws whose gradient can be scaled.
        log_w: Log weights `[S, B]`; of their log q(z|x) the gradient is that in z alone, or none.
        means: Gives the value, and the gradient in the parameters of p(x|z) and p(z).
        paths: Factors `[S, B]` of dlog_w / dz in the gradient in the parameters of q(z|x).
    """
    weights = means.weights(log_w)
    weights = tf.stop_gradient(tf.maximum(weights, _SMALLEST_SHARE * tf.abs(paths)))
    linear = tf.reduce_sum(zeros_with_gradient(weights, log_w), axis=0)
    value = tf.stop_gradient(means(log_w))
    return terms.scale_gradient(value + linear, tf.math.divide_no_nan(paths, weights))


@tf.custom_gradient
def scalable(z: Tensor, scores: Tensor) -> tuple[tuple[Tensor, Tensor], object]:
    """Passes z on, with zeros `[2, S, B]` whose gradients say what its gradient is scaled by."""
    zeros = tf.zeros(tf.concat([[2], scores], axis=0), z.dtype)

    def backward(dz: Tensor, dscale: Tensor) -> tuple[Tensor, None]:
        scaled, unscaled = tf.unstack(dscale, num=2)
        # Without any gradient there is nothing to scale: z was read, but by no bound.
        used = unscaled != 0.0
        scale = tf.where(used, scaled / tf.where(used, unscaled, 1.0), 1.0)
        return dz * with_event(scale, [1] * (dz.shape.rank - scale.shape.rank), axes=0), None

    return (tf.identity(z), zeros), backward
