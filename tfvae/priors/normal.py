"""A Gaussian prior with learned mean and scale."""

from __future__ import annotations

from typing import Any

import tensorflow_probability as tfp

from tfvae._precision import full_precision
from tfvae._typing import Distribution, Shape, Tensor, register
from tfvae.layers.parameters import above
from tfvae.priors.base import Prior, add_scale

__all__ = ["Normal"]

tfd = tfp.distributions


@register
class Normal(Prior):
    """p(z) = N(z; loc, diag scale**2) with learned `loc` and `scale`, of any shape.

        scale = min_scale + softplus(raw_scale)

    It starts as the standard normal. Alone it makes a model no richer: an affine decoder can do
    the same. It helps where the decoder is tied or fixed, and as the top of a hierarchy.

    Args:
        event_shape: Shape of one latent; by default that of the model's encoder.
        min_scale: Lower bound of `scale`.
        **kwargs: See `Prior`.

    Example:
        >>> tfvae.priors.Normal(16).distribution().stddev().shape
        TensorShape([16])

    Reference: Probabilistic Machine Learning: Advanced Topics (Murphy, 2023), section 21.2.
    """

    def __init__(self, event_shape: Any = None, *, min_scale: float = 1e-5, **kwargs: Any) -> None:
        self.min_scale = min_scale
        super().__init__(event_shape, **kwargs)

    def distribution(self, context: Tensor | None = None) -> Distribution:
        """Returns `tfd.Independent(tfd.Normal)`, batch shape `[]`, event shape `E`."""
        rank = len(self.known_event_shape())
        scale = above(self.min_scale, full_precision(self.raw_scale))
        return tfd.Independent(tfd.Normal(full_precision(self.loc), scale), rank)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "min_scale": self.min_scale}

    def _build(self, event_shape: Shape) -> None:
        self.loc = self.add_weight(shape=event_shape, initializer="zeros", name="loc")
        self.raw_scale = add_scale(self, event_shape, self.min_scale)
