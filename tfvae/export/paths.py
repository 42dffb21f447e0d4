"""Ways from one latent to another."""

from __future__ import annotations

import tensorflow as tf

from tfvae._shapes import with_event
from tfvae._typing import Tensor
from tfvae.distributions.support import Support

__all__ = ["between"]

# Below it the two ends are one direction, or opposite ones: the sine that is divided by is zero.
_SMALLEST_SINE = 1e-4


def between(start: Tensor, end: Tensor, num_steps: Tensor, support: Support) -> Tensor:
    """Returns the way from `start` to `end` in equal steps, both included, `[B, T, *E]`.

    A straight line, which stays within the simplex too; of directions the great circle, from and
    to vectors of length one. Between opposite directions, and of one step, it is the start.

    Args:
        start: `[B, *E]`.
        end: The same.
        num_steps: T, an int or an integer scalar.
        support: That of the latents.

    Example:
        >>> from tfvae.distributions import Support
        >>> from tfvae.export.paths import between
        >>> between(tf.zeros([1, 2]), tf.ones([1, 2]), 3, Support("Normal"))[0, :, 0].numpy()
        array([0. , 0.5, 1. ], dtype=float32)

    Reference: Animating rotation with quaternion curves (Shoemake, 1985),
    https://doi.org/10.1145/325334.325242
    """
    last = tf.cast(tf.maximum(num_steps - 1, 1), start.dtype)
    share = tf.cast(tf.range(num_steps), start.dtype) / last
    share = with_event(share, [1] * (start.shape.rank - 1), axes=0)  # [T, 1, ...]
    start, end = start[:, None], end[:, None]
    if support.norm != 2:
        return (1.0 - share) * start + share * end
    start, end = tf.nn.l2_normalize(start, axis=-1), tf.nn.l2_normalize(end, axis=-1)
    cosine = tf.reduce_sum(start * end, axis=-1, keepdims=True)
    across = end - cosine * start
    sine = tf.norm(across, axis=-1, keepdims=True)
    angle = tf.atan2(sine, cosine)
    apart = sine > _SMALLEST_SINE
    away = across / tf.where(apart, sine, 1.0)
    found = tf.cos(share * angle) * start + tf.sin(share * angle) * away
    return tf.where(apart, found, start + 0.0 * share)
