"""Objectives on the covariance of the latents."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from tfvae._config import check_amount, keep_counts
from tfvae._typing import Distribution, Tensor, register
from tfvae.distributions.factors import as_factors
from tfvae.distributions.statistics import statistic
from tfvae.objectives.base import Expectation
from tfvae.objectives.gradients import GradientEstimator, check_following_gradient, checked_rate
from tfvae.terms import Terms

__all__ = ["DIPVAE"]


@register
@dataclass(frozen=True)
class DIPVAE(Expectation):
    """The ELBO, less the distance of a covariance of the latents from the identity.

        bound = elbo - off_diagonal * sum_{i != j} C_ij**2 - diagonal * sum_i (C_ii - 1)**2
        C = Cov_x[E[z|x]]                       DIP-VAE I
        C = Cov_x[E[z|x]] + E_x[Cov[z|x]]       DIP-VAE II, the covariance of q(z)

    Covariance over x is that of the batch, divided by its size; points count by sample weights.

    Args:
        off_diagonal: Weight of the covariances, >= 0.
        diagonal: Weight of the variances, >= 0.
        aggregated: Takes the covariance of q(z), which makes it DIP-VAE II.
        num_samples: Draws of z per data point, S.
        gradient: How the gradient in the parameters of q(z|x) follows the draws; None takes
            `Reparameterised`, or that of a sum.

    Call arguments:
        terms: `Terms` of vectors z; reads `distortion`, `rate` and `q_z`.
        step: Not used.

    Returns:
        bound: `[B]`, nats less the penalty, which is the same for all points.

    Raises:
        TypeError: `gradient` is no gradient estimator.
        ValueError: A weight is negative, `num_samples` smaller than 1; on call, z is no vector or
            the posterior has no covariance in closed form.

    Example:
        >>> from tfvae.demo import terms
        >>> tfvae.objectives.DIPVAE(off_diagonal=10.0, diagonal=100.0)(terms).shape
        TensorShape([20])

    Reference: Variational Inference of Disentangled Latent Concepts (Kumar et al., 2018),
    https://arxiv.org/abs/1711.00848
    """

    off_diagonal: float = 10.0
    diagonal: float = 100.0
    aggregated: bool = False
    num_samples: int = 1
    gradient: GradientEstimator | None = None
    is_bound = True

    def __post_init__(self) -> None:
        check_amount("off_diagonal", self.off_diagonal)
        check_amount("diagonal", self.diagonal)
        keep_counts(self, "num_samples")
        check_following_gradient(self.gradient)

    def check_family(self, q_z: Distribution) -> None:
        """Checks that mean and covariance are known."""
        self._moments(q_z)

    def __call__(self, terms: Terms, step: int | Tensor = 0) -> Tensor:
        del step
        covariance = self._covariance(terms)
        variances = tf.linalg.diag_part(covariance)
        squares = tf.reduce_sum(tf.square(covariance)) - tf.reduce_sum(tf.square(variances))
        units = tf.reduce_sum(tf.square(variances - 1.0))
        elbo = -terms.distortion - checked_rate(terms, self.gradient)
        return elbo - (self.off_diagonal * squares + self.diagonal * units)

    def _covariance(self, terms: Terms) -> Tensor:
        mean, within = self._moments(terms.q_z)
        centred = mean - terms.mean(mean)
        shares = terms.mean(tf.eye(tf.shape(mean)[0], dtype=mean.dtype))
        of_means = tf.matmul(centred, shares[:, None] * centred, transpose_a=True)
        return of_means if within is None else of_means + terms.mean(within)

    def _moments(self, q_z: Distribution) -> tuple[Tensor, Tensor | None]:
        """Returns means `[B, K]` and, where they are asked for, covariances `[B, K, K]`."""
        mean = statistic(q_z, "mean")
        within = _covariances(q_z) if self.aggregated else None
        lacking = mean is None or (self.aggregated and within is None)
        if lacking or len(q_z.event_shape) != 1:
            raise ValueError(
                "DIP-VAE takes posteriors over vectors with mean and covariance in closed form. "
                f"Received: {type(q_z).__name__} with event_shape={q_z.event_shape}"
            )
        return mean, within


def _covariances(q_z: Distribution) -> Tensor | None:
    """Returns the covariances `[B, K, K]` of posteriors."""
    if as_factors(q_z) is None:
        return statistic(q_z, "covariance")
    variance = statistic(q_z, "variance")
    return None if variance is None else tf.linalg.diag(variance)
