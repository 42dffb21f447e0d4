"""Points between two others: on lines, and on arcs."""

from __future__ import annotations

import tensorflow as tf

from tfvae._typing import Tensor

__all__ = ["arc", "line"]

# Below this sine of the angle between two ends there is no arc, or no one arc.
_NO_ARC = 1e-4


def line(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """Returns (1 - t) start + t end, `[..., K]`.

    Args:
        start: `[..., K]`.
        end: The same.
        share: How far along, t, 0 at `start` and 1 at `end`, of a shape to go with theirs.

    Example:
        >>> from tfvae.distributions.ways import line
        >>> line(tf.zeros([2]), tf.ones([2]), tf.constant(0.25)).numpy()
        array([0.25, 0.25], dtype=float32)
    """
    return (1.0 - share) * start + share * end


def arc(start: Tensor, end: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Returns points `[..., K]` on the arc from `start` to `end`, and where it is one `[..., 1]`.

        z_t = |z|_t (sin((1 - t) w) u_0 + sin(t w) u_1) / sin(w)
            = |z|_t (cos(t w) u_0 + sin(t w) (u_1 - cos(w) u_0) / sin(w))
        |z|_t = (1 - t) |z_0| + t |z_1|,   u = z / |z|,   cos(w) = u_0 u_1

    Of ends of one length this is the arc of the paper. That of the paper between others leaves the
    shell between their lengths, the farther the more they point opposite ways.

    Where the ends point the same way or opposite ways, or one of them is zero, there is no one arc.

    Args:
        start: `[..., K]`.
        end: The same.
        share: See `line`.

    Example:
        >>> from tfvae.distributions.ways import arc
        >>> half, found = arc(tf.constant([2.0, 0.0]), tf.constant([0.0, 2.0]), tf.constant(0.5))
        >>> half.numpy().round(3), bool(found[0])
        (array([1.414, 1.414], dtype=float32), True)

    Reference: Animating rotation with quaternion curves (Shoemake, 1985),
    https://doi.org/10.1145/325334.325242
    """
    ends = tf.nn.l2_normalize(start, axis=-1), tf.nn.l2_normalize(end, axis=-1)
    cosine = tf.reduce_sum(ends[0] * ends[1], axis=-1, keepdims=True)
    sine = tf.norm(ends[1] - cosine * ends[0], axis=-1, keepdims=True)
    angle = tf.atan2(sine, cosine)
    is_there = (sine > _NO_ARC) & (tf.reduce_any(start != 0.0, axis=-1, keepdims=True))
    across = (ends[1] - cosine * ends[0]) / tf.where(is_there, sine, 1.0)
    lengths = [tf.norm(point, axis=-1, keepdims=True) for point in (start, end)]
    way = tf.cos(share * angle) * ends[0] + tf.sin(share * angle) * across
    return line(lengths[0], lengths[1], share) * way, is_there
