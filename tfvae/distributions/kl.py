"""Closed forms of the Kullback-Leibler divergence, beyond those that TFP has registered."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._typing import Distribution, Tensor
from tfvae.distributions.gaussian import as_diagonal_normal, as_multivariate_normal

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
    try:
        return tfd.kl_divergence(q, p)
    except NotImplementedError:
        return None
