"""Importance-sampled evidence in bounded memory."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import tensorflow as tf

from tfvae._protocols import Scored
from tfvae._random import fold_in
from tfvae._typing import Distribution, Tensor

__all__ = [
    "Course",
    "Evidence",
    "Sums",
    "evidence_of",
    "importance_evidence",
    "known_evidence",
    "no_draws",
    "rescaled",
    "summary_of_weights",
    "weights",
    "with_draws",
    "with_weights",
]

# Powers of two that an int32 holds.
_NUM_EARLY = 31


class Course(NamedTuple):
    """How an estimate came about: what tells whether it can be trusted.

    Attributes:
        largest: The largest log weights `[B, K]`, nats, descending, minus infinity where there are
            fewer draws.
        early: Log of the mean weight of the first 1, 2, 4, ... blocks of draws `[31, B]`, nats; of
            no meaning where there are not as many whole ones.
    """

    largest: Tensor
    early: Tensor


class Evidence(NamedTuple):
    """Estimates of log p(x) for a batch.

    Attributes:
        log_p_x: log p(x) `[B]`, nats: a lower bound in expectation, or exact where the model
            knows it; then the standard error is zero and `ess` the number of draws.
        standard_error: Of `log_p_x` `[B]`, nats: log(m / (m - s)) for weights of mean m with
            standard error s. To first order s / m, the delta method, which saturates at one nat
            where one draw carries all; this grows beyond all bounds there. NaN for one draw.
        ess: Effective sample size `[B]`, from 1 to the number of draws.
        elbo: Mean over the draws of log p(x, z) - log q(z|x) `[B]`, nats.
        course: How it came about, where that was asked for.
        is_known: Whether nothing was estimated.
    """

    log_p_x: Tensor
    standard_error: Tensor
    ess: Tensor
    elbo: Tensor
    course: Course | None = None
    is_known: bool = False


class Sums(NamedTuple):
    """Sums over the draws so far, from which an estimate follows, and more draws go on.

    Attributes:
        blocks: How many blocks of draws there are in it, a scalar.
        peak: Logarithm of the largest weight `[B]`, nats; the other sums are of weights over it.
        total: Sum of the weights `[B]`.
        squares: Sum of their squares `[B]`.
        logs: Sum of log p(x, z) - log q(z|x) `[B]`, nats.
        course: How it came about; empty where that is not followed.
    """

    blocks: Tensor
    peak: Tensor
    total: Tensor
    squares: Tensor
    logs: Tensor
    course: Course | tuple[()] = ()


def importance_evidence(
    model: Scored,
    batch: dict[str, Tensor],
    num_samples: int | Tensor,
    seed: Tensor,
    block: int,
    posterior: Distribution | None = None,
    num_largest: int | None = None,
) -> Evidence:
    """Estimates log p(x) by importance sampling from the posterior, `block` draws at a time.

        log p(x) ~ log (1/S) sum_s w_s,   w_s = p(x, z_s) / q(z_s|x)

    Encoder and prior are evaluated once; memory depends on `block` and not on `num_samples`.

    Args:
        model: Any latent variable model.
        batch: `x` `[B, ...]`, and `context` for a model with one.
        num_samples: S, an int or an integer scalar.
        seed: Int32 pair `[2]`.
        block: Draws per pass; surplus draws of the last pass are left out.
        posterior: q(z|x) to draw from, in place of the encoder's.
        num_largest: How many of the largest log weights the course of the estimate is to hold, K;
            None notes no course.

    Returns:
        `Evidence`.

    Reference: Importance Weighted Autoencoders (Burda et al., 2016),
    https://arxiv.org/abs/1509.00519
    """
    num_samples = tf.cast(num_samples, tf.int32)
    exact = known_evidence(model, batch, num_samples, seed, posterior, num_largest)
    if exact is not None:
        return exact
    proposal = model.encode(**batch) if posterior is None else posterior
    sums = no_draws(tf.shape(batch["x"])[0], proposal.dtype, num_largest)
    blocks = (num_samples + block - 1) // block
    sums = with_draws(model, batch, sums, blocks, num_samples, seed, block, proposal)
    return evidence_of(sums, num_samples)


def no_draws(num_points: int | Tensor, dtype: Any, num_largest: int | None = None) -> Sums:
    """Returns sums over no draws.

    Args:
        num_points: B.
        dtype: Type of the weights.
        num_largest: See `importance_evidence`.
    """
    zeros = tf.zeros([num_points], dtype)
    course = () if num_largest is None else _unfollowed(zeros, num_largest)
    return Sums(tf.constant(0), zeros - float("inf"), zeros, zeros, zeros, course)


def with_draws(
    model: Scored,
    batch: dict[str, Tensor],
    sums: Sums,
    until: Tensor,
    num_samples: Tensor,
    seed: Tensor,
    block: int,
    proposal: Distribution,
) -> Sums:
    """Returns sums with further blocks of draws: the same numbers, in how many calls they come.

    Args:
        model: Any latent variable model.
        batch: `x` `[B, ...]`, and `context` for a model with one.
        sums: Those of the blocks before.
        until: How many blocks there are to be in it, no more than hold S draws.
        num_samples: S, an int32 scalar: what of the last block goes beyond is left out.
        seed: Int32 pair `[2]`, the same for all blocks.
        block: Draws per block.
        proposal: q(z|x) to draw from.
    """
    prior = model.prior_of(batch)

    def add_block(sums: Sums, recent: Any) -> tuple[Sums, Any]:
        terms = model.terms(
            num_samples=block,
            seed=fold_in(seed, sums.blocks),
            posterior=proposal,
            prior=prior,
            **batch,
        )
        valid = sums.blocks * block + tf.range(block) < num_samples  # [S]
        drawn, mean_log_w = weights(terms, block)
        log_w = tf.where(valid[:, None], drawn, -float("inf"))
        logs = tf.reduce_sum(tf.where(valid[:, None], mean_log_w, 0.0), axis=0)
        return _noted(with_weights(sums, log_w, logs), recent, log_w)

    found, recent = tf.while_loop(
        lambda sums, _: sums.blocks < until,
        add_block,
        [sums, _none_recent(sums, block)],
        parallel_iterations=1,
    )
    return _with_largest(found, recent)


def with_weights(sums: Sums, log_w: Tensor, logs: Tensor) -> Sums:
    """Returns sums with one more block, but for the largest weights of their course.

    Args:
        sums: Those of the blocks before.
        log_w: Log weights of the block `[S, B]`, nats: minus infinity for what is left out of it.
        logs: Sum over the block of log p(x, z) - log q(z|x) `[B]`, nats.
    """
    peak, kept, w = rescaled(sums.peak, log_w)
    total = sums.total * kept + tf.reduce_sum(w, axis=0)
    squares = sums.squares * tf.square(kept) + tf.reduce_sum(tf.square(w), axis=0)
    course, blocks = sums.course, sums.blocks + 1
    if course:
        drawn = tf.cast(blocks * tf.shape(log_w)[0], total.dtype)
        now = tf.equal(tf.bitwise.left_shift(1, tf.range(_NUM_EARLY)), blocks)[:, None]
        early = tf.where(now, peak + tf.math.log(total / drawn), course.early)
        course = course._replace(early=early)
    return Sums(blocks, peak, total, squares, sums.logs + logs, course)


def evidence_of(sums: Sums, num_samples: Tensor) -> Evidence:
    """Returns the estimate by the sums over all S draws."""
    count = tf.cast(num_samples, sums.total.dtype)
    log_p_x, error, ess = _summary(sums.peak, sums.total, sums.squares, count)
    return Evidence(log_p_x, error, ess, sums.logs / count, sums.course or None)


def known_evidence(
    model: Scored,
    batch: dict[str, Tensor],
    num_samples: Tensor,
    seed: Tensor,
    posterior: Distribution | None = None,
    num_largest: int | None = None,
) -> Evidence | None:
    """Returns a sum over all states, as if each draw had found it; None where there is no such sum.

    Arguments are those of `importance_evidence`.
    """
    exact = model.exact_log_p_x(**batch)
    if exact is None:
        return None
    elbo = model.terms(num_samples=1, seed=seed, posterior=posterior, **batch).elbo
    ess = tf.fill(tf.shape(exact), tf.cast(num_samples, exact.dtype))
    course = None
    if num_largest is not None:
        early = tf.repeat(exact[None], _NUM_EARLY, axis=0)
        course = Course(tf.repeat(exact[:, None], num_largest, axis=1), early)
    return Evidence(exact, tf.zeros_like(exact), ess, elbo, course, is_known=True)


def weights(terms: Any, block: int | Tensor) -> tuple[Tensor, Tensor]:
    """Returns, of each of `block` draws, its log weight and its share in the ELBO, `[S, B]`."""
    log_w = terms.log_w
    if terms.log_weights is None:
        return log_w, log_w
    # Of each draw all states of what has few: together they are one draw of the rest.
    shape = [-1, block, tf.shape(log_w)[1]]
    log_block = tf.math.log(tf.cast(block, log_w.dtype))
    log_p = tf.reshape(terms.log_p_x + terms.log_p_z, shape)
    log_measure = tf.reshape(terms.log_measure, shape) + log_block
    log_weights = tf.reshape(terms.log_weights, shape) + log_block
    # Where q gives a state nothing, it has no part in the mean, whatever its weight.
    each = tf.math.multiply_no_nan(tf.reshape(log_w, shape), tf.exp(log_weights))
    return tf.reduce_logsumexp(log_p + log_measure, axis=0), tf.reduce_sum(each, axis=0)


def _unfollowed(zeros: Tensor, num_largest: int) -> Course:
    """Returns the course of an estimate from no draws for points `[B]`."""
    largest = tf.repeat(zeros[:, None] - float("inf"), num_largest, axis=1)
    return Course(largest, tf.repeat(zeros[None], _NUM_EARLY, axis=0))


def _none_recent(sums: Sums, block: int) -> Tensor | tuple[()]:
    """Returns places for the log weights `[M, S, B]` of some blocks of S draws.

    To find the largest of few weights takes nearly as long as of many: they wait here until there
    are as many as are kept. Of small blocks that would take longer than the weights themselves.
    """
    if not sums.course:
        return ()
    known = sums.course.largest
    places = [-(-known.shape[1] // block), block, tf.shape(known)[0]]
    return tf.fill(places, tf.constant(-math.inf, known.dtype))


def _noted(sums: Sums, recent: Any, log_w: Tensor) -> tuple[Sums, Any]:
    """Returns sums with a block in them, whose log weights `[S, B]` are noted among the recent."""
    course = sums.course
    if not isinstance(course, Course):
        return sums, recent
    place = (sums.blocks - 1) % recent.shape[0]
    own = tf.equal(tf.range(recent.shape[0]), place)[:, None, None]
    noted = tf.ensure_shape(tf.where(own, log_w, recent), recent.shape)

    def emptied() -> tuple[Tensor, Tensor]:
        return _merged(course.largest, noted), tf.fill(tf.shape(noted), none)

    none = tf.constant(-math.inf, noted.dtype)
    largest, noted = tf.cond(
        tf.equal(place, recent.shape[0] - 1), emptied, lambda: (course.largest, noted)
    )
    noted = tf.ensure_shape(noted, recent.shape)
    return sums._replace(course=course._replace(largest=largest)), noted


def _with_largest(sums: Sums, recent: Any) -> Sums:
    """Returns sums with the recent log weights `[M, S, B]` among the largest of their course."""
    if not sums.course:
        return sums
    largest = _merged(sums.course.largest, recent)
    return sums._replace(course=sums.course._replace(largest=largest))


def _merged(known: Tensor, recent: Tensor) -> Tensor:
    """Returns the largest of known ones `[B, L]` and recent ones `[M, S, B]`, as many as known."""
    flat = tf.reshape(recent, [-1, tf.shape(known)[0]])
    largest = tf.math.top_k(tf.concat([known, tf.transpose(flat)], axis=1), known.shape[1]).values
    return tf.ensure_shape(largest, known.shape)


def _summary(
    peak: Tensor, total: Tensor, squares: Tensor, count: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the log of a mean weight, its standard error and the effective sample size, `[B]`.

    Args:
        peak: A log weight `[B]`, nats, in units of which the sums are.
        total: Sum of the weights `[B]`.
        squares: Sum of their squares `[B]`.
        count: How many there are, S.
    """
    ess = tf.math.divide_no_nan(tf.square(total), squares)
    return peak + tf.math.log(total / count), _standard_error(count, ess), ess


def _standard_error(count: Tensor, ess: Tensor) -> Tensor:
    """Returns that of the log of a mean weight, `[B]`, nats.

    With S weights of mean m and sample variance v, S / ess - 1 = (S - 1) / S * v / m**2, so that
    the relative standard error of the mean is

        r = sqrt(v / S) / m = sqrt((S / ess - 1) / (S - 1)) <= 1

    and one standard error below the mean lies log(m / (m - r m)) = -log(1 - r) below log m: for two
    weights, at the smaller one. One weight says nothing of its error, and weights of zero tell that
    all of p(x) lies where none was drawn.
    """
    excess = tf.maximum(tf.math.divide_no_nan(count, ess) - 1.0, 0.0)
    relative = tf.sqrt(tf.math.divide_no_nan(excess, count - 1.0))
    error = -tf.math.log1p(-tf.minimum(relative, 1.0))
    error = tf.where(ess > 0.0, error, float("inf"))
    return tf.where(count > 1.0, error, float("nan"))


def rescaled(peak: Tensor, log_w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Brings new weights to one scale with sums of those before, neither of which overflows.

    Args:
        peak: Greatest log weight so far `[B]`, minus infinity where there is none.
        log_w: Log weights of new draws `[S, B]`.

    Returns:
        peak: Greatest log weight of all `[B]`.
        kept: What sums of the weights so far are to be multiplied by `[B]`.
        w: The new weights on the same scale `[S, B]`.
    """
    new_peak = tf.maximum(peak, tf.reduce_max(log_w, axis=0))
    # Where no weight is above zero yet there is nothing to rescale.
    shift = tf.where(tf.math.is_finite(new_peak), new_peak, tf.zeros_like(new_peak))
    return new_peak, tf.exp(peak - shift), tf.exp(log_w - shift)


def summary_of_weights(log_w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the log of a mean weight, its standard error and the effective sample size, `[B]`.

    As `Evidence` has them.

    Args:
        log_w: Log weights `[S, B]`, nats.
    """
    num_samples, num_points = tf.unstack(tf.shape(log_w))
    none = tf.fill([num_points], tf.constant(-math.inf, log_w.dtype))
    peak, _, w = rescaled(none, log_w)
    squares = tf.reduce_sum(tf.square(w), axis=0)
    return _summary(peak, tf.reduce_sum(w, axis=0), squares, tf.cast(num_samples, w.dtype))
