"""The evidence lower bound."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from tfvae._config import NUMBERS, check_count
from tfvae._typing import Tensor, register
from tfvae.objectives.base import Objective
from tfvae.objectives.schedules import Schedule
from tfvae.terms import Terms

__all__ = ["ELBO"]


@register
@dataclass(frozen=True)
class ELBO(Objective):
    """Evidence lower bound, with a weight on the rate.

        bound = -distortion - beta * rate
        distortion = -mean_s log p(x|z[s]),   rate = KL(q(z|x) || p(z))

    With `beta = 1` its expectation is at most log p(x); other weights trade rate for distortion.

    Args:
        beta: Weight of the rate, >= 0: a number or a `Schedule`.
        analytic_kl: Uses the closed form of the rate where one exists (less noise); False
            always takes the mean of log q(z|x) - log p(z) over the draws.
        num_samples: Draws of z per data point, S.

    Call arguments:
        terms: `Terms`; reads `log_p_x` `[S, B]`, and `kl` `[B]` or `log_q_z` and `log_p_z`.
        step: Number of updates made so far.

    Returns:
        bound: `[B]`, nats.

    Raises:
        ValueError: `beta` is negative or `num_samples` smaller than 1.

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

    def __post_init__(self) -> None:
        number = isinstance(self.beta, NUMBERS) and self.beta >= 0.0
        if not number and not isinstance(self.beta, Schedule):
            raise ValueError(
                f"`beta` must be a number >= 0 or a schedule. Received: beta={self.beta!r}"
            )
        check_count("num_samples", self.num_samples)

    def __call__(self, terms: Terms, step: int | Tensor = 0) -> Tensor:
        beta = self.beta(step) if isinstance(self.beta, Schedule) else self.beta
        rate = terms.rate if self.analytic_kl else terms.sampled_rate
        return -terms.distortion - tf.cast(beta, rate.dtype) * rate
