"""Gradients by the score of q(z|x): for any posterior, the draws being constants."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from tfvae._typing import Distribution, Tensor, register
from tfvae.objectives.draws import draw_constants, zeros_with_gradient
from tfvae.objectives.gradients import GradientEstimator
from tfvae.objectives.power_means import PowerMeans
from tfvae.terms import Draws, Terms

__all__ = ["LeaveOneOut", "ScoreFunction"]


@register
@dataclass(frozen=True)
class ScoreFunction(GradientEstimator):
    """The bound times the gradient of log q(z|x): for any posterior, with much noise.

        d bound / d phi = sum_s (bound - c_s) * d log q(z_s|x) / dphi

    Unbiased; z carries no gradient. c_s, the gradient of the bound in log_w_s less its mean 1/S,
    is what the bound itself holds of q. With several draws `LeaveOneOut` has much less noise.

    Of several latent nodes, each is charged with its own part of the ELBO alone: the addends that
    its draw may change, by itself or by what is drawn after it. All others have the mean zero
    beside its score.

    Example:
        >>> gradient = tfvae.objectives.ScoreFunction()
        >>> tfvae.objectives.ELBO(gradient=gradient).num_samples
        1

    References:
        Simple Statistical Gradient-Following Algorithms (Williams, 1992),
        https://doi.org/10.1007/BF00992696
        Gradient Estimation Using Stochastic Computation Graphs (Schulman et al., 2015),
        https://arxiv.org/abs/1506.05254
    """

    follows_draws = False

    @property
    def drawn_by(self) -> object:
        """See `GradientEstimator.drawn_by`."""
        return ScoreFunction

    def check(self, q_z: Distribution) -> None:
        """Every posterior will do."""

    def bound(self, terms: Terms, rate_weight: Tensor | float, means: PowerMeans) -> Tensor:
        """See `GradientEstimator.bound`."""
        log_w = terms._replace(log_q_z=tf.stop_gradient(terms.log_q_z)).log_w_at(rate_weight)
        if means.are_linear and terms.reach is not None:
            found = [means(log_w)]
            for name, log_q in (terms.log_q or {}).items():
                after = tf.stop_gradient(terms.log_w_after(name, rate_weight))
                zeros = zeros_with_gradient(self._signal(after, means), log_q)
                found.append(tf.reduce_sum(zeros, axis=0))
            return tf.add_n(found)
        num_samples = tf.cast(tf.shape(log_w)[0], log_w.dtype)
        # Of the weights of log q in the bound a constant has the mean zero: it is left out, and
        # with it all noise of a bound that is linear in log q.
        excess = means.weights(log_w) - means.total / num_samples
        factor = tf.stop_gradient(self._signal(log_w, means) - rate_weight * excess)
        return means(log_w) + tf.reduce_sum(zeros_with_gradient(factor, terms.log_q_z), axis=0)

    def _signal(self, log_w: Tensor, means: PowerMeans) -> Tensor:
        return tf.broadcast_to(means(log_w), tf.shape(log_w))

    def _draw(self, q_z: Distribution, num_samples: int, seed: Tensor) -> Draws:
        return draw_constants(q_z, num_samples, seed)


@register
@dataclass(frozen=True)
class LeaveOneOut(ScoreFunction):
    """The score function, with what the other draws say of the bound as baseline of each.

        d bound / d phi = sum_s (bound - bound_without_s - c_s) * d log q(z_s|x) / dphi

    `bound_without_s` has the mean of the other log weights in the place of the s-th; see
    `ScoreFunction` for c_s. Of the importance-weighted bound this is VIMCO, of the ELBO it is
    REINFORCE leave-one-out. Unbiased for any posterior; takes at least two draws, and numbers of
    the order of S**2 for each point.

    Example:
        >>> gradient = tfvae.objectives.LeaveOneOut()
        >>> tfvae.objectives.ImportanceWeighted(5, gradient=gradient).num_samples
        5

    References:
        Variational Inference for Monte Carlo Objectives (Mnih and Rezende, 2016),
        https://arxiv.org/abs/1602.06725
        Buy 4 REINFORCE Samples, Get a Baseline for Free! (Kool et al., 2019),
        https://openreview.net/forum?id=r1lgTGL5DE
    """

    def check_count(self, num_samples: int) -> None:
        """Checks that there are other draws.

        Raises:
            ValueError: There is one draw only.
        """
        if num_samples < 2:
            raise ValueError(
                "`gradient=LeaveOneOut()` compares draws with each other and takes at least two. "
                f"Received: num_samples={num_samples}. Give the objective more, or choose "
                "`ScoreFunction()`."
            )

    def _signal(self, log_w: Tensor, means: PowerMeans) -> Tensor:
        num_samples = tf.shape(log_w)[0]
        left_out = tf.expand_dims(tf.eye(num_samples, dtype=tf.bool), -1)  # [S, S, 1]
        # Left out, not taken off the sum of all: a weight of zero has a logarithm of -infinity.
        others = tf.reduce_sum(tf.where(left_out, tf.zeros_like(log_w), log_w[None]), axis=1)
        # A draw that is scored alone has no others: its baseline is the bound of weights of one.
        others /= tf.cast(tf.maximum(num_samples - 1, 1), log_w.dtype)  # [S, B]
        replaced = tf.where(left_out, others[:, None], log_w[None])  # [left out, S, B]
        without = means(tf.transpose(replaced, [1, 0, 2]))  # [left out, B]
        return means(log_w) - without
