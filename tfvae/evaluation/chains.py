"""Hamiltonian chains along a path of densities."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._random import fold_in
from tfvae._shapes import with_event
from tfvae._typing import Tensor
from tfvae.evaluation.paths import Path

__all__ = ["adapted_steps", "annealed"]

# Share of the moves that are to be accepted: where Hamiltonian moves cost least for what they
# bring (Beskos et al., 2013).
_ACCEPTED = 0.65
# Of the logarithm of a step size, per unit of acceptance.
_GAIN = 0.2
# Chains that find the step sizes, and the fewest moves that they take: enough to come from a
# first step to one that is smaller by two orders of magnitude.
_PILOTS, _FEWEST_MOVES = 4, 300
# Steps of one length bring a Gaussian back to where it was after some number of them.
_SHORTEST, _LONGEST = 0.8, 1.2


class _Moved(NamedTuple):
    z: Tensor  # [S, B, *E]
    acceptance: Tensor  # [S, B], probabilities


def adapted_steps(path: Path, betas: Tensor, num_leapfrog_steps: int, seed: Tensor) -> Tensor:
    """Returns sizes of leapfrog steps for each temperature and point, `[T, B]`.

    A few chains go along the path, and lengthen a step where they accept more than 0.65 of their
    moves. What they find is a constant for all other chains, whose weights stay unbiased.

    Args:
        path: The densities.
        betas: Temperatures from 0 to 1 `[T + 1]`.
        num_leapfrog_steps: Leapfrog steps of a move.
        seed: Int32 pair `[2]`.
    """
    number = tf.shape(betas)[0] - 1
    moves = tf.maximum(1, _FEWEST_MOVES // number)
    z = path.draw(_PILOTS, fold_in(seed, 0))
    log_step = tf.zeros([path.num_points], z.dtype)
    found = tf.TensorArray(z.dtype, number, element_shape=log_step.shape).write(0, log_step)

    def try_once(i: Tensor, z: Tensor, log_step: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        own = fold_in(seed, 1 + t * moves + i)
        moved = _moved(path, z, betas[t], tf.exp(log_step), num_leapfrog_steps, own)
        surplus = tf.reduce_mean(moved.acceptance, axis=0) - _ACCEPTED
        return i + 1, moved.z, log_step + _GAIN * surplus, t

    def adapt(t: Tensor, z: Tensor, log_step: Tensor, found: Any) -> tuple[Any, ...]:
        _, z, log_step, _ = tf.while_loop(
            lambda i, *_: i < moves,
            try_once,
            [tf.constant(0), z, log_step, t],
            parallel_iterations=1,
        )
        return t + 1, z, log_step, found.write(t, log_step)

    *_, found = tf.while_loop(
        lambda t, *_: t < number,
        adapt,
        [tf.constant(1), z, log_step, found],
        parallel_iterations=1,
    )
    return tf.exp(found.stack())


def annealed(
    path: Path,
    z: Tensor,
    betas: Tensor,
    steps: Tensor,
    num_leapfrog_steps: int,
    seed: Tensor,
    *,
    backwards: bool = False,
) -> tuple[Tensor, Tensor]:
    """Takes chains along a path, and weighs them.

        log w = sum_t (beta_t - beta_(t-1)) log_ratio(z_(t-1)),   z_t ~ moves that keep f_(beta_t)

    From draws of the start E[w] = p(x); backwards, from draws of p(z|x), E[1 / w] = 1 / p(x).

    Args:
        path: The densities.
        z: Draws of the first density `[S, B, *E]`.
        betas: Temperatures from 0 to 1 `[T + 1]`.
        steps: Sizes of leapfrog steps `[T, B]`, of which the first are not used.
        num_leapfrog_steps: Leapfrog steps of a move.
        seed: Int32 pair `[2]`.
        backwards: From p(x, z) to the start.

    Returns:
        log_w: `[S, B]`, nats.
        acceptance: Mean probability that a move is accepted `[B]`; NaN where none is made.
    """
    if backwards:
        betas = tf.reverse(betas, [0])
        steps = tf.concat([steps[:1], tf.reverse(steps[1:], [0])], axis=0)
    number = tf.shape(betas)[0] - 1
    shares = tf.abs(betas[1:] - betas[:-1])

    def advance(t: Tensor, z: Tensor, log_w: Tensor, accepted: Tensor) -> tuple[Tensor, ...]:
        moved = _moved(path, z, betas[t], steps[t], num_leapfrog_steps, fold_in(seed, t))
        log_w += shares[t] * path.log_ratio(moved.z)
        return t + 1, moved.z, log_w, accepted + tf.reduce_mean(moved.acceptance, axis=0)

    log_w = shares[0] * path.log_ratio(z)
    accepted = tf.zeros_like(steps[0])
    _, _, log_w, accepted = tf.while_loop(
        lambda t, *_: t < number,
        advance,
        [tf.constant(1), z, log_w, accepted],
        parallel_iterations=1,
    )
    return log_w, accepted / tf.cast(number - 1, accepted.dtype)


def _moved(
    path: Path, z: Tensor, beta: Tensor, step: Tensor, num_leapfrog_steps: int, seed: Tensor
) -> _Moved:
    """Takes one Hamiltonian move that keeps f_beta, with steps of about `step` `[B]`."""
    leading = z.shape.rank - (path.start.event_shape.rank or 0)
    rows = tf.shape(z)[:leading]
    varied = step * tf.random.stateless_uniform(
        rows, fold_in(seed, 0), _SHORTEST, _LONGEST, step.dtype, alg="philox"
    )
    kernel = tfp.mcmc.HamiltonianMonteCarlo(
        lambda z: path.log_density(z, beta),
        step_size=with_event(varied, [1] * (z.shape.rank - leading), axes=0),
        num_leapfrog_steps=num_leapfrog_steps,
    )
    moved, results = kernel.one_step(z, kernel.bootstrap_results(z), seed=fold_in(seed, 1))
    ratio: Any = results.log_accept_ratio
    # A move to where there is no density, or none that is a number, is not taken.
    acceptance = tf.where(tf.math.is_nan(ratio), 0.0, tf.exp(tf.minimum(ratio, 0.0)))
    return _Moved(tf.ensure_shape(moved, z.shape), acceptance)
