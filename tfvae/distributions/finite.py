"""All values of distributions over finitely many states."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._typing import Distribution, Tensor
from tfvae.distributions.labelled import Labelled

__all__ = ["States", "all_states", "num_states", "weighted_states"]

tfd = tfp.distributions


class States(NamedTuple):
    """All states of a distribution, which stand in for draws of it.

    Attributes:
        z: The states `[N, B, *E]`.
        log_prob: Their log-probabilities `[N, B]`.
        log_weight: Logarithms `[N, B]` of the weights with which they enter expectations.
    """

    z: Tensor
    log_prob: Tensor
    log_weight: Tensor


def weighted_states(distribution: Distribution) -> States:
    """Returns all states of a distribution of batch shape `[B]`.

    Where the value is known, `Labelled`, it takes the place of each and they share its weight.

    Raises:
        ValueError: See `all_states`.
    """
    inner = distribution.distribution if isinstance(distribution, Labelled) else distribution
    z = all_states(inner)
    batch = distribution.batch_shape_tensor()
    shape = tf.concat([tf.shape(z)[:1], batch, tf.shape(z)[1:]], axis=0)
    z = tf.broadcast_to(
        tf.reshape(z, [z.shape[0], *[1] * distribution.batch_shape.rank, *z.shape[1:]]), shape
    )
    log_prob = inner.log_prob(z)
    if not isinstance(distribution, Labelled):
        return States(z, log_prob, log_prob)
    known = distribution.known
    share = -math.log(z.shape[0])
    return States(
        distribution.fill_in(z),
        tf.where(known, tf.zeros_like(log_prob), log_prob),
        tf.where(known, tf.fill(tf.shape(log_prob), tf.cast(share, log_prob.dtype)), log_prob),
    )


def num_states(distribution: Distribution) -> int | None:
    """Returns how many values a draw can take, None where that is not finite or not known.

    Example:
        >>> num_states(tfd.Independent(tfd.Categorical(tf.zeros([5, 3, 4])), 1))
        64
    """
    levels, variables = _levels_and_variables(distribution)
    return None if levels is None or variables is None else levels**variables


def all_states(distribution: Distribution) -> Tensor:
    """Returns every value of a draw once, `[N, *E]`, in the type of the draws.

    Knows `tfd.Categorical`, `tfd.Bernoulli` and `tfd.OneHotCategorical`, and independent ones.

    Raises:
        ValueError: The distribution has no finite number of states, or none that is known.
    """
    levels, variables = _levels_and_variables(distribution)
    if levels is None or variables is None:
        raise ValueError(
            "Only finitely many states can be listed: expected independent categorical, one-hot "
            f"or Bernoulli variables. Received: {distribution!r}"
        )
    numbers = np.indices([levels] * variables).reshape(variables, -1).T  # [N, V]
    states = np.eye(levels)[numbers] if _is_one_hot(distribution) else numbers
    shape = [len(numbers), *distribution.event_shape]
    return tf.constant(states.reshape(shape), distribution.dtype)


def _elements(distribution: Distribution) -> Distribution:
    while isinstance(distribution, (tfd.Independent, Labelled)):
        distribution = distribution.distribution
    return distribution


def _is_one_hot(distribution: Distribution) -> bool:
    return isinstance(_elements(distribution), tfd.OneHotCategorical)


def _levels_and_variables(distribution: Distribution) -> tuple[int | None, int | None]:
    inner = _elements(distribution)
    event = distribution.event_shape
    size = event.num_elements()
    if isinstance(inner, tfd.Categorical):
        return inner.logits_parameter().shape[-1], size
    if isinstance(inner, tfd.OneHotCategorical):
        return event[-1], None if size is None else math.prod(event[:-1])
    if isinstance(inner, tfd.Bernoulli):
        return 2, size
    return None, None
