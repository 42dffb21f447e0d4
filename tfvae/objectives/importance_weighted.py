"""Bounds of importance weights: tighter than the ELBO with several draws."""

from __future__ import annotations

import math
from dataclasses import dataclass

import tensorflow as tf

from tfvae._config import NUMBERS, keep_counts
from tfvae._typing import Distribution, Tensor, register
from tfvae.objectives.base import Objective
from tfvae.objectives.draws import (
    bound_with_paths,
    draw_for_paths,
    plain_draws,
    scalable,
    zeros_with_gradient,
)
from tfvae.objectives.gradients import (
    DEFAULT_GRADIENT,
    DoublyReparameterised,
    GradientEstimator,
    PathDerivative,
    Reparameterised,
    check_draws,
    check_gradient,
)
from tfvae.objectives.power_means import PowerMean, PowerMeans
from tfvae.terms import Draws, Terms

__all__ = ["ImportanceWeighted", "Renyi"]


@register
@dataclass(frozen=True)
class ImportanceWeighted(Objective):
    """Importance-weighted bound on log p(x), tighter than the ELBO with S > 1 draws.

        bound = log (1/S) sum_s w_s,   w_s = p(x, z_s) / q(z_s|x)
        ELBO = E bound with S = 1 <= E bound <= log p(x)

    Its settings are the bounds of Rainforth et al.: with `groups` M, the mean over M groups of
    the bound of S / M draws each (MIWAE); with `encoder_groups`, the gradient in the parameters of
    q(z|x) is that of so many groups and all else that of `groups` (PIWAE); with `elbo_weight` b,
    b times the sampled ELBO and 1 - b times the bound (CIWAE).

    Args:
        num_samples: Draws of z per data point, S.
        groups: Number of groups of draws, M, which divides S.
        encoder_groups: Number of groups for the gradient in the parameters of q(z|x), which
            divides S; None takes that of `groups`.
        elbo_weight: Weight of the ELBO, from 0 to 1.
        gradient: How the gradient in the parameters of q(z|x) is estimated; with `encoder_groups`
            `Reparameterised`, `PathDerivative` or `DoublyReparameterised`.

    Call arguments:
        terms: `Terms`; reads `log_w` `[S, B]`.
        step: Not used.

    Returns:
        bound: `[B]`, nats.

    Raises:
        TypeError: `gradient` is no gradient estimator.
        ValueError: `num_samples` is smaller than 1, groups do not divide it, `elbo_weight` lies
            outside [0, 1], or `gradient` does not go with it.

    Example:
        >>> from tfvae.demo import terms
        >>> tfvae.objectives.ImportanceWeighted(3)(terms).shape
        TensorShape([20])

    References:
        Importance Weighted Autoencoders (Burda et al., 2016), https://arxiv.org/abs/1509.00519
        Tighter Variational Bounds are Not Necessarily Better (Rainforth et al., 2018),
        https://arxiv.org/abs/1802.04537
    """

    num_samples: int
    groups: int = 1
    encoder_groups: int | None = None
    elbo_weight: float = 0.0
    gradient: GradientEstimator = DEFAULT_GRADIENT
    takes_more_samples = False
    is_bound = True

    def __post_init__(self) -> None:
        keep_counts(self, "num_samples")
        for name in ("groups", "encoder_groups"):
            if name == "encoder_groups" and self.encoder_groups is None:
                continue
            keep_counts(self, name)
            number = getattr(self, name)
            if self.num_samples % number:
                raise ValueError(
                    f"`{name}` must divide `num_samples`. "
                    f"Received: {name}={number}, num_samples={self.num_samples}"
                )
        if not (isinstance(self.elbo_weight, NUMBERS) and 0.0 <= self.elbo_weight <= 1.0):
            raise ValueError(
                f"`elbo_weight` must lie in [0, 1]. Received: elbo_weight={self.elbo_weight!r}"
            )
        check_weighing_gradient(self.gradient, self.num_samples)
        follows = (Reparameterised, PathDerivative, DoublyReparameterised)
        if self.encoder_groups is not None and not isinstance(self.gradient, follows):
            raise ValueError(
                "`encoder_groups` needs a gradient through the draws: `Reparameterised()`, "
                f"`PathDerivative()` or `DoublyReparameterised()`. Received: {self.gradient}"
            )

    @property
    def scales_draws(self) -> bool:
        """See `Objective`."""
        return self.gradient.scales_draws or self.encoder_groups is not None

    def draw(self, q_z: Distribution, num_samples: int, seed: Tensor) -> Draws:
        """See `Objective.draw`."""
        if self.encoder_groups is None:
            return self.gradient.draw(q_z, num_samples, seed)
        self.gradient.check(q_z)
        if self.gradient.follows_paths:
            return draw_for_paths(q_z, num_samples, seed)
        z, log_q_z, _ = plain_draws(q_z, num_samples, seed)
        z, gradient_scale = scalable(z, tf.shape(log_q_z))
        return Draws(z, log_q_z, gradient_scale)

    def __call__(self, terms: Terms, step: int | Tensor = 0) -> Tensor:
        del step
        check_draws(terms)
        check_groups(terms.log_w, self.groups, self.encoder_groups or 1)
        means = self._means(self.groups)
        if self.encoder_groups is None:
            return self.gradient.bound(terms, 1.0, means)
        encoder, log_w = self._means(self.encoder_groups), terms.log_w
        paths = encoder.weights(log_w)
        if isinstance(self.gradient, DoublyReparameterised):
            paths = paths - encoder.curvature(log_w)
        if self.gradient.follows_paths:
            return bound_with_paths(terms, log_w, means, paths)
        # log q(z|x) is a matter of the encoder alone: its gradient comes by the encoder's weights,
        # at draws that are not scaled, and that of log p(x, z) by those of all else, scaled.
        log_w = terms.log_p_x + terms.log_p_z - tf.stop_gradient(terms.log_q_z)
        score = zeros_with_gradient(tf.stop_gradient(paths), terms.log_q_z)
        return bound_with_paths(terms, log_w, means, paths) - tf.reduce_sum(score, axis=0)

    def _means(self, groups: int) -> PowerMeans:
        elbo, tight = PowerMean(order=0.0), PowerMean(1.0, groups)
        weighted = ((self.elbo_weight, elbo), (1.0 - self.elbo_weight, tight))
        return PowerMeans(tuple(part for part in weighted if part[0] > 0.0))


@register
@dataclass(frozen=True)
class Renyi(Objective):
    """Variational Renyi bound: a family from the largest weight through log p(x) to the ELBO.

        bound = log (1/S sum_s w_s ** (1 - alpha)) / (1 - alpha),   w_s = p(x, z_s) / q(z_s|x)

    `alpha = 1` is the sampled ELBO, its limit; 0 is the importance-weighted bound. For alpha > 0
    the bound lies below log p(x) in the limit of many draws, for alpha < 0 above it; with S draws
    it lies between that limit and the ELBO.

    Args:
        alpha: Order of the divergence; any number.
        num_samples: Draws of z per data point, S.
        gradient: How the gradient in the parameters of q(z|x) is estimated.

    Call arguments:
        terms: `Terms`; reads `log_w` `[S, B]`.
        step: Not used.

    Returns:
        bound: `[B]`, nats.

    Raises:
        TypeError: `gradient` is no gradient estimator.
        ValueError: `alpha` is no finite number, `num_samples` smaller than 1, or `gradient` does
            not go with it.

    Example:
        >>> from tfvae.demo import terms
        >>> tfvae.objectives.Renyi(0.5, 3)(terms).shape
        TensorShape([20])

    Reference: Renyi Divergence Variational Inference (Li and Turner, 2016),
    https://arxiv.org/abs/1602.02311
    """

    alpha: float
    num_samples: int
    gradient: GradientEstimator = DEFAULT_GRADIENT
    takes_more_samples = False

    def __post_init__(self) -> None:
        if not (isinstance(self.alpha, NUMBERS) and math.isfinite(self.alpha)):
            raise ValueError(f"`alpha` must be a finite number. Received: alpha={self.alpha!r}")
        keep_counts(self, "num_samples")
        check_weighing_gradient(self.gradient, self.num_samples)

    @property
    def is_bound(self) -> bool:
        """Whether the order is not negative."""
        return self.alpha >= 0.0

    def __call__(self, terms: Terms, step: int | Tensor = 0) -> Tensor:
        del step
        check_draws(terms)
        means = PowerMeans.of(1.0 - float(self.alpha))
        return self.gradient.bound(terms, 1.0, means)


def check_weighing_gradient(gradient: object, num_samples: int) -> None:
    """Checks the argument `gradient` of an objective that reads all scores of the draws.

    Raises:
        TypeError: It is no gradient estimator.
        ValueError: It takes more draws, or needs the rate in closed form.
    """
    check_gradient(gradient, num_samples)
    if getattr(gradient, "needs_closed_rate", False):
        raise ValueError(
            f"`gradient={type(gradient).__name__}()` follows the draws into log p(x|z) alone: it "
            "is for objectives with a rate in closed form, such as `ELBO()`. Choose "
            "`LeaveOneOut()` here."
        )


def check_groups(log_w: Tensor, *groups: int) -> None:
    """Checks that the draws that came fall into groups of equal size.

    Raises:
        ValueError: They are known not to.
    """
    num_samples = log_w.shape[0]
    for number in groups:
        if num_samples is not None and num_samples % number:
            raise ValueError(
                f"{num_samples} draws do not fall into {number} groups of equal size. Score with "
                "as many as the objective's `num_samples`, or a multiple of `groups`."
            )
