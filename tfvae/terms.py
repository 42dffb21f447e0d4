"""What one pass through a model is scored by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._shapes import with_event
from tfvae._typing import Distribution, Tensor
from tfvae.distributions.factors import as_factors
from tfvae.distributions.finite import log_ratio, weighed
from tfvae.distributions.gaussian import as_diagonal_normal
from tfvae.distributions.kl import closed_form_kl
from tfvae.distributions.pairwise import aggregated_log_prob, pairwise_log_prob_fast

__all__ = ["Draws", "Observed", "Reach", "Terms", "mean_over_points"]

tfd = tfp.distributions

# Points of a batch whose draws are scored under all of its posteriors, and where that is dear. As
# many as cost less than the step.
_SCORED_POINTS, _DEAR_POINTS = 512, 16


class Draws(NamedTuple):
    """Draws of z with what they were drawn from says of them; how they carry gradients may differ.

    Attributes:
        z: The draws `[S, B, *E]`.
        log_q_z: log q(z|x) `[S, B]`, nats.
        gradient_scale: See `Terms.gradient_scale`. Of draws at several levels it is the sum.
    """

    z: Tensor
    log_q_z: Tensor
    gradient_scale: Tensor | None = None


class Observed(NamedTuple):
    """An observed node with its distribution given the draws: for scores other than log p(x|z).

    Attributes:
        p_x: p(x|parents), all draws and points in one batch axis; or all states `[S]`, where they
            are the same for all points.
        x: The values, of a shape for `p_x.log_prob`.
        leading: The shape that `rows` gives, `[S, B]`, or `[B]` where no latent node acts on this
            one.
    """

    p_x: Distribution
    x: Tensor
    leading: Tensor

    def rows(self, scores: Tensor) -> Tensor:
        """Returns numbers of the shape of `p_x.log_prob(x)` as `[S, B]`, or `[B]`."""
        if scores.shape.rank == 2:  # of each point, for all states
            return tf.transpose(scores)
        return tf.reshape(scores, self.leading)


class Reach(NamedTuple):
    """Which scores may change with the draw of a latent node, those given before it held fixed.

    Attributes:
        log_p: Names of the nodes whose log p does: of all that read it, or what is drawn after it.
        log_q: Names of the latent nodes whose log q does: itself, and what is drawn after it.
    """

    log_p: frozenset[str]
    log_q: frozenset[str]


class Terms(NamedTuple):
    """The scores of one pass: all that objectives and evaluations may see of it.

    One draw of z per sample and data point feeds all densities. All values are in nats. Where z
    has few states, all of them stand in place of draws, and sums over them of expectations.

    Attributes:
        log_p_x: log p(x|z) `[S, B]`.
        log_p_z: log p(z) `[S, B]`.
        log_q_z: log q(z|x) `[S, B]`.
        kl: KL(q(z|x) || p(z)) in closed form `[B]`, or None where there is none. Of a hierarchy
            it is in closed form level by level, at the draws of the other levels.
        z: The draws `[S, B, *E]`.
        q_z: The posterior they come from, batch shape `[B]`.
        p_z: The prior, batch shape `[]`, or `[B]` where it depends on a context.
        log_weights: Logarithms `[S, B]` of the weights with which the draws enter expectations;
            None for draws, of which each weighs 1 / S, and log q(z|x) where z takes all states.
        gradient_scale: Zeros `[2, S, B]` by which `scale_gradient` acts, where the draws were
            made for it.
        level_rates: Of a hierarchy, the addends of the rate, level by level `[B, L]`, each in
            closed form where there is one; None where z is all of one level.
        log_measure: Logarithms `[S, B]` of what the rows count in p(x) = sum_s measure p(x, z_s):
            `log_weights` less `log_q_z`, also of states to which q(z|x) gives nothing. None for
            draws.
        log_q_labels: log q `[B]` of those latents whose values are given with the data, zero in
            examples without; None where none ever are.
        log_p: log p `[S, B]` of each node given its parents, by name: observed nodes add up to
            `log_p_x`, where no latent node acts on one `[B]`, and latent ones to `log_p_z`.
        log_q: log q `[S, B]` of each latent node given its parents under q, by name: they add up
            to `log_q_z`.
        observed: The observed nodes, by name.
        reach: Of each of several latent nodes, by name, which scores may change with its draw.
        sample_weight: How much each point counts `[B]`; None where all count alike.
    """

    log_p_x: Tensor
    log_p_z: Tensor
    log_q_z: Tensor
    kl: Tensor | None
    z: Tensor
    q_z: Distribution
    p_z: Distribution
    log_weights: Tensor | None = None
    gradient_scale: Tensor | None = None
    level_rates: Tensor | None = None
    log_q_labels: Tensor | None = None
    log_measure: Tensor | None = None
    log_p: Mapping[str, Tensor] | None = None
    log_q: Mapping[str, Tensor] | None = None
    observed: Mapping[str, Observed] | None = None
    reach: Mapping[str, Reach] | None = None
    sample_weight: Tensor | None = None

    def mean(self, values: Tensor) -> Tensor:
        """Returns the mean over the points of values `[B, ...]`, by their sample weights."""
        return mean_over_points(values, self.sample_weight)

    def expect(self, values: Tensor) -> Tensor:
        """Returns E_q of values `[S, B]`, `[B]`: a mean over draws, or the sum over all states."""
        if self.log_weights is None:
            return tf.reduce_mean(values, axis=0)
        return tf.reduce_sum(weighed(self.log_weights, values), axis=0)

    def log_expect(self, values: Tensor) -> Tensor:
        """Returns log E_q exp(values), `[B]`, of values `[S, B]`, without overflow."""
        if self.log_weights is None:
            count = tf.cast(tf.shape(values)[0], values.dtype)
            return tf.reduce_logsumexp(values, axis=0) - tf.math.log(count)
        return tf.reduce_logsumexp(self.log_weights + values, axis=0)

    @property
    def log_w(self) -> Tensor:
        """Log importance weights log p(x, z) - log q(z|x), `[S, B]`."""
        return self.log_w_at(1.0)

    def log_w_at(self, rate_weight: Tensor | float) -> Tensor:
        """Log weights `[S, B]` where the rate weighs more or less: log p(x|z) alone for 0.0.

        log p(x|z) + rate_weight * (log p(z) - log q(z|x))
        """
        if isinstance(rate_weight, float) and rate_weight == 0.0:
            return self.log_p_x
        return self.log_p_x + rate_weight * self.log_p_z - rate_weight * self.log_q_z

    def log_w_after(self, name: str, rate_weight: Tensor | float) -> Tensor:
        """Those addends of `log_w_at` `[S, B]` that the draw of one of several nodes may change."""
        assert self.reach is not None
        assert self.log_p is not None
        assert self.log_q is not None
        observed, reach = self.observed or {}, self.reach[name]
        found = [self.log_p[each] for each in self.log_p if each in reach.log_p & {*observed}]
        if not (isinstance(rate_weight, float) and rate_weight == 0.0):
            latent = reach.log_p - {*observed}
            found += [rate_weight * self.log_p[each] for each in self.log_p if each in latent]
            found += [-rate_weight * self.log_q[each] for each in self.log_q if each in reach.log_q]
        return sum(found, tf.zeros_like(self.log_q[name]))

    @property
    def log_evidence(self) -> Tensor:
        """Log of the sum of p(x, z) over all states, `[B]`: log p(x), whatever q(z|x) is.

        Over draws, or over states of one latent at draws of others, log of the mean importance
        weight: in expectation below log p(x).
        """
        if self.log_weights is None:
            return self.log_expect(self.log_w)
        measure = self.log_measure
        measure = self.log_weights - self.log_q_z if measure is None else measure
        return tf.reduce_logsumexp(self.log_p_x + self.log_p_z + measure, axis=0)

    @property
    def distortion(self) -> Tensor:
        """-E_q log p(x|z), `[B]`."""
        return -self.expect(self.log_p_x)

    @property
    def rate(self) -> Tensor:
        """KL(q(z|x) || p(z)), `[B]`: the closed form, or else the mean over the draws."""
        if self.kl is None and self.level_rates is not None:
            return tf.reduce_sum(self.level_rates, axis=-1)
        return self.sampled_rate if self.kl is None else self.kl

    @property
    def sampled_rate(self) -> Tensor:
        """Mean over the draws of log q(z|x) - log p(z), `[B]`."""
        return self.expect(log_ratio(self.log_q_z, self.log_p_z))

    @property
    def elbo(self) -> Tensor:
        """-(distortion + rate), `[B]`: a lower bound of log p(x) in expectation."""
        return -(self.distortion + self.rate)

    @property
    def dimension_rates(self) -> Tensor:
        """The rate, dimension by dimension of z, `[B, *E]`; their sum over `E` is the rate.

        In closed form where one exists, else the mean over the draws.

        Raises:
            ValueError: q(z|x) or p(z) does not factorise over the dimensions.
        """
        q, p = as_factors(self.q_z), as_factors(self.p_z)
        if q is None or p is None:
            name = type(self.p_z if p is None else self.q_z).__name__
            raise ValueError(
                "The rate splits over the dimensions of z only where posterior and prior factorise "
                f"over them, as `MultivariateNormalDiag` does. Received: {name}."
            )
        kl = closed_form_kl(q, p)
        if kl is not None:
            return kl
        values = log_ratio(q.log_prob(self.z), p.log_prob(self.z))  # [S, B, *E]
        if self.log_weights is None:
            return tf.reduce_mean(values, axis=0)
        log_weights = with_event(self.log_weights, [1] * (values.shape.rank - 2), axes=0)
        return tf.reduce_sum(weighed(log_weights, values), axis=0)

    def scale_gradient(self, bound: Tensor, scale: Tensor) -> Tensor:
        """Returns `bound` as it is, with the gradient through each draw of z multiplied.

        The gradient in the parameters of p(x|z) and p(z) stays. One bound of a pass can do so.

        Args:
            bound: `[B]`.
            scale: Factors `[S, B]`.

        Raises:
            ValueError: The draws were not made for it.
        """
        if self.gradient_scale is None:
            raise ValueError(
                "These draws cannot have their gradients scaled. Draw them for the objective: "
                "`model.terms(x, num_samples, objective=objective)`."
            )
        scaled, unscaled = tf.unstack(self.gradient_scale, num=2)
        return bound + tf.reduce_sum(scaled * tf.stop_gradient(scale) + unscaled, axis=0)

    @property
    def batch_mutual_information(self) -> Tensor:
        """Per point `[B]`, the estimate of I[x;z] from this batch of B points alone.

            log q(z[s, i] | x[i]) - log (1/B) sum_j q(z[s, i] | x[j])

        Its mean cannot exceed log B, whatever the information over all the data. Where q(z|x, c)
        reads a context it is the information of both, I[(x, c); z]; with a prior p(z|c) that is not
        a part of the rate, and `tfvae.decompose` has I[x; z|c].

        One draw of each point is scored, unless the rows of z are the states of finite nodes. With
        more than 512 points, the draws of 512, evenly spaced in the batch, stand for all: each
        value also for the points that follow, up to the next of them. The density of the mean
        posterior is that of all B, so that of points in random order neither expectation nor limit
        change. Of posteriors whose density is no matrix product (diagonal Gaussians) and no sum
        over elements (`tfd.Independent`), such as flows and full Gaussians, 16 points stand for
        all: it is the inverse of a flow, or a triangular system, for each pair.

        Reference: ELBO surgery (Hoffman and Johnson, 2016).
        """
        cheap = as_diagonal_normal(self.q_z) is not None or isinstance(self.q_z, tfd.Independent)
        most = _SCORED_POINTS if cheap else _DEAR_POINTS
        z = self.z if self.log_weights is not None else self.z[:1]
        if (z.shape[1] or most + 1) <= most:
            log_q = pairwise_log_prob_fast(self.q_z, z)  # [S, B, B]
            # Read from the same matrix, so that rounding cannot break the bounds.
            own = tf.linalg.diag_part(log_q)
            return self.expect(log_ratio(own, aggregated_log_prob(log_q)))
        size = tf.shape(z)[1]
        count = tf.minimum(size, most)
        scored = -(-tf.range(count) * size // count)  # rounded up: the first of those it stands for
        log_q = pairwise_log_prob_fast(self.q_z, tf.gather(z, scored, axis=1))  # [S, M, B]
        own = tf.linalg.diag_part(tf.gather(log_q, scored, axis=2))
        weights = None
        if self.log_weights is not None:
            weights = tf.gather(self.log_weights, scored, axis=1)
        information = log_ratio(own, aggregated_log_prob(log_q))
        part = self._replace(log_weights=weights).expect(information)
        values = tf.gather(part, tf.range(size) * count // size)
        return tf.ensure_shape(values, self.z.shape[1:2])


def mean_over_points(values: Tensor, sample_weight: Tensor | None = None) -> Tensor:
    """Returns the mean of values `[B, ...]`, sum_i w_i v_i / sum_i w_i, zero without any weight.

    Args:
        values: Of each point.
        sample_weight: w `[B]`, or of one more axis of one; None for all alike.

    Example:
        >>> from tfvae.terms import mean_over_points
        >>> float(mean_over_points(tf.constant([1.0, 4.0]), tf.constant([2.0, 1.0])))
        2.0
    """
    if sample_weight is None:
        return tf.reduce_mean(values, axis=0)
    weights = tf.cast(tf.reshape(sample_weight, [-1]), values.dtype)
    each = tf.math.multiply_no_nan(
        values, with_event(weights, [1] * (values.shape.rank - 1), axes=0)
    )
    return tf.math.divide_no_nan(tf.reduce_sum(each, axis=0), tf.reduce_sum(weights))
