"""What one pass through a model is scored by."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfvae._typing import Distribution, Tensor
from tfvae.distributions.pairwise import aggregated_log_prob, pairwise_log_prob_fast

__all__ = ["Terms"]


class Terms(NamedTuple):
    """The scores of one pass: all that objectives and evaluations may see of it.

    One draw of z per sample and data point feeds all densities. All values are in nats. Where z
    has few states, all of them stand in place of draws, and sums over them of expectations.

    Attributes:
        log_p_x: log p(x|z) `[S, B]`.
        log_p_z: log p(z) `[S, B]`.
        log_q_z: log q(z|x) `[S, B]`.
        kl: KL(q(z|x) || p(z)) in closed form `[B]`, or None where there is none.
        z: The draws `[S, B, *E]`.
        q_z: The posterior they come from, batch shape `[B]`.
        p_z: The prior, batch shape `[]`, or `[B]` where it depends on a context.
        log_weights: Logarithms `[S, B]` of the weights with which the draws enter expectations;
            None for draws, of which each weighs 1 / S, and log q(z|x) where z takes all states.
    """

    log_p_x: Tensor
    log_p_z: Tensor
    log_q_z: Tensor
    kl: Tensor | None
    z: Tensor
    q_z: Distribution
    p_z: Distribution
    log_weights: Tensor | None = None

    def expect(self, values: Tensor) -> Tensor:
        """Returns E_q of values `[S, B]`, `[B]`: a mean over draws, or the sum over all states."""
        if self.log_weights is None:
            return tf.reduce_mean(values, axis=0)
        return tf.reduce_sum(tf.exp(self.log_weights) * values, axis=0)

    def log_expect(self, values: Tensor) -> Tensor:
        """Returns log E_q exp(values), `[B]`, of values `[S, B]`, without overflow."""
        if self.log_weights is None:
            count = tf.cast(tf.shape(values)[0], values.dtype)
            return tf.reduce_logsumexp(values, axis=0) - tf.math.log(count)
        return tf.reduce_logsumexp(self.log_weights + values, axis=0)

    @property
    def log_w(self) -> Tensor:
        """Log importance weights log p(x, z) - log q(z|x), `[S, B]`."""
        return self.log_p_x + self.log_p_z - self.log_q_z

    @property
    def distortion(self) -> Tensor:
        """-E_q log p(x|z), `[B]`."""
        return -self.expect(self.log_p_x)

    @property
    def rate(self) -> Tensor:
        """KL(q(z|x) || p(z)), `[B]`: the closed form, or else the mean over the draws."""
        return self.sampled_rate if self.kl is None else self.kl

    @property
    def sampled_rate(self) -> Tensor:
        """Mean over the draws of log q(z|x) - log p(z), `[B]`."""
        return self.expect(self.log_q_z - self.log_p_z)

    @property
    def elbo(self) -> Tensor:
        """-(distortion + rate), `[B]`: a lower bound of log p(x) in expectation."""
        return -(self.distortion + self.rate)

    @property
    def batch_mutual_information(self) -> Tensor:
        """Per point `[B]`, the estimate of I[x;z] from this batch of B points alone.

            log q(z[s, i] | x[i]) - log (1/B) sum_j q(z[s, i] | x[j])

        Its mean cannot exceed log B, whatever the information over all the data.

        Reference: ELBO surgery (Hoffman and Johnson, 2016).
        """
        log_q = pairwise_log_prob_fast(self.q_z, self.z)  # [S, B, B]
        # The own density is read from the same matrix, so that rounding cannot break the bounds.
        own = tf.linalg.diag_part(log_q)
        return self.expect(own - aggregated_log_prob(log_q))
