"""A mixture of Gaussians as prior."""

from __future__ import annotations

from typing import Any

import keras

from tfvae._config import check_count
from tfvae._precision import full_precision
from tfvae._stored import parts_config
from tfvae._typing import Shape, Tensor, register
from tfvae.distributions.normal_mixture import NormalMixture
from tfvae.layers.parameters import above
from tfvae.priors.base import Prior, add_scale

__all__ = ["GaussianMixture"]


@register
class GaussianMixture(Prior):
    """p(z) = sum_m w_m N(z; loc_m, diag scale_m**2), all learned.

    Args:
        num_components: Number of components, M.
        event_shape: Shape of one latent, `E`; by default that of the model's encoder.
        learn_weights: Learns `w`; False keeps them equal.
        min_scale: Lower bound of the scales: above zero, or a component can shrink to a point.
        loc_initializer: Keras initializer of `loc` `[M, *E]`. Components that start at one point
            stay together.
        **kwargs: See `Prior`.

    Raises:
        ValueError: `num_components` is smaller than 1.

    Example:
        >>> tfvae.priors.GaussianMixture(10, 2).distribution().num_components
        10

    Reference: Variational Deep Embedding (Jiang et al., 2017), https://arxiv.org/abs/1611.05148
    """

    def __init__(
        self,
        num_components: int = 10,
        event_shape: Any = None,
        *,
        learn_weights: bool = True,
        min_scale: float = 1e-3,
        loc_initializer: Any = "random_normal",
        **kwargs: Any,
    ) -> None:
        check_count("num_components", num_components)
        self.num_components = int(num_components)
        self.learn_weights = learn_weights
        self.min_scale = min_scale
        if loc_initializer == "random_normal":
            loc_initializer = keras.initializers.RandomNormal(stddev=1.0)
        self.loc_initializer: Any = keras.initializers.get(loc_initializer)
        super().__init__(event_shape, **kwargs)

    def distribution(self, context: Tensor | None = None) -> NormalMixture:
        """Returns a `tfvae.distributions.NormalMixture`, batch shape `[]`, event shape `E`."""
        self.known_event_shape()
        scale = above(self.min_scale, full_precision(self.raw_scale))
        return NormalMixture(full_precision(self.logits), full_precision(self.loc), scale)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_components": self.num_components,
            "learn_weights": self.learn_weights,
            "min_scale": self.min_scale,
            **parts_config(self, "loc_initializer"),
        }

    def _build(self, event_shape: Shape) -> None:
        shape = (self.num_components, *event_shape)
        self.logits = self.add_weight(
            shape=shape[:1], initializer="zeros", trainable=self.learn_weights, name="logits"
        )
        self.loc = self.add_weight(shape=shape, initializer=self.loc_initializer, name="loc")
        self.raw_scale = add_scale(self, shape, self.min_scale)
