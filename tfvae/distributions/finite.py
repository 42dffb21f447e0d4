"""All values of distributions over finitely many states."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._typing import Distribution, Tensor
from tfvae.distributions.wrappers import Independent

__all__ = [
    "States",
    "all_states",
    "element_states",
    "log_ratio",
    "num_states",
    "weighed",
    "weighted_states",
]

tfd = tfp.distributions


class States(NamedTuple):
    """All states of a distribution, which stand in for draws of it.

    Attributes:
        z: The states `[N, B, *E]`.
        log_prob: Their log-probabilities `[N, B]`.
        log_share: Logarithms `[N, B]` of the share that each has in the sum over all: zero, but
            where a known value takes the place of each of them.
    """

    z: Tensor
    log_prob: Tensor
    log_share: Tensor

    @property
    def log_weight(self) -> Tensor:
        """Logarithms `[N, B]` of the weights with which they enter expectations."""
        return self.log_share + self.log_prob


@functools.singledispatch
def element_states(distribution: Distribution) -> np.ndarray | None:
    """Returns the values `[L, *e]` that each of the independent elements of a draw can take.

    None where they are not finitely many, or not known. An element has the last axes of a draw,
    `e`: that of one-hot vectors has one. Sums over all states take the place of draws for all
    families that `element_states.register` adds.

    Example:
        >>> tfvae.distributions.element_states(tfd.Independent(tfd.Bernoulli(tf.zeros([5, 3])), 1))
        array([0, 1])
    """
    del distribution
    return None


@element_states.register(tfd.Categorical)
def _(distribution: Distribution) -> np.ndarray | None:
    levels = distribution.logits_parameter().shape[-1]
    return None if levels is None else np.arange(levels)


@element_states.register(tfd.OneHotCategorical)
def _(distribution: Distribution) -> np.ndarray | None:
    levels = distribution.event_shape[-1]
    return None if levels is None else np.eye(levels, dtype=bool)


@element_states.register(tfd.Bernoulli)
def _(distribution: Distribution) -> np.ndarray:
    del distribution
    return np.arange(2)


@element_states.register(Independent)
def _(distribution: Distribution) -> np.ndarray | None:
    return element_states(distribution.distribution)


def num_states(distribution: Distribution) -> int | None:
    """Returns how many values a draw can take, None where that is not finite or not known.

    Example:
        >>> from tfvae.distributions.finite import num_states
        >>> num_states(tfd.Independent(tfd.Categorical(tf.zeros([5, 3, 4])), 1))
        64
    """
    states = element_states(distribution)
    size = distribution.event_shape.num_elements()
    if states is None or size is None:
        return None
    return len(states) ** (size // math.prod(states.shape[1:]))


def all_states(distribution: Distribution) -> Tensor:
    """Returns every value of a draw once, `[N, *E]`, in the type of the draws.

    Raises:
        ValueError: The distribution has no finite number of states, or none that is known.
    """
    states, number = element_states(distribution), num_states(distribution)
    if states is None or number is None:
        raise ValueError(
            "Only finitely many states can be listed: expected independent categorical, one-hot "
            f"or Bernoulli variables. Received: {distribution!r}"
        )
    size: Any = distribution.event_shape.num_elements()
    variables = size // math.prod(states.shape[1:])
    numbers = np.indices([len(states)] * variables).reshape(variables, -1).T  # [N, V]
    shape = [number, *distribution.event_shape]
    return tf.constant(states[numbers].reshape(shape), distribution.dtype)


@functools.singledispatch
def weighted_states(distribution: Distribution) -> States:
    """Returns all states of a distribution of batch shape `[B]`, each with its probability.

    Raises:
        ValueError: See `all_states`.
    """
    z = all_states(distribution)
    batch = distribution.batch_shape_tensor()
    shape = tf.concat([tf.shape(z)[:1], batch, tf.shape(z)[1:]], axis=0)
    z = tf.broadcast_to(
        tf.reshape(z, [z.shape[0], *[1] * distribution.batch_shape.rank, *z.shape[1:]]), shape
    )
    log_prob = distribution.log_prob(z)
    return States(z, log_prob, tf.zeros_like(log_prob))


def weighed(log_weights: Tensor, values: Tensor) -> Tensor:
    """Returns exp(log_weights) * values; what is impossible counts nothing, also times infinity."""
    weights = tf.exp(log_weights)
    impossible = (weights == 0.0) & tf.math.is_inf(values)
    return weights * tf.where(impossible, tf.zeros_like(values), values)


def log_ratio(log_a: Tensor, log_b: Tensor) -> Tensor:
    """Returns log (a / b), minus infinity where a is impossible: what b is then does not matter.

    Example:
        >>> from tfvae.distributions.finite import log_ratio
        >>> log_ratio(tf.math.log([0.5, 0.0]), tf.math.log([0.25, 0.0])).numpy().round(3)
        array([0.693,  -inf], dtype=float32)
    """
    impossible = log_a == -float("inf")
    return log_a - tf.where(impossible, tf.zeros_like(log_a + log_b), log_b)
