"""The components of a finite mixture and their weights, and the responsibilities that follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae import layers
from tfvae._typing import Distribution, Tensor
from tfvae._words import kind_of
from tfvae.distributions.finite import element_states
from tfvae.models.one_prior import checked_prior
from tfvae.priors import Prior

__all__ = ["Mixture", "Responsibilities", "checked_weights", "with_table"]

tfd = tfp.distributions


@dataclass(frozen=True)
class Mixture:
    """The parts of p(x) = sum_k p(k) p(x|k), and the densities of all components at once.

    Attributes:
        component: What each component is one of: a distribution layer, with a row of a table as
            its parameters, or the network `decoder` itself.
        decoder: Network from one-hot `[B, K]` to p(x|k).
        prior: p(k), over one-hot vectors.
        num_components: Number of components, K.
    """

    component: Any
    decoder: Any
    prior: Prior
    num_components: int

    def log_p_x(self, x: Tensor) -> Tensor:
        """Returns log p(x|k), `[B, K]`, nats."""
        p_x = self.decoder(tf.eye(self.num_components))
        return p_x.log_prob(tf.cast(x, p_x.dtype)[:, None])

    def log_p_k(self) -> Tensor:
        """Returns log p(k), `[K]`, nats."""
        return self.prior.distribution().log_prob(tf.eye(self.num_components))

    def log_joint(self, x: Tensor) -> Tensor:
        """Returns log p(k) + log p(x|k), `[B, K]`, nats."""
        return self.log_p_x(x) + self.log_p_k()

    @property
    def table(self) -> Any:
        """The parameters of all components `[K, P]`, of a mixture of distribution layers."""
        return self.decoder.layers[0].kernel


class Responsibilities(keras.layers.Layer):
    """Encoder q(k|x) of a finite mixture, made of its components.

    Args:
        log_joint: From x to log p(k) + log p(x|k) `[B, K]`, as the parts stand when it is called.
        size: Number of components, K.
    """

    def __init__(self, log_joint: Callable[[Tensor], Tensor], size: int) -> None:
        super().__init__(name="responsibilities")
        self._log_joint = log_joint
        self._one_hot = layers.OneHotCategorical(size)

    def build(self, *shapes: Any) -> None:
        """Makes nothing: without it Keras would call the parts in a graph that it never drops."""
        self.built = True

    def call(self, x: Tensor) -> Distribution:
        """Returns q(k|x), batch shape `[B]`, over one-hot vectors."""
        return self._one_hot(self._log_joint(x))


def with_table(component: Any, num_components: int, seed: int | None) -> Any:
    """Returns p(x|k) from one-hot vectors: a network as it is, a layer with a row for each k.

    Raises:
        ValueError: The layer takes no parameters.
    """
    if not isinstance(component, layers.DistributionLayer):
        return component
    size = component._params_size()
    if not size:
        raise ValueError(
            "`component` takes no parameters by which components could differ. Received: "
            f"{type(component).__name__} of 0 parameters. Give an autoregressive layer a "
            "`context_size`, which is then learned for each component."
        )
    start: Any = keras.initializers.RandomNormal(stddev=0.5, seed=seed)
    table = keras.layers.Dense(size, use_bias=False, kernel_initializer=start, name="table")
    return keras.Sequential([keras.Input((num_components,)), table, component])


def checked_weights(prior: Any, num_components: int) -> Prior:
    """Returns a prior that responsibilities can be made of.

    Raises:
        TypeError: It is no prior.
        ValueError: It is made of the posteriors itself, reads a context, or is a density.
    """
    prior = checked_prior(prior)
    problem = None
    if prior.needs_model:
        problem = "one that is made of posteriors, which in a mixture are made of the prior"
    elif prior.takes_context:
        problem = "one that reads a context"
    else:
        prior.build((num_components,))
        p_k = prior.distribution()
        states = element_states(p_k)
        kinds = tf.nest.flatten(p_k.reparameterization_type)
        if all(kind == tfd.FULLY_REPARAMETERIZED for kind in kinds):
            problem = "one over a continuum"
        elif states is not None and states.ndim == 1:
            problem = "one over several numbers, of which one-hot vectors are a few"
    if problem is not None:
        raise ValueError(
            "The prior of a finite mixture gives the weights of its components: it is one over "
            f"one-hot vectors, such as `OneHot()`. Received: {kind_of(prior)}, {problem}."
        )
    return prior
