"""Ways from one latent to another."""

from __future__ import annotations

import tensorflow as tf

from tfvae._shapes import with_event
from tfvae._typing import Tensor
from tfvae.distributions.support import Support
from tfvae.distributions.ways import arc, line

__all__ = ["between"]


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
    """
    last = tf.cast(tf.maximum(num_steps - 1, 1), start.dtype)
    share = tf.cast(tf.range(num_steps), start.dtype) / last
    share = with_event(share, [1] * (start.shape.rank - 1), axes=0)  # [T, 1, ...]
    start, end = start[:, None], end[:, None]
    if support.norm != 2:
        return line(start, end, share)
    start, end = tf.nn.l2_normalize(start, axis=-1), tf.nn.l2_normalize(end, axis=-1)
    found, is_there = arc(start, end, share)
    return tf.where(is_there, found, start + 0.0 * share)
