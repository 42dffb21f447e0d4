"""Objectives that bring the aggregated posterior q(z) near the prior p(z), seen through draws."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from tfvae._config import check_amount, keep_counts
from tfvae._random import fold_in, standard_normal, stateless_seed
from tfvae._typing import Distribution, Tensor, register
from tfvae.distributions.reparameterised import sample
from tfvae.objectives.base import Objective
from tfvae.objectives.gradients import (
    GradientEstimator,
    check_draws,
    check_following_gradient,
    checked_rate,
)
from tfvae.objectives.kernels import InverseMultiquadratic, Kernel
from tfvae.terms import Terms

__all__ = ["MMD", "InfoVAE", "SlicedWasserstein"]

_DEFAULT_KERNEL = InverseMultiquadratic()
# Folded into the seed of an objective.
_OWN = 7


class _Matching(Objective):
    """Abstract: compares draws of z with draws of the prior."""

    def check_family(self, q_z: Distribution) -> None:
        """Checks that there are latents to draw."""
        if q_z.event_shape.num_elements() == 0:
            raise ValueError(
                f"`{type(self).__name__}` compares draws of z with draws of the prior. Received: a "
                "model without latents, which has neither. Take `tfvae.objectives.ELBO()`, there "
                "log p(x)."
            )


@register
@dataclass(frozen=True)
class MMD(_Matching):
    """Minus the squared maximum mean discrepancy between q(z) and p(z): a penalty to add.

        bound = -(E k(z, z') - 2 E k(z, y) + E k(y, y')),   z, z' ~ q(z),   y, y' ~ p(z)

    Unbiased from each batch, as pairs of a draw with itself are left out; it may come out below
    zero. A batch of one point has no pairs and counts as zero, with no gradient.
    `ELBO(beta=0.0) + 100.0 * MMD()` is a Wasserstein autoencoder.

    Args:
        kernel: k.
        num_samples: Draws of z per data point, S: so many estimates are averaged.
        seed: Of the draws of the prior, which are a function of it and of the step.
        gradient: How the gradient in the parameters of q(z|x) follows the draws; None takes
            `Reparameterised`, or that of a sum.

    Call arguments:
        terms: `Terms`; reads `z` and `p_z`.
        step: Number of updates made so far.

    Returns:
        bound: `[B]`; its mean is that of the formula.

    Raises:
        TypeError: `kernel` is no kernel, or `gradient` no gradient estimator.
        ValueError: `num_samples` is smaller than 1.

    Example:
        >>> from tfvae.demo import terms
        >>> tfvae.objectives.MMD(tfvae.objectives.RBF())(terms).shape
        TensorShape([20])

    References:
        A Kernel Two-Sample Test (Gretton et al., 2012),
        https://jmlr.org/papers/v13/gretton12a.html
        Wasserstein Auto-Encoders (Tolstikhin et al., 2018), https://arxiv.org/abs/1711.01558
    """

    kernel: Kernel = _DEFAULT_KERNEL
    num_samples: int = 1
    seed: int = 0
    gradient: GradientEstimator | None = None
    is_bound = False

    def __post_init__(self) -> None:
        check_kernel(self.kernel)
        keep_counts(self, "num_samples")
        check_following_gradient(self.gradient)

    def __call__(self, terms: Terms, step: int | Tensor = 0) -> Tensor:
        return -squared_mmd(terms, self.kernel, _seed_of(self.seed, step))


@register
@dataclass(frozen=True)
class InfoVAE(_Matching):
    """The ELBO with the mutual information and the distance of q(z) from p(z) weighed apart.

        bound = -distortion - (1 - alpha) * rate - (alpha + lambda_ - 1) * mmd**2(q(z), p(z))

    With `alpha = 1` (MMD-VAE) nothing is paid for information about x. With `alpha = 0` and
    `lambda_ = 1` it is the ELBO.

    Args:
        alpha: How much of the mutual information is free of charge, at most 1.
        lambda_: Weight of the distance of q(z) from p(z), at least 1 - alpha.
        kernel: That of the distance.
        num_samples: Draws of z per data point, S.
        seed: See `MMD`.
        gradient: How the gradient in the parameters of q(z|x) follows the draws; None takes
            `Reparameterised`, or that of a sum.

    Call arguments:
        terms: `Terms`; reads `distortion`, `rate`, `z` and `p_z`. See `MMD` for one point alone.
        step: Number of updates made so far.

    Returns:
        bound: `[B]`, nats and units of the kernel.

    Raises:
        TypeError: `kernel` is no kernel, or `gradient` no gradient estimator.
        ValueError: A weight of the formula is negative, or `num_samples` smaller than 1.

    Example:
        >>> from tfvae.demo import terms
        >>> tfvae.objectives.InfoVAE(alpha=1.0, lambda_=100.0)(terms).shape
        TensorShape([20])

    Reference: InfoVAE (Zhao et al., 2019), https://arxiv.org/abs/1706.02262
    """

    alpha: float = 1.0
    lambda_: float = 100.0
    kernel: Kernel = _DEFAULT_KERNEL
    num_samples: int = 1
    seed: int = 0
    gradient: GradientEstimator | None = None
    is_bound = False

    def __post_init__(self) -> None:
        check_amount("alpha", self.alpha, negative=True)
        check_amount("lambda_", self.lambda_, negative=True)
        if self.alpha > 1.0 or self.alpha + self.lambda_ < 1.0:
            raise ValueError(
                "The weights 1 - alpha and alpha + lambda_ - 1 must be >= 0. "
                f"Received: alpha={self.alpha}, lambda_={self.lambda_}"
            )
        check_kernel(self.kernel)
        keep_counts(self, "num_samples")
        check_following_gradient(self.gradient)

    def __call__(self, terms: Terms, step: int | Tensor = 0) -> Tensor:
        distance = squared_mmd(terms, self.kernel, _seed_of(self.seed, step))
        rate = checked_rate(terms, self.gradient)
        weighted = (1.0 - self.alpha) * rate + (self.alpha + self.lambda_ - 1.0) * distance
        return -terms.distortion - weighted


@register
@dataclass(frozen=True)
class SlicedWasserstein(_Matching):
    """Minus the squared sliced Wasserstein distance between q(z) and p(z): a penalty to add.

        bound = -mean_l mean_i (sorted_i(z . u_l) - sorted_i(y . u_l))**2

    with y ~ p(z) and random unit vectors u. A batch of draws of the prior itself is not at zero:
    the estimate falls with the size of the batch.

    Args:
        num_projections: Number of directions, L.
        num_samples: Draws of z per data point, S: so many estimates are averaged.
        seed: Of the directions and of the draws of the prior, functions of it and of the step.
        gradient: How the gradient in the parameters of q(z|x) follows the draws; None takes
            `Reparameterised`, or that of a sum.

    Call arguments:
        terms: `Terms`; reads `z` and `p_z`.
        step: Number of updates made so far.

    Returns:
        bound: `[B]`, the same for all points.

    Raises:
        TypeError: `gradient` is no gradient estimator.
        ValueError: A number is smaller than 1.

    Example:
        >>> from tfvae.demo import terms
        >>> tfvae.objectives.SlicedWasserstein(50)(terms).shape
        TensorShape([20])

    Reference: Sliced-Wasserstein Autoencoder (Kolouri et al., 2019),
    https://arxiv.org/abs/1804.01947
    """

    num_projections: int = 50
    num_samples: int = 1
    seed: int = 0
    gradient: GradientEstimator | None = None
    is_bound = False

    def __post_init__(self) -> None:
        keep_counts(self, "num_projections", "num_samples")
        check_following_gradient(self.gradient)

    def __call__(self, terms: Terms, step: int | Tensor = 0) -> Tensor:
        seed = _seed_of(self.seed, step)
        z, y = draws_and_prior_draws(terms, fold_in(seed, 0))  # [S, B, K]
        shape = [tf.shape(z)[2], self.num_projections]
        directions = standard_normal(shape, fold_in(seed, 1), z.dtype)
        directions = tf.math.l2_normalize(directions, axis=0)
        sides = [tf.sort(tf.einsum("sbk,kl->slb", part, directions)) for part in (z, y)]
        distance = tf.reduce_mean(tf.math.squared_difference(*sides))
        return -tf.fill([tf.shape(z)[1]], distance)


def check_kernel(kernel: object) -> None:
    """Checks the argument `kernel`.

    Raises:
        TypeError: It is no kernel.
    """
    if not isinstance(kernel, Kernel):
        raise TypeError(
            "`kernel` must be an object of `tfvae.objectives`, such as `RBF()` or "
            f"`InverseMultiquadratic()`. Received: kernel={kernel!r}"
        )


def draws_and_prior_draws(terms: Terms, seed: Tensor) -> tuple[Tensor, Tensor]:
    """Returns z and as many draws of the prior, both as vectors `[S, B, K]`.

    Raises:
        ValueError: The scores are those of all states of z, which are no draws.
    """
    check_draws(terms)
    shape = tf.shape(terms.z)[:2]
    size = terms.p_z.event_shape.num_elements()
    # A prior that reads a context has one distribution for each point.
    number = shape[0] if terms.p_z.batch_shape.rank else shape[0] * shape[1]
    y = sample(terms.p_z, number, seed)
    y = tf.cast(y, terms.z.dtype)
    flat = tf.concat([shape, [size]], axis=0)
    return tf.reshape(terms.z, flat), tf.reshape(y, flat)


def squared_mmd(terms: Terms, kernel: Kernel, seed: Tensor) -> Tensor:
    """Returns `[B]`, whose mean is the unbiased estimate of the squared discrepancy.

    Zero for a batch of one point, in which there is no pair to estimate E k(z, z') from.
    """
    z, y = draws_and_prior_draws(terms, seed)
    others = tf.cast(tf.shape(z)[1] - 1, z.dtype)

    def of_others(pairs: Tensor) -> Tensor:
        """Returns the mean `[S, B]` over all other points of what pairs `[S, B, B]` have."""
        total = tf.reduce_sum(pairs, axis=2) - tf.linalg.diag_part(pairs)
        return total / tf.maximum(others, 1.0)

    pairs = kernel(z, y)
    # Draws of q(z|x, c) and of p(z|c) for one point have its c in common: no independent pair.
    across = of_others(pairs) if terms.p_z.batch_shape.rank else tf.reduce_mean(pairs, axis=2)
    within = of_others(kernel(z, z)) + of_others(kernel(y, y))
    distance = tf.reduce_mean(within - 2.0 * across, axis=0)
    # What is across alone would pull the draw of a single point to the middle of the prior.
    return tf.minimum(others, 1.0) * distance


def _seed_of(seed: int, step: int | Tensor) -> Tensor:
    """Returns the seed of a step, none that draws z: of the same seed y would be z."""
    return fold_in(fold_in(stateless_seed(seed), _OWN), step)
