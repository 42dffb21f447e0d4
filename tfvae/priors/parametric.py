"""Any family with free parameters."""

from __future__ import annotations

from typing import Any

import keras

from tfvae._precision import full_precision
from tfvae._stored import made_again, objects_config, parts_config
from tfvae._typing import Distribution, Shape, Tensor, register
from tfvae._words import kind_of
from tfvae.layers.base import DistributionLayer
from tfvae.priors.base import Prior

__all__ = ["Parametric"]


@register
class Parametric(Prior):
    """A member of the family of a distribution layer, its parameters learned.

        p(z) = family(z; params),   params `[P]` learned

    As the density of a `tfvae.DensityModel` it is fitted by maximum likelihood.

    Args:
        layer: A distribution layer, over one latent.
        initializer: Keras initializer of the parameters; some noise by default, since components
            of a mixture that start as one stay together.
        **kwargs: See `Prior`.

    Raises:
        TypeError: `layer` is no distribution layer.

    Example:
        >>> prior = tfvae.priors.Parametric(tfvae.layers.MultivariateNormalTriL(2))
        >>> prior.distribution().covariance().shape
        TensorShape([2, 2])

    Reference: Pattern Recognition and Machine Learning (Bishop, 2006), section 2.3.
    """

    def __init__(self, layer: DistributionLayer, initializer: Any = None, **kwargs: Any) -> None:
        if not isinstance(layer, DistributionLayer):
            raise TypeError(
                "`layer` must be a distribution layer of `tfvae.layers`. "
                f"Received: {kind_of(layer)}"
            )
        kwargs.pop("event_shape", None)  # in the config; the layer knows it
        super().__init__(**kwargs)
        self.layer = layer
        if initializer is None:
            initializer = keras.initializers.RandomNormal(stddev=0.1)
        self.initializer: Any = keras.initializers.get(initializer)
        self.build(layer.event_shape)

    def distribution(self, context: Tensor | None = None) -> Distribution:
        """Returns the distribution of the layer's family, batch shape `[]`."""
        return self.layer._distribution(full_precision(self.params))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            **objects_config(layer=self.layer),
            **parts_config(self, "initializer"),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Parametric:
        return cls(**made_again(config, "layer"))

    def _build(self, event_shape: Shape) -> None:
        shape = (self.layer._params_size(),)
        # Weights of the layer's own, those of a flow or a network, exist from now on.
        self.layer.build(shape)
        self.params = self.add_weight(shape=shape, initializer=self.initializer, name="params")
