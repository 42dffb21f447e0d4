"""Distributions of what is known in some examples of a batch, and not in others."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._random import stateless_seed
from tfvae._shapes import with_event
from tfvae._typing import Distribution, Tensor
from tfvae.distributions.broadcast import over_batch
from tfvae.distributions.finite import States, element_states, weighted_states
from tfvae.distributions.statistics import Composed, centre, probabilities
from tfvae.distributions.support import support_of

__all__ = ["Labelled"]

tfd = tfp.distributions


class Labelled(tfd.Distribution, Composed):
    """A distribution where a value is not known, and all of the mass on it where it is.

    An example whose value holds NaN is not known: its draws and densities are those of
    `distribution`.

    Args:
        distribution: Batch shape `[B]`, or one that broadcasts to it; event shape `E`.
        value: `[B, *E]`, NaN where it is not known.

    Attributes:
        value: See above.
        known: Whether the value is known `[B]`.

    Example:
        >>> from tfvae.distributions import Labelled
        >>> coin = tfd.Categorical(probs=[[0.5, 0.5]] * 2, dtype=tf.float32)
        >>> y = Labelled(coin, [1.0, float("nan")])
        >>> [round(float(log_prob), 2) for log_prob in y.log_prob([1.0, 1.0])]
        [0.0, -0.69]

    Reference: Semi-supervised Learning with Deep Generative Models (Kingma et al., 2014),
    https://arxiv.org/abs/1406.5298
    """

    def __init__(self, distribution: Distribution, value: Tensor) -> None:
        value = tf.convert_to_tensor(value, distribution.dtype)
        axes = list(range(value.shape.rank - distribution.event_shape.rank, value.shape.rank))
        self.distribution = distribution
        self.value = value
        self.known = ~tf.reduce_any(tf.math.is_nan(value), axis=axes)
        # NaN would come back by way of gradients, used or not.
        filler = tf.zeros_like(value)
        if support_of(distribution).norm is not None:  # Zeros lie off the sphere and the simplex.
            filler = tf.stop_gradient(distribution.sample(seed=stateless_seed(0)))
        self._value = tf.where(self._over_events(self.known), value, filler)
        super().__init__(
            dtype=distribution.dtype,
            reparameterization_type=distribution.reparameterization_type,
            validate_args=False,
            allow_nan_stats=True,
            name="Labelled",
        )

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: int | None = None) -> dict[str, Any]:
        return {}

    def fill_in(self, z: Tensor) -> Tensor:
        """Returns values `[..., B, *E]` with what is known in place of what was drawn."""
        return tf.where(self._over_events(self.known), self._value, z)

    def log_prob_of_known(self) -> Tensor:
        """Returns the log-density `[B]` that `distribution` gives to what is known, else zero."""
        log_prob = self.distribution.log_prob(self._value)
        return tf.where(self.known, log_prob, tf.zeros_like(log_prob))

    def weighted_states(self) -> States:
        """Returns all states, as `weighted_states` does.

        Where the value is known it takes the place of each, and they share its weight.
        """
        z, log_prob, zeros = weighted_states(self.distribution)
        share = zeros - math.log(z.shape[0])
        return States(
            self.fill_in(z),
            tf.where(self.known, zeros, log_prob),
            tf.where(self.known, share, zeros),
        )

    def centre(self) -> Tensor:
        """Returns what is known, and the centre of `distribution` elsewhere, `[B, *E]`."""
        return self.fill_in(centre(self.distribution))

    def _over_events(self, known: Tensor) -> Tensor:
        return with_event(known, [1] * self.distribution.event_shape.rank, axes=0)

    def _event_shape(self) -> tf.TensorShape:
        return self.distribution.event_shape

    def _event_shape_tensor(self) -> Tensor:
        return self.distribution.event_shape_tensor()

    def _batch_shape(self) -> tf.TensorShape:
        return tf.broadcast_static_shape(self.distribution.batch_shape, self.known.shape)

    def _batch_shape_tensor(self) -> Tensor:
        own = self.distribution.batch_shape_tensor()
        return tf.broadcast_dynamic_shape(own, tf.shape(self.known))

    def _sample_n(self, n: Any, seed: Any = None) -> Tensor:
        each = over_batch(self.distribution, self.batch_shape, self._batch_shape_tensor())
        return self.fill_in(each.sample(n, seed=tfp.random.sanitize_seed(seed)))

    def _log_prob(self, value: Tensor) -> Tensor:
        log_prob = self.distribution.log_prob(value)
        rank = value.shape.rank
        axes = list(range(rank - self.event_shape.rank, rank))
        same = tf.reduce_all(tf.equal(value, self._value), axis=axes)
        at_known = tf.where(same, 0.0, -float("inf"))
        return tf.where(self.known, tf.cast(at_known, log_prob.dtype), log_prob)


element_states.register(Labelled, lambda q: element_states(q.distribution))
weighted_states.register(Labelled, lambda q: q.weighted_states())


@probabilities.register(Labelled)
def _(distribution: Labelled) -> Tensor | None:
    shares = probabilities(distribution.distribution)
    if shares is None:
        return None
    known = tf.one_hot(
        tf.cast(distribution.fill_in(distribution.centre()), tf.int32), shares.shape[-1]
    )
    shares = tf.broadcast_to(shares, tf.shape(known))
    where = with_event(distribution.known, [1] * (shares.shape.rank - 1), axes=0)
    return tf.where(where, tf.cast(known, shares.dtype), shares)
