"""Parts of an event: the density of what was observed, and what that says of the rest."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._typing import Distribution, Tensor
from tfvae.distributions.broadcast import over_batch
from tfvae.distributions.factors import as_factors
from tfvae.distributions.support import support_of
from tfvae.distributions.wrappers import BatchBroadcast, Independent, MixtureSameFamily

__all__ = ["given_observed", "marginals_of"]

tfd = tfp.distributions


@functools.singledispatch
def marginals_of(distribution: Distribution) -> Callable[[Tensor], Tensor]:
    """Returns the function from events, NaN where not observed, to log p of what is observed.

    It takes `x` `[..., *E]` to `[...]`, in nats. Known where elements are independent, as
    `as_factors` knows them, and for all families that `marginals_of.register` adds.

    Raises:
        ValueError: The density of a part of an event is not known.

    Example:
        >>> log_marginal = tfvae.distributions.marginals_of(tfd.Normal(0.0, 1.0))
        >>> log_marginal(tf.constant([np.nan, 0.0])).numpy()
        array([ 0.        , -0.9189385], dtype=float32)
    """
    factors = as_factors(distribution)
    if factors is None:
        raise ValueError(
            "Missing entries need the density of the observed ones alone, which is not known for "
            f"{type(distribution).__name__}: its elements depend on each other. Choose a "
            "likelihood of independent elements, such as `IndependentNormal`, "
            "`IndependentCategorical` or `Heterogeneous`, or a mixture of such: given the "
            "latents, elements may be independent, and still depend on each other through them. "
            "A family of your own takes part by `tfvae.distributions.marginals_of.register`."
        )
    return lambda x: _over_event(_log_scalar(factors, x), distribution.event_shape.rank)


@marginals_of.register(Independent)
def _(distribution: Distribution) -> Callable[[Tensor], Tensor]:
    log_marginal = marginals_of(distribution.distribution)
    num_axes = distribution.event_shape.rank - distribution.distribution.event_shape.rank
    return lambda x: _over_event(log_marginal(x), num_axes)


@marginals_of.register(MixtureSameFamily)
def _(distribution: Distribution) -> Callable[[Tensor], Tensor]:
    if not distribution.event_shape.rank:
        return lambda x: _log_scalar(distribution, x)
    log_joint = _joint_with_components(distribution)
    return lambda x: tf.reduce_logsumexp(log_joint(x), axis=-1)


@functools.singledispatch
def given_observed(distribution: Distribution, x: Tensor) -> Distribution:
    """Returns p(x_missing | x_observed): a distribution over whole events.

    Its missing entries are distributed as the observed ones say; what it says of the observed
    entries themselves does not matter. Where elements are independent that is `distribution`; of
    mixtures, the observed entries tell which component they come from. Families whose elements
    depend on each other take part by `given_observed.register`.

    Args:
        distribution: One that `marginals_of` knows, batch shape `[...]`.
        x: Events `[..., *E]`, NaN where not observed.

    Returns:
        A distribution whose batch shape broadcasts with the leading axes of `x`.

    Raises:
        ValueError: What a part of an event says of the rest is not known.

    Example:
        >>> two = tfd.MixtureSameFamily(
        ...     tfd.Categorical([0.0, 0.0]), tfd.MultivariateNormalDiag([[-5.0, -5.0], [5.0, 5.0]]))
        >>> given = tfvae.distributions.given_observed(two, tf.constant([5.0, np.nan]))
        >>> given.mean().numpy()[1].item()
        5.0
    """
    if as_factors(distribution) is None:
        raise ValueError(
            "What the observed entries say of missing ones is not known for "
            f"{type(distribution).__name__}: its elements depend on each other. A family of your "
            "own takes part by `tfvae.distributions.given_observed.register`, or choose a "
            "likelihood of independent elements, or a mixture of such."
        )
    return distribution


@given_observed.register(BatchBroadcast)
def _(distribution: Distribution, x: Tensor) -> Distribution:
    found = given_observed(distribution.distribution, x)
    if found.batch_shape.rank == distribution.batch_shape.rank:
        return found
    return tfd.BatchBroadcast(found, distribution.batch_shape_tensor())


@given_observed.register(Independent)
def _(distribution: Distribution, x: Tensor) -> Distribution:
    num_axes = distribution.event_shape.rank - distribution.distribution.event_shape.rank
    found = given_observed(distribution.distribution, x)
    return distribution if found is distribution.distribution else tfd.Independent(found, num_axes)


@given_observed.register(MixtureSameFamily)
def _(distribution: Distribution, x: Tensor) -> Distribution:
    if not distribution.event_shape.rank:
        return distribution
    logits: Any = _joint_with_components(distribution)(x)  # [..., C]
    each = given_observed(distribution.components_distribution, _for_components(distribution, x))
    each = over_batch(each, logits.shape, tf.shape(logits))
    return tfd.MixtureSameFamily(tfd.Categorical(logits), each)


def _joint_with_components(distribution: Distribution) -> Callable[[Tensor], Tensor]:
    """Returns the function to log p(component, x_observed) `[..., C]`."""
    log_component = marginals_of(distribution.components_distribution)

    def log_joint(x: Tensor) -> Tensor:
        log_weights = tf.math.log_softmax(distribution.mixture_distribution.logits_parameter())
        return log_weights + log_component(_for_components(distribution, x))

    return log_joint


def _for_components(distribution: Distribution, x: Tensor) -> Tensor:
    return tf.expand_dims(x, -1 - distribution.event_shape.rank)  # [..., 1, *E]


def _over_event(log_probs: Tensor, num_axes: int) -> Tensor:
    return tf.reduce_sum(log_probs, axis=list(range(-num_axes, 0))) if num_axes else log_probs


def _log_scalar(distribution: Distribution, x: Tensor) -> Tensor:
    missing = tf.math.is_nan(x)
    # Twice: NaN in the branch not taken would still make the gradient NaN.
    x = tf.where(missing, _any_value(distribution, x.dtype), x)
    log_prob = distribution.log_prob(x)
    return tf.where(missing, tf.zeros([], log_prob.dtype), log_prob)


def _any_value(distribution: Distribution, dtype: Any) -> Tensor:
    """Returns a value with a density above zero."""
    while isinstance(distribution, MixtureSameFamily):
        distribution = distribution.components_distribution
    with contextlib.suppress(NotImplementedError):
        bijector = distribution.experimental_default_event_space_bijector()
        if bijector is not None:  # families of numbers that can be listed have none
            return tf.stop_gradient(bijector.forward(tf.zeros([], dtype)))
    return tf.cast(support_of(distribution).inside, dtype)
