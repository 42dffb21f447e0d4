"""Closed forms of the Kullback-Leibler divergence, beyond those that TFP has registered."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._typing import Distribution, Tensor
from tfvae.distributions.gaussian import LowRankNormal, as_diagonal_normal, as_multivariate_normal

__all__ = ["closed_form_kl"]

tfd = tfp.distributions


def closed_form_kl(q: Distribution, p: Distribution) -> Tensor | None:
    """Returns KL(q || p) in closed form, or None where none is known.

        KL(q || p) = E_q[log q(z) - log p(z)] >= 0

    Knows every pair that TFP has registered and, beyond it, all pairs of Gaussian classes.

    Args:
        q: Batch shape `[B]`, event shape `E`.
        p: Batch shape that broadcasts with `[B]`, event shape `E`.

    Returns:
        `[B]`, nats, or None.

    Raises:
        ValueError: The event shapes differ.
    """
    if not q.event_shape.is_compatible_with(p.event_shape):
        raise ValueError(
            "A divergence needs two distributions over the same event. "
            f"Received: q with event_shape={q.event_shape}, p with event_shape={p.event_shape}"
        )
    diagonal = as_diagonal_normal(q), as_diagonal_normal(p)
    if diagonal[0] is not None and diagonal[1] is not None:
        per_dimension = tfd.kl_divergence(*diagonal)
        rank = len(q.event_shape)
        return tf.reduce_sum(per_dimension, axis=list(range(-rank, 0)))
    full = as_multivariate_normal(q), as_multivariate_normal(p)
    if full[0] is not None and full[1] is not None:
        q, p = full
        if isinstance(q, LowRankNormal) or isinstance(p, LowRankNormal):
            return _low_rank_kl(q, p)
    try:
        return tfd.kl_divergence(q, p)
    except NotImplementedError:
        return None


def _low_rank_kl(q: Distribution, p: Distribution) -> Tensor:
    """Returns KL(q || p) of Gaussians over vectors `[K]`, of which one has a low rank.

    It is half of tr(C_p^-1 C_q) + d^T C_p^-1 d - K + log det C_p - log det C_q, d = loc_q - loc_p.
    """
    shift = tf.expand_dims(q.mean() - p.mean(), -1)  # [..., K, 1]
    if isinstance(p, tfd.MultivariateNormalDiag):
        # The variances are all that is needed: no matrix [K, K] for each posterior.
        variance = tf.square(p.stddev())
        trace = tf.reduce_sum(q.variance() / variance, axis=-1)
        square = tf.reduce_sum(tf.square(shift[..., 0]) / variance, axis=-1)
    else:
        trace, square = _whitened_square(p, _root(q)), _whitened_square(p, shift)
    size = tf.cast(tf.shape(shift)[-2], shift.dtype)
    return 0.5 * (trace + square - size + _log_det(p) - _log_det(q))


def _root(normal: Distribution) -> Tensor:
    """Returns a matrix A `[..., K, M]` with A A^T the covariance."""
    if not isinstance(normal, LowRankNormal):
        return normal.scale.to_dense()
    covariance = normal.cov_operator
    diagonal = tf.linalg.diag(tf.sqrt(covariance.base_operator.diag_part()))
    parts = diagonal, covariance.u
    shape = tf.broadcast_dynamic_shape(*(tf.shape(part)[:-2] for part in parts))
    each = [tf.broadcast_to(part, tf.concat([shape, tf.shape(part)[-2:]], 0)) for part in parts]
    return tf.concat(each, axis=-1)


def _whitened_square(normal: Distribution, matrix: Tensor) -> Tensor:
    """Returns tr(A^T C^-1 A) `[...]` of matrices A `[..., K, M]`, C the covariance."""
    if isinstance(normal, LowRankNormal):
        square = matrix * normal.cov_operator.solve(matrix)
    else:
        square = tf.square(normal.scale.solve(matrix))
    return tf.reduce_sum(square, axis=[-2, -1])


def _log_det(normal: Distribution) -> Tensor:
    if isinstance(normal, LowRankNormal):
        return normal.cov_operator.log_abs_determinant()
    return 2.0 * normal.scale.log_abs_determinant()
