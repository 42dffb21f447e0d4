"""The rate in three parts, each with a weight of its own."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf

from tfvae._config import Configured, check_amount, keep_counts
from tfvae._typing import Distribution, Tensor, register
from tfvae.distributions.factors import as_factors
from tfvae.distributions.finite import log_ratio
from tfvae.distributions.pairwise import log_sums
from tfvae.objectives.base import Expectation
from tfvae.objectives.gradients import GradientEstimator, check_following_gradient
from tfvae.terms import Terms

__all__ = [
    "BatchWeights",
    "BetaTC",
    "MinibatchStratified",
    "MinibatchWeighted",
    "RateParts",
    "split_rate",
]


class BatchWeights(Configured):
    """Abstract weights of the posteriors of a batch in the aggregated posterior of N points.

    q(z_i) ~ sum_j weights[i, j] * q(z_i|x_j),   z_i drawn from q(z|x_i)
    """

    def __call__(self, batch_size: int | Tensor, dataset_size: int) -> Tensor:
        """Returns log weights `[B, B]`, float32."""
        raise NotImplementedError


@register
@dataclass(frozen=True)
class MinibatchStratified(BatchWeights):
    """1/N for the point that z comes from, the rest in equal parts for the others.

        weights[i, i] = 1 / N,   weights[i, j] = (N - 1) / (N * (B - 1))

    The estimate of q(z) is unbiased for batches drawn without replacement, and exact where the
    batch is all of the data; its logarithm, by Jensen, is too small in the mean. The paper gives
    one of the others another weight than the rest; equal weights have the same mean and no more
    variance.

    Example:
        >>> weights = tf.exp(tfvae.objectives.MinibatchStratified()(3, 10))
        >>> float(tf.reduce_sum(weights[0]))
        1.0

    Reference: Isolating Sources of Disentanglement in VAEs (Chen et al., 2018), appendix C,
    https://arxiv.org/abs/1802.04942
    """

    def __call__(self, batch_size: int | Tensor, dataset_size: int) -> Tensor:
        """See `BatchWeights`."""
        # A batch of one has no others.
        others = tf.cast(tf.maximum(batch_size - 1, 1), tf.float32)
        size = tf.constant(float(dataset_size))
        other = tf.math.log((size - 1.0) / (size * others))
        # Chosen, not multiplied: of one point in all, the others weigh nothing, log 0.
        return tf.where(tf.eye(batch_size, dtype=tf.bool), -tf.math.log(size), other)


@register
@dataclass(frozen=True)
class MinibatchWeighted(BatchWeights):
    """The same weight for all points of the batch.

        weights[i, j] = 1 / (N * B)

    A lower bound of log q(z) in the mean, looser than `MinibatchStratified`: the weights add up to
    1/N, so that mutual information comes out up to log N too large and total correlation about
    (K - 1) log N too large. As constants these have no gradient; it is biased all the same.

    Example:
        >>> weights = tf.exp(tfvae.objectives.MinibatchWeighted()(2, 10))
        >>> round(float(weights[0, 1]), 3)
        0.05

    Reference: Isolating Sources of Disentanglement in VAEs (Chen et al., 2018), appendix C,
    https://arxiv.org/abs/1802.04942
    """

    def __call__(self, batch_size: int | Tensor, dataset_size: int) -> Tensor:
        """See `BatchWeights`."""
        total = float(dataset_size) * tf.cast(batch_size, tf.float32)
        return -tf.math.log(total) * tf.ones([batch_size, batch_size])


class RateParts(NamedTuple):
    """The rate in three parts, which add up to `Terms.sampled_rate`, each `[B]` in nats.

    Attributes:
        mutual_information: I[x;z] between data and latents.
        total_correlation: KL(q(z) || prod_k q(z_k)).
        dimension_wise_kl: sum_k KL(q(z_k) || p(z_k)), for a prior that factorises.
    """

    mutual_information: Tensor
    total_correlation: Tensor
    dimension_wise_kl: Tensor


def split_rate(terms: Terms, dataset_size: int, weights: BatchWeights) -> RateParts:
    """Splits the rate by the draws and posteriors of one batch.

    Args:
        terms: `Terms` of a posterior and a prior that factorise over the dimensions of z.
        dataset_size: Number of points that the batch is drawn from, N.
        weights: How the posteriors of the batch stand for those of all points.

    Raises:
        ValueError: The posterior or the prior does not factorise.

    Example:
        >>> from tfvae.demo import terms
        >>> from tfvae.objectives import MinibatchStratified, split_rate
        >>> parts = split_rate(terms, 20, MinibatchStratified())
        >>> bool(tf.reduce_all(abs(sum(parts) - terms.sampled_rate) < 1e-4))
        True

    Reference: Isolating Sources of Disentanglement in VAEs (Chen et al., 2018),
    https://arxiv.org/abs/1802.04942
    """
    log_weights = weights(tf.shape(terms.z)[1], dataset_size)  # [B, B]
    log_q, log_q_each = log_sums(terms.q_z, terms.z, log_weights)  # [S, B], [S, B, K]
    if log_q_each is None:
        raise ValueError(_message("posterior", terms.q_z))
    if as_factors(terms.p_z) is None:
        raise ValueError(_message("prior", terms.p_z))
    independent = tf.reduce_sum(log_q_each, axis=2)
    parts = (terms.log_q_z, log_q), (log_q, independent), (independent, terms.log_p_z)
    return RateParts(*(terms.expect(log_ratio(*part)) for part in parts))


@register
@dataclass(frozen=True)
class BetaTC(Expectation):
    """The ELBO with weights on the three parts of its rate.

        bound = -distortion
            - alpha * mutual_information - beta * total_correlation - gamma * dimension_wise_kl

    With all weights one it is the sampled ELBO, whatever the estimates of the parts.

    Args:
        beta: Weight of the total correlation, >= 0.
        alpha: Weight of the mutual information, >= 0.
        gamma: Weight of the dimension-wise KL, >= 0.
        weights: How a batch stands for all points. By `MinibatchStratified` the total correlation
            of small batches comes out lower the narrower posteriors are, which training then makes
            them: take batches of some hundred points, or `MinibatchWeighted`.
        num_samples: Draws of z per data point, S.
        gradient: How the gradient in the parameters of q(z|x) follows the draws; None takes
            `Reparameterised`, or that of a sum.
        dataset_size: Number of points that batches are drawn from, N; by default that of the data
            of `fit`, or, before any, of each evaluation, where it is in memory.

    Call arguments:
        terms: `Terms` of a posterior and a prior that factorise over the dimensions of z.
        step: Not used.

    Returns:
        bound: `[B]`, nats.

    Raises:
        TypeError: `weights` are no `BatchWeights`, or `gradient` no gradient estimator.
        ValueError: A weight is negative, a number not whole; on call, the posterior or the prior
            does not factorise, or nobody has said how many points there are.

    Example:
        >>> from tfvae.demo import terms
        >>> tfvae.objectives.BetaTC(6.0, dataset_size=1000)(terms).shape
        TensorShape([20])

    Reference: Isolating Sources of Disentanglement in VAEs (Chen et al., 2018),
    https://arxiv.org/abs/1802.04942
    """

    beta: float = 6.0
    alpha: float = 1.0
    gamma: float = 1.0
    weights: BatchWeights = MinibatchStratified()
    num_samples: int = 1
    gradient: GradientEstimator | None = None
    dataset_size: int | None = None

    def __post_init__(self) -> None:
        if self.dataset_size is not None:
            keep_counts(self, "dataset_size")
        for name in ("beta", "alpha", "gamma"):
            check_amount(name, getattr(self, name))
        if not isinstance(self.weights, BatchWeights):
            raise TypeError(
                "`weights` must be `MinibatchStratified()` or `MinibatchWeighted()`. "
                f"Received: weights={self.weights!r}"
            )
        keep_counts(self, "num_samples")
        check_following_gradient(self.gradient)

    def of_points(self, number: int) -> BetaTC:
        """See `Objective.of_points`."""
        known = self.dataset_size is not None
        return self if known else dataclasses.replace(self, dataset_size=number)

    @property
    def is_bound(self) -> bool | None:
        """Whether it is the sampled ELBO; with other weights nobody knows, of minibatches."""
        return True if self.alpha == self.beta == self.gamma == 1.0 else None

    def check_family(self, q_z: Distribution) -> None:
        """Checks that a posterior factorises."""
        if as_factors(q_z) is None or not q_z.event_shape.rank:
            raise ValueError(_message("posterior", q_z))

    def check_prior(self, p_z: Distribution) -> None:
        """Checks that a prior factorises."""
        if as_factors(p_z) is None:
            raise ValueError(_message("prior", p_z))

    def __call__(self, terms: Terms, step: int | Tensor = 0) -> Tensor:
        del step
        if self.dataset_size is None:
            raise ValueError(
                "`BetaTC` needs the number of points that batches are drawn from, which arrays "
                "given to `fit` or `evaluate` tell, and streams do not. "
                f"Pass `dataset_size=N`: `BetaTC({self.beta:g}, dataset_size=50_000)`."
            )
        information, correlation, each = split_rate(terms, self.dataset_size, self.weights)
        rate = self.alpha * information + self.beta * correlation + self.gamma * each
        return -terms.distortion - rate


def _message(name: str, distribution: Distribution) -> str:
    return (
        f"Total correlation takes a {name} that factorises over the dimensions of z, such as "
        f"`MultivariateNormalDiag`. Received: {type(distribution).__name__}"
    )
