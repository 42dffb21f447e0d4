"""A prior that depends on a context."""

from __future__ import annotations

from typing import Any

import keras

from tfvae._stored import made_again, objects_config
from tfvae._typing import Distribution, Shape, Tensor, register
from tfvae._words import kind_of
from tfvae.priors.base import Prior

__all__ = ["Conditional"]


@register
class Conditional(Prior):
    """p(z|c): any Keras model from the context to a distribution over one latent.

    Args:
        network: From `context` `[B, *C]` to a distribution, batch shape `[B]`, event shape `E`.
        event_shape: Shape of one latent; by default that of the model's encoder.
        **kwargs: See `Prior`.

    Raises:
        TypeError: `network` is no Keras layer, or returns no distribution.

    Example:
        >>> network = keras.Sequential([
        ...     keras.Input((10,)), keras.layers.Dense(4), tfvae.layers.MultivariateNormalDiag(2)])
        >>> prior = tfvae.priors.Conditional(network, 2)
        >>> prior.distribution(tf.eye(10)).batch_shape
        TensorShape([10])

    Reference: Learning Structured Output Representation using Deep Conditional Generative Models
    (Sohn et al., 2015)
    """

    takes_context = True

    def __init__(self, network: Any, event_shape: Any = None, **kwargs: Any) -> None:
        if not isinstance(network, keras.layers.Layer):
            raise TypeError(
                "`network` must be a Keras model from the context to a distribution. "
                f"Received: {kind_of(network)}"
            )
        # Keras needs its own constructor first to see the network's weights.
        super().__init__(**kwargs)
        self.network = network
        if event_shape is not None:
            self.build(event_shape)

    @property
    def inputs(self) -> Any:
        """The symbolic inputs of the network, where it has them."""
        return getattr(self.network, "inputs", None)

    def distribution(self, context: Tensor | None = None) -> Distribution:
        """Returns p(z|c), batch shape `[B]`, event shape `E`."""
        self.known_event_shape()
        if context is None:
            raise ValueError(f"The prior '{self.name}' needs a context. Received: none.")
        p_z = self.network(context)
        if not isinstance(p_z, Distribution):
            raise TypeError(
                "`network` of a conditional prior must return a tfp distribution. "
                f"Received: {kind_of(p_z)}. End it with a layer of `tfvae.layers`."
            )
        return p_z

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **objects_config(network=self.network)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Conditional:
        return cls(**made_again(config, "network"))

    def _build(self, event_shape: Shape) -> None:
        inputs = self.inputs
        if inputs and len(inputs) != 1:
            raise ValueError(
                "`network` of a conditional prior must have one input, the context. "
                f"Received: {len(inputs)} inputs"
            )
