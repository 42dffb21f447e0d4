"""Hamiltonian chains along a path of densities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tfvae._random import fold_in, standard_normal, standard_uniform
from tfvae._shapes import with_event
from tfvae._typing import Tensor
from tfvae.evaluation.paths import Path

__all__ = ["PILOTS", "Chains", "adapted_steps", "annealed"]

# Share of the moves that are to be accepted: where Hamiltonian moves cost least for what they
# bring (Beskos et al., 2013).
_ACCEPTED = 0.65
# Of the logarithm of a step size, per unit of acceptance.
_GAIN = 0.2
# Chains that find the step sizes, and the fewest moves that they take: enough to come from a
# first step to one that is smaller by two orders of magnitude.
PILOTS, _FEWEST_MOVES = 4, 300
# Steps of one length bring a Gaussian back to where it was after some number of them.
_SHORTEST, _LONGEST = 0.8, 1.2


class Chains(NamedTuple):
    """Which chains of which points of a batch go together, and the seed of all chains.

    What a chain draws depends on its number and on the place of its point in the batch: with which
    others it goes makes no difference but for rounding. That is why moves are not left to
    `tfp.mcmc.HamiltonianMonteCarlo`, which draws for all that go together from one seed.

    Attributes:
        numbers: Which of the chains of a point `[S]`.
        points: Which of the points of the batch `[P]`.
        seed: Int32 pair `[2]`.
    """

    numbers: Tensor
    points: Tensor
    seed: Tensor

    def draws(self, draw: Callable[[Tensor], Tensor], which: int | Tensor, dtype: Any) -> Tensor:
        """Returns a draw for each chain of each point, `[S, P, ...]`.

        Args:
            draw: From a seed to one draw for each point of the batch `[B, ...]`.
            which: Number of the draw: others are other numbers.
            dtype: Type of the draws.
        """
        seed = fold_in(self.seed, which)

        def of_one(number: Tensor) -> Tensor:
            return tf.gather(draw(fold_in(seed, number)), self.points)

        return tf.map_fn(of_one, self.numbers, fn_output_signature=dtype)

    def at_start(self, path: Path) -> Tensor:
        """Returns where chains begin, draws of the start of a path `[S, P, *E]`."""
        z = self.draws(path.draw, 0, path.start.dtype)
        shape = [*self.numbers.shape, *self.points.shape, *path.start.event_shape]
        return tf.ensure_shape(z, shape)


class _Moved(NamedTuple):
    z: Tensor  # [S, P, *E]
    acceptance: Tensor  # [S, P], probabilities


def adapted_steps(path: Path, chains: Chains, betas: Tensor, num_leapfrog_steps: int) -> Tensor:
    """Returns sizes of leapfrog steps for each temperature and point, `[T, P]`.

    A few chains go along the path, and lengthen a step where they accept more than 0.65 of their
    moves. What they find is a constant for all other chains, whose weights stay unbiased.

    Args:
        path: The densities.
        chains: Which go, by a seed of their own.
        betas: Temperatures from 0 to 1 `[T + 1]`.
        num_leapfrog_steps: Leapfrog steps of a move.
    """
    number = tf.shape(betas)[0] - 1
    moves = tf.maximum(1, _FEWEST_MOVES // number)
    z = chains.at_start(path)
    log_step = tf.zeros_like(chains.points, z.dtype)
    found = tf.TensorArray(z.dtype, number, element_shape=log_step.shape).write(0, log_step)

    def try_once(i: Tensor, z: Tensor, log_step: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        move = _Move(path, chains, num_leapfrog_steps, t * moves + i)
        moved = move.of(z, betas[t], tf.exp(log_step))
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
    chains: Chains,
    z: Tensor,
    betas: Tensor,
    steps: Tensor,
    num_leapfrog_steps: int,
    *,
    backwards: bool = False,
) -> tuple[Tensor, Tensor]:
    """Takes chains along a path, and weighs them.

        log w = sum_t (beta_t - beta_(t-1)) log_ratio(z_(t-1)),   z_t ~ moves that keep f_(beta_t)

    From draws of the start E[w] = p(x); backwards, from draws of p(z|x), E[1 / w] = 1 / p(x).

    Args:
        path: The densities.
        chains: Which go.
        z: Draws of the first density `[S, P, *E]`.
        betas: Temperatures from 0 to 1 `[T + 1]`.
        steps: Sizes of leapfrog steps `[T, P]`, of which the first are not used.
        num_leapfrog_steps: Leapfrog steps of a move.
        backwards: From p(x, z) to the start.

    Returns:
        log_w: `[S, P]`, nats.
        acceptance: Mean probability that a move is accepted `[S, P]`; NaN where none is made.
    """
    if backwards:
        betas = tf.reverse(betas, [0])
        steps = tf.concat([steps[:1], tf.reverse(steps[1:], [0])], axis=0)
    number = tf.shape(betas)[0] - 1
    shares = tf.abs(betas[1:] - betas[:-1])

    def advance(t: Tensor, z: Tensor, log_w: Tensor, accepted: Tensor) -> tuple[Tensor, ...]:
        moved = _Move(path, chains, num_leapfrog_steps, t).of(z, betas[t], steps[t])
        log_w += shares[t] * path.log_ratio(moved.z)
        return t + 1, moved.z, log_w, accepted + moved.acceptance

    log_w = shares[0] * path.log_ratio(z)
    _, _, log_w, accepted = tf.while_loop(
        lambda t, *_: t < number,
        advance,
        [tf.constant(1), z, log_w, tf.zeros_like(log_w)],
        parallel_iterations=1,
    )
    return log_w, accepted / tf.cast(number - 1, accepted.dtype)


class _Move(NamedTuple):
    """A Hamiltonian move of chains: leapfrog steps from a momentum drawn anew, taken or not.

    Attributes:
        path: The densities.
        chains: Which move.
        num_leapfrog_steps: Leapfrog steps.
        which: Number of the move, from 1 on.
    """

    path: Path
    chains: Chains
    num_leapfrog_steps: int
    which: Tensor

    def of(self, z: Tensor, beta: Tensor, step: Tensor) -> _Moved:
        """Returns where chains come to that are at z `[S, P, *E]`, and how surely.

        The move keeps f_beta. Steps are of about the size `step` `[P]`.
        """
        length, chance = tf.unstack(self._uniforms(z.dtype), axis=-1)
        sizes = step * (_SHORTEST + (_LONGEST - _SHORTEST) * length)
        momentum = tf.ensure_shape(self._momenta(z.dtype), z.shape)
        before, slope = self.path.value_and_slope(z, beta)
        there, last, after = self._proposed(
            z, momentum, slope, beta, with_event(sizes, [1] * (z.shape.rank - 2), axes=0)
        )
        ratio = after - before - _energy(last) + _energy(momentum)
        # A move to where there is no density, or none that is a number, is not taken.
        acceptance = tf.where(
            tf.math.is_nan(ratio), tf.zeros_like(ratio), tf.exp(tf.minimum(ratio, 0.0))
        )
        taken = with_event(chance < acceptance, [1] * (z.shape.rank - 2), axes=0)
        return _Moved(tf.where(taken, there, z), acceptance)

    def _proposed(
        self, z: Tensor, momentum: Tensor, slope: Tensor, beta: Tensor, size: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns z and momentum after all steps, and log f_beta there."""

        def leap(i: Tensor, z: Tensor, momentum: Tensor, slope: Tensor, *_: Any) -> tuple[Any, ...]:
            momentum += 0.5 * size * slope
            z += size * momentum
            value, slope = self.path.value_and_slope(z, beta)
            return i + 1, z, momentum + 0.5 * size * slope, slope, value

        _, z, momentum, _, value = tf.while_loop(
            lambda i, *_: i < self.num_leapfrog_steps,
            leap,
            [tf.constant(0), z, momentum, slope, tf.zeros(z.shape[:2], z.dtype)],
            parallel_iterations=1,
        )
        return z, momentum, value

    def _momenta(self, dtype: Any) -> Tensor:
        shape = [self.path.num_points, *self.path.start.event_shape]

        def normal(seed: Tensor) -> Tensor:
            return standard_normal(shape, seed, dtype)

        return self.chains.draws(normal, 2 * self.which, dtype)

    def _uniforms(self, dtype: Any) -> Tensor:
        """Returns two numbers between 0 and 1 for each chain, `[S, P, 2]`."""

        def uniform(seed: Tensor) -> Tensor:
            shape = [self.path.num_points, 2]
            return standard_uniform(shape, seed, dtype)

        found = self.chains.draws(uniform, 2 * self.which + 1, dtype)
        return tf.ensure_shape(found, [*self.chains.numbers.shape, *self.chains.points.shape, 2])


def _energy(momentum: Tensor) -> Tensor:
    """Returns what makes momenta `[S, P, *E]` improbable, `[S, P]`, nats."""
    return 0.5 * tf.reduce_sum(tf.square(momentum), axis=list(range(2, momentum.shape.rank)))
