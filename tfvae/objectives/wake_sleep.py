"""Updates of q(z|x) by the forward KL, from self-normalised importance weights."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from tfvae._config import keep_counts
from tfvae._typing import Tensor, register
from tfvae.objectives.base import Objective
from tfvae.objectives.draws import zeros_with_gradient
from tfvae.objectives.gradients import check_draws
from tfvae.objectives.power_means import PowerMeans
from tfvae.objectives.score_function import ScoreFunction
from tfvae.terms import Terms

__all__ = ["ForwardKL", "ReweightedWakeSleep"]

_LOG_MEAN = PowerMeans.of(order=1.0)


class _Weighing(Objective):
    """Abstract objective on draws that carry no gradient, weighed against each other."""

    # What draws are made for, not how the gradient comes about: they are constants.
    gradient = ScoreFunction()
    takes_more_samples = False

    def __post_init__(self) -> None:
        keep_counts(self, "num_samples")
        if self.num_samples < 2:
            raise ValueError(
                "Importance weights are compared with each other, which takes at least two draws. "
                f"Received: num_samples={self.num_samples}"
            )


@register
@dataclass(frozen=True)
class ForwardKL(_Weighing):
    """Minus KL(p(z|x) || q(z|x)), which spreads q(z|x) over all of the true posterior.

        bound = -sum_s v_s log(S v_s),   v_s = w_s / sum_r w_r,   w_s = p(x, z_s) / q(z_s|x)
        d bound / d phi = sum_s v_s * d log q(z_s|x) / dphi

    Trains the encoder alone: p(x|z) and p(z) get a gradient of zero. Value and gradient are biased
    where weights are uneven, the less the more draws. Any posterior will do, discrete ones too.

    Args:
        num_samples: Draws of z per data point, S, at least 2.

    Call arguments:
        terms: `Terms`; reads the scores `[S, B]`.
        step: Not used.

    Returns:
        bound: `[B]`, nats, at most zero.

    Raises:
        ValueError: `num_samples` is smaller than 2.

    Example:
        >>> from tfvae.demo import terms
        >>> tfvae.objectives.ForwardKL(3)(terms).shape
        TensorShape([20])

    Reference: Reweighted Wake-Sleep (Bornschein and Bengio, 2015),
    https://arxiv.org/abs/1406.2751
    """

    num_samples: int
    is_bound = False

    def __call__(self, terms: Terms, step: int | Tensor = 0) -> Tensor:
        del step
        check_draws(terms)
        log_w = tf.stop_gradient(terms.log_w)
        weights = _LOG_MEAN.weights(log_w)
        value = _LOG_MEAN(log_w) - tf.reduce_sum(tf.math.multiply_no_nan(log_w, weights), axis=0)
        score = zeros_with_gradient(weights, terms.log_q_z)
        # A gradient of zero, and not none: optimizers warn of weights without any.
        idle = zeros_with_gradient(0.0, terms.log_p_x + terms.log_p_z)
        return value + tf.reduce_sum(score + idle, axis=0)


@register
@dataclass(frozen=True)
class ReweightedWakeSleep(_Weighing):
    """The importance-weighted bound for p(x, z), the forward KL for q(z|x): two wake updates.

        bound = log (1/S) sum_s w_s,   v_s = w_s / sum_r w_r,   w_s = p(x, z_s) / q(z_s|x)
        d bound / d theta = sum_s v_s * d log p(x, z_s) / dtheta
        d bound / d phi   = sum_s v_s * d log q(z_s|x) / dphi

    Any posterior will do, discrete ones too, and more draws make both gradients better.

    Args:
        num_samples: Draws of z per data point, S, at least 2.

    Call arguments:
        terms: `Terms`; reads the scores `[S, B]`.
        step: Not used.

    Returns:
        bound: `[B]`, nats, that of `ImportanceWeighted`.

    Raises:
        ValueError: `num_samples` is smaller than 2.

    Example:
        >>> from tfvae.demo import terms
        >>> tfvae.objectives.ReweightedWakeSleep(3)(terms).shape
        TensorShape([20])

    References:
        Reweighted Wake-Sleep (Bornschein and Bengio, 2015), https://arxiv.org/abs/1406.2751
        Revisiting Reweighted Wake-Sleep (Le et al., 2020), https://arxiv.org/abs/1805.10469
    """

    num_samples: int
    is_bound = True

    def __call__(self, terms: Terms, step: int | Tensor = 0) -> Tensor:
        del step
        check_draws(terms)
        log_w = tf.stop_gradient(terms.log_w)
        weights = _LOG_MEAN.weights(log_w)
        # Both gradients raise a log-density at the draws, by the same weights.
        scores = terms.log_p_x + terms.log_p_z + terms.log_q_z
        return _LOG_MEAN(log_w) + tf.reduce_sum(zeros_with_gradient(weights, scores), axis=0)
