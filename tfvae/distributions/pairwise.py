"""Densities of every draw under every posterior, and of the aggregated posterior."""

from __future__ import annotations

import functools
import math
from typing import Any

import tensorflow as tf

from tfvae._shapes import with_event
from tfvae._typing import Distribution, Tensor
from tfvae.distributions.factors import as_factors
from tfvae.distributions.gaussian import as_diagonal_normal
from tfvae.distributions.squares import pairwise_squares

__all__ = [
    "aggregated_log_prob",
    "log_sum",
    "log_sums",
    "pairwise_log_prob",
    "pairwise_log_prob_exact",
    "pairwise_log_prob_fast",
    "pairwise_log_prob_of_elements",
]


@functools.singledispatch
def pairwise_log_prob(q_z: Distribution, z: Tensor) -> Tensor:
    """Returns log q(z[s, i] | x[j]) of every draw under every posterior, in nats.

    Args:
        q_z: Posteriors, batch shape `[M]`, event shape `E`.
        z: Draws `[S, B, *E]`.

    Returns:
        `[S, B, M]`.

    Example:
        >>> from tfvae.distributions import pairwise_log_prob
        >>> q_z = tfd.MultivariateNormalDiag(tf.zeros([7, 2]), tf.ones([7, 2]))
        >>> pairwise_log_prob(q_z, tf.zeros([3, 5, 2])).shape
        TensorShape([3, 5, 7])
    """
    return q_z.log_prob(tf.expand_dims(z, 2))


@functools.singledispatch
def pairwise_log_prob_fast(q_z: Distribution, z: Tensor) -> Tensor:
    """As `pairwise_log_prob`, as matrix products where `q_z` is a diagonal Gaussian.

        log q = -1/2 sum_k (z_k - c_k)**2 / s_k**2 + (z - c) . (loc - c) / s**2 - ...

    Expanding the square loses digits to cancellation: about 1e-3 nats in float32 with 40
    dimensions. Good for what is logged and trained on, not for what is reported.
    """
    found = _as_products(q_z, z, z.dtype)
    return pairwise_log_prob(q_z, z) if found is None else found


def pairwise_log_prob_exact(q_z: Distribution, z: Tensor) -> Tensor:
    """As `pairwise_log_prob_fast`, by products of float64 matrices.

    As exact as the direct form in the type of `z`, and nothing of size `[S, B, M, K]` is held where
    `q_z` is a diagonal Gaussian.

    Example:
        >>> from tfvae.distributions.pairwise import pairwise_log_prob_exact
        >>> q_z = tfd.MultivariateNormalDiag(tf.zeros([7, 2]), tf.ones([7, 2]))
        >>> pairwise_log_prob_exact(q_z, tf.zeros([3, 5, 2])).shape
        TensorShape([3, 5, 7])
    """
    found = _as_products(q_z, z, tf.float64)
    return pairwise_log_prob(q_z, z) if found is None else tf.cast(found, z.dtype)


def _as_products(q_z: Distribution, z: Tensor, dtype: Any) -> Tensor | None:
    """Returns `pairwise_log_prob` as products of matrices of a type; None where that cannot be."""
    normal = as_diagonal_normal(q_z)
    if normal is None or len(q_z.batch_shape) != 1:
        return None
    event = q_z.event_shape
    size: Any = event.num_elements()
    rows, loc, scale = (
        tf.reshape(tf.cast(part, dtype), [-1, size]) for part in (z, normal.loc, normal.scale)
    )
    squares = pairwise_squares(rows, loc, tf.math.reciprocal(tf.square(scale)))  # [S * B, M]
    constant = tf.reduce_sum(tf.math.log(scale) + 0.5 * math.log(2 * math.pi), axis=-1)
    return with_event(-0.5 * squares - constant, squares.shape[1:], axes=event.rank, like=z)


def pairwise_log_prob_of_elements(q_z: Distribution, z: Tensor) -> Tensor | None:
    """Returns log q(z_k[s, i] | x[j]) of every element of every draw under every posterior.

    Args:
        q_z: Posteriors, batch shape `[M]`, event shape `E` of K elements.
        z: Draws `[S, B, *E]`.

    Returns:
        `[S, B, M, K]`, nats; None where z is a scalar, or q(z|x) does not factorise.

    Example:
        >>> from tfvae.distributions.pairwise import pairwise_log_prob_of_elements
        >>> q_z = tfd.MultivariateNormalDiag(tf.zeros([7, 2]), tf.ones([7, 2]))
        >>> pairwise_log_prob_of_elements(q_z, tf.zeros([3, 5, 2])).shape
        TensorShape([3, 5, 7, 2])
    """
    factors = as_factors(q_z)
    if factors is None or not q_z.event_shape.rank:
        return None
    each = factors.log_prob(tf.expand_dims(z, 2))  # [S, B, M, *E]
    return with_event(each, [q_z.event_shape.num_elements()], axes=q_z.event_shape.rank)


def aggregated_log_prob(log_q: Tensor) -> Tensor:
    """Returns log q(z), q(z) the mean of M posteriors, from `[..., M]` pairwise densities.

    Reference: ELBO surgery (Hoffman and Johnson, 2016).
    """
    size = tf.cast(tf.shape(log_q)[-1], log_q.dtype)
    return tf.reduce_logsumexp(log_q, axis=-1) - tf.math.log(size)


def log_sum(log_q: Tensor, log_shares: Tensor, axis: int = -1) -> Tensor:
    """Returns log sum_j share[..., j] q_j `[...]`, from log-densities and shares `[..., M]`.

    The axis of M may be another one than the last.
    """
    return tf.reduce_logsumexp(log_q + tf.cast(log_shares, log_q.dtype), axis=axis)


def log_sums(
    q_z: Distribution, z: Tensor, log_shares: Tensor, own: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor | None]:
    """Returns the log of sums over posteriors, of the densities of draws and of their elements.

        log sum_j share[i, j] q(z[s, i] | x[j]),   log sum_j share[i, j] q(z_k[s, i] | x[j])

    Under diagonal Gaussians whose draws these are, nothing of size `[S, B, M, K]` is held, no
    square is expanded, and each exponential is taken once: sums are of the ratios to the densities
    under the posterior that a draw came from. Their expectation is one, so that one above e**88,
    which float32 does not hold, comes with a probability below e**-88; and a sum of which no ratio
    is above e**-87 has no part in a total that holds the draw's own.

    Args:
        q_z: Posteriors, batch shape `[M]`, event shape `E` of K elements.
        z: Draws `[S, B, *E]`.
        log_shares: `[B, M]` or `[1, M]`.
        own: log q of each draw `[S, B]`, and of each element `[S, B, K]`, under the posterior that
            it was drawn from; None where they are no draws.

    Returns:
        `[S, B]` and `[S, B, K]`, nats; None in place of these where q(z|x) does not factorise.

    Example:
        >>> from tfvae.distributions.pairwise import log_sums
        >>> q_z = tfd.MultivariateNormalDiag(tf.zeros([7, 2]), tf.ones([7, 2]))
        >>> total, each = log_sums(q_z, tf.zeros([3, 5, 2]), tf.zeros([1, 7]))
        >>> total.shape, each.shape
        (TensorShape([3, 5]), TensorShape([3, 5, 2]))
    """
    normal = as_diagonal_normal(q_z)
    # Of models without latents there are no elements, and nothing to loop over.
    if own is not None and normal is not None and len(normal.batch_shape) == 2 and z.shape[-1] != 0:
        return _log_sums_of_ratios(normal, z, log_shares, *own)
    each = pairwise_log_prob_of_elements(q_z, z)  # [S, B, M, K]
    if each is None:
        return log_sum(pairwise_log_prob(q_z, z), log_shares), None
    total = log_sum(tf.reduce_sum(each, axis=3), log_shares)
    return total, log_sum(each, tf.expand_dims(log_shares, -1), axis=2)


def _log_sums_of_ratios(
    normal: Distribution, z: Tensor, log_shares: Tensor, log_q: Tensor, log_q_each: Tensor
) -> tuple[Tensor, Tensor]:
    size = z.shape[-1]
    rows = tf.transpose(tf.reshape(z, [-1, size]))  # [K, S * B]
    loc, scale = tf.transpose(normal.loc), tf.transpose(normal.scale)  # [K, M]
    inverse = tf.math.reciprocal(scale)
    constant = -tf.math.log(scale) - 0.5 * math.log(2 * math.pi)
    each_own = tf.transpose(tf.reshape(log_q_each, [-1, size]))
    shares = tf.cast(log_shares, z.dtype)
    if shares.shape[0] != 1:
        shares = tf.tile(shares, tf.stack([tf.shape(z)[0], 1]))  # [S * B, M]
    number = tf.shape(rows)[1]
    found = tf.TensorArray(z.dtype, size, element_shape=rows.shape[1:])

    # One dimension at a time: what is worked on stays in the caches.
    def add(k: Tensor, joint: Tensor, found: Any) -> tuple[Any, ...]:
        log_q_k = constant[k] - 0.5 * tf.square((rows[k][:, None] - loc[k]) * inverse[k])
        ratios = tf.exp(log_q_k + shares - each_own[k][:, None])
        return k + 1, joint + log_q_k, found.write(k, tf.reduce_sum(ratios, axis=-1))

    joint = tf.zeros([number, tf.shape(loc)[1]], z.dtype)
    _, joint, found = tf.while_loop(
        lambda k, *_: k < size, add, [tf.constant(0), joint, found], parallel_iterations=1
    )
    whole = tf.reshape(log_q, [-1])
    total = tf.reduce_sum(tf.exp(joint + shares - whole[:, None]), axis=-1)
    each = tf.transpose(tf.math.log(found.stack()) + each_own)
    total = tf.math.log(total) + whole
    return tf.reshape(total, tf.shape(log_q)), tf.reshape(each, tf.shape(z))
