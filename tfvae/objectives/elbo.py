"""The evidence lower bound."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from tfvae._config import check_amount, keep_counts
from tfvae._typing import Tensor, register
from tfvae.objectives.base import Expectation
from tfvae.objectives.gradients import (
    DEFAULT_GRADIENT,
    GradientEstimator,
    check_gradient,
    checked_rate,
)
from tfvae.objectives.power_means import PowerMeans
from tfvae.objectives.schedules import Schedule, is_heavy, value_at
from tfvae.terms import Terms

__all__ = ["ELBO"]


@register
@dataclass(frozen=True)
class ELBO(Expectation):
    """Evidence lower bound, with a weight on the rate.

        bound = -distortion - beta * rate
        distortion = -mean_s log p(x|z[s]),   rate = KL(q(z|x) || p(z))

    With `beta = 1` its expectation is at most log p(x); other weights trade rate for distortion.

    Args:
        beta: Weight of the rate, >= 0: a number or a `Schedule`.
        analytic_kl: Uses the closed form of the rate where one exists (less noise); False
            always takes the mean of log q(z|x) - log p(z) over the draws.
        num_samples: Draws of z per data point, S.
        gradient: How the gradient in the parameters of q(z|x) is estimated. `PathDerivative` and
            `DoublyReparameterised` act on log q(z|x) and take `analytic_kl=False`,
            `StraightThrough` and `Relaxed` take the closed form.

    Call arguments:
        terms: `Terms`; reads `log_p_x` `[S, B]`, and `kl` `[B]` or `log_q_z` and `log_p_z`.
        step: Number of updates made so far.

    Returns:
        bound: `[B]`, nats.

    Raises:
        ValueError: `beta` is negative, `num_samples` smaller than 1, or `gradient` none that goes
            with `analytic_kl`.

    Example:
        >>> tfvae.objectives.ELBO(beta=tfvae.objectives.Linear(0.0, 1.0, steps=10_000)).num_samples
        1

    References:
        Auto-Encoding Variational Bayes (Kingma and Welling, 2014), https://arxiv.org/abs/1312.6114
        beta-VAE (Higgins et al., 2017), https://openreview.net/forum?id=Sy2fzU9gl
    """

    beta: float | Schedule = 1.0
    analytic_kl: bool = True
    num_samples: int = 1
    gradient: GradientEstimator = DEFAULT_GRADIENT

    def __post_init__(self) -> None:
        check_amount("beta", self.beta, Schedule)
        keep_counts(self, "num_samples")
        check_gradient(self.gradient, self.num_samples)
        name = type(self.gradient).__name__
        if self.gradient.needs_sampled_rate and self.analytic_kl:
            raise ValueError(
                f"`gradient={name}()` acts on log q(z|x) at the draws, which the closed form of "
                "the rate does not read: pass `analytic_kl=False`."
            )
        if self.gradient.needs_closed_rate and not self.analytic_kl:
            raise ValueError(
                f"`gradient={name}()` follows the draws into log p(x|z) alone, and needs the "
                "closed form of the rate: leave out `analytic_kl=False`."
            )

    @property
    def is_bound(self) -> bool:
        """Whether the weight of the rate is a number of one or more."""
        return is_heavy(self.beta)

    def __call__(self, terms: Terms, step: int | Tensor = 0) -> Tensor:
        beta = tf.cast(value_at(self.beta, step), terms.log_p_x.dtype)
        if terms.log_weights is not None:
            rate = terms.rate if self.analytic_kl else terms.sampled_rate
            return -terms.distortion - beta * rate
        means = PowerMeans.of(order=0.0)
        rate = checked_rate(terms, self.gradient)
        if self.analytic_kl and (terms.kl is not None or self.gradient.needs_closed_rate):
            return self.gradient.bound(terms, 0.0, means) - beta * rate
        return self.gradient.bound(terms, beta, means)
