"""Proposals that look everywhere."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._random import split_seed, standard_uniform, stateless_seed
from tfvae._shapes import with_event
from tfvae._typing import Distribution, Tensor
from tfvae.distributions.reparameterised import sample

__all__ = ["DefensiveMixture"]

tfd = tfp.distributions


class DefensiveMixture(tfd.Distribution):
    """A proposal q, mixed with a prior p that lies everywhere the integral may need draws.

        m(z) = (1 - share) q(z) + share p(z) >= share p(z)

    so that importance weights p(x, z) / m(z) are at most p(x|z) / share: where the likelihood is
    bounded, so are they, whatever q. Draws are not reparameterised: it is for estimates.

    Args:
        proposal: q, batch shape `[B]`, event shape `E`.
        prior: p, batch shape `[]` or `[B]`, event shape `E`.
        share: That of p, between 0 and 1.

    Example:
        >>> from tfvae.distributions.defensive import DefensiveMixture
        >>> q = tfd.MultivariateNormalDiag(tf.zeros([5, 2]), 0.01 * tf.ones([5, 2]))
        >>> p = tfd.MultivariateNormalDiag(tf.zeros([2]), tf.ones([2]))
        >>> m = DefensiveMixture(q, p, 0.1)
        >>> bool(tf.reduce_all(m.log_prob(tf.ones([5, 2])) >= p.log_prob([1.0, 1.0]) + np.log(0.1)))
        True

    Reference: Weighted Average Importance Sampling and Defensive Mixture Distributions (Hesterberg,
    1995); its density is the balance heuristic of Veach and Guibas (1995).
    """

    def __init__(self, proposal: Distribution, prior: Distribution, share: float) -> None:
        self.proposal, self.prior, self.share = proposal, prior, float(share)
        super().__init__(
            dtype=proposal.dtype,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            name="DefensiveMixture",
        )

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: int | None = None) -> dict[str, Any]:
        return {}

    def _event_shape(self) -> tf.TensorShape:
        return self.proposal.event_shape

    def _event_shape_tensor(self) -> Tensor:
        return self.proposal.event_shape_tensor()

    def _batch_shape(self) -> tf.TensorShape:
        return self.proposal.batch_shape

    def _batch_shape_tensor(self) -> Tensor:
        return self.proposal.batch_shape_tensor()

    def _sample_n(self, n: Any, seed: Any = None) -> Tensor:
        which, own, other = split_seed(stateless_seed(seed), 3)
        leading = tf.concat([[n], self._batch_shape_tensor()], axis=0)
        z = sample(self.proposal, n, own)
        count = n if self.prior.batch_shape.rank else tf.reduce_prod(leading)
        everywhere = tf.reshape(sample(self.prior, count, other), tf.shape(z))
        uniform = standard_uniform(leading, which)
        chosen = with_event(uniform < self.share, [1] * self.event_shape.rank, axes=0)
        return tf.where(chosen, tf.cast(everywhere, z.dtype), z)

    def _log_prob(self, value: Tensor) -> Tensor:
        log_q = self.proposal.log_prob(value) + math.log1p(-self.share)
        log_p = tf.cast(self.prior.log_prob(value), log_q.dtype) + math.log(self.share)
        return tf.reduce_logsumexp(tf.stack([log_q, tf.broadcast_to(log_p, tf.shape(log_q))]), 0)
