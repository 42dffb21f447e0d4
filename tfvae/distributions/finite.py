"""All values of distributions over finitely many states."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._typing import Distribution, Tensor

__all__ = ["all_states", "num_states"]

tfd = tfp.distributions


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
    while isinstance(distribution, tfd.Independent):
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
