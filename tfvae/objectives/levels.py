"""Draws of latents of several levels, with the gradients that an objective wants of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._typing import Distribution, Tensor
from tfvae.distributions.hierarchy import Hierarchy
from tfvae.distributions.level_rates import LevelRates
from tfvae.distributions.levels import LevelDraws
from tfvae.objectives.draws import plain_draws, scalable, zeros_with_gradient
from tfvae.objectives.gradients import DEFAULT_GRADIENT, GradientEstimator
from tfvae.terms import Draws

if TYPE_CHECKING:
    from tfvae.objectives.base import Objective

__all__ = ["draw_levels", "rates_have_gradients"]

tfd = tfp.distributions


def draw_levels(
    q_z: Hierarchy,
    num_samples: int,
    seed: Tensor,
    objective: Objective | None = None,
    max_states: int = 0,
) -> LevelDraws:
    """Returns draws of all levels that carry gradients as an objective wants them.

    Most objectives draw each level as they draw the only one, by `Objective.draw`. Those that
    follow paths alone, or scale them, act on all levels together where these depend on each other:

        z_1 = f(noise_1, phi),   z_2 = f(noise_2, z_1, phi),   log q = log q(z_1) + log q(z_2|z_1)

    In the gradient along paths, d log q / dz * dz / dphi, log q(z_2|z_1) has a slope in z_1 as well
    as in z_2: constant are the parameters phi, and not what the network makes of z_1. And a path
    from phi by way of z_1 to z_2 is one, that is scaled once: where the scores read the draws, and
    not where z_1 makes z_2.

    Args:
        q_z: Posterior, batch shape `[B]`.
        num_samples: S.
        seed: Int32 pair `[2]`.
        objective: What the draws are for; None for evaluations.
        max_states: See `Hierarchy.draw`.

    Raises:
        ValueError: The objective cannot do with draws of this posterior.
    """
    if objective is None:
        return q_z.draw(num_samples, seed, plain_draws, max_states=max_states)
    gradient = objective.gradient or DEFAULT_GRADIENT
    together = gradient.follows_paths or objective.scales_draws
    if q_z.factorises or not together:
        return q_z.draw(num_samples, seed, objective.draw, max_states=max_states)

    def draw(distribution: Distribution, num_samples: int, seed: Tensor) -> Draws:
        gradient.check(distribution)
        return plain_draws(distribution, num_samples, seed)

    draws = q_z.draw(num_samples, seed, draw, slopes=gradient.follows_paths)
    if objective.scales_draws:
        draws = _scaled(draws)
    return _on_paths(draws) if gradient.follows_paths else draws


def rates_have_gradients(
    scores: LevelRates, draws: LevelDraws, objective: Objective | None
) -> bool:
    """Whether the gradient of the rates, means of closed forms over draws, has all its terms.

    The mean over draws of z_2 of KL(q(z_1|x) || p(z_1|z_2)) has a gradient in the parameters of
    q(z_2|x) too: by way of the draws, where they carry one, and lost where they are constants.
    """
    gradient = None if objective is None else objective.gradient
    gradient = gradient or DEFAULT_GRADIENT
    read = [draws.conditionals[name].distribution for name in scores.read - {*draws.summed}]
    return not read or (gradient.follows_draws and all(_carries(gradient, q) for q in read))


def _carries(gradient: GradientEstimator, distribution: Distribution) -> bool:
    kinds = tf.nest.flatten(distribution.reparameterization_type)
    # The draws of those that need closed forms carry a gradient of their own making.
    return gradient.needs_closed_rate or all(kind == tfd.FULLY_REPARAMETERIZED for kind in kinds)


def _scaled(draws: LevelDraws) -> LevelDraws:
    """Returns draws of which one bound can scale the gradient."""
    values, zeros = {}, []
    for name, z in draws.values.items():
        values[name], found = scalable(z, tf.shape(draws.log_probs[name]))
        zeros.append(found)
    return draws._replace(values=values, extra=tf.add_n(zeros))


def _on_paths(draws: LevelDraws) -> LevelDraws:
    """Returns log-densities whose sum has the gradient in the draws alone."""
    log_probs = {}
    for name, log_prob in draws.log_probs.items():
        z, slopes = draws.values[name], draws.slopes or {}
        own = zeros_with_gradient(slopes[name], z)
        axes = list(range(log_prob.shape.rank, z.shape.rank))
        log_probs[name] = tf.stop_gradient(log_prob) + tf.reduce_sum(own, axis=axes)
    return draws._replace(log_probs=log_probs)
