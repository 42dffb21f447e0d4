"""Priors p(z): Keras layers with weights and a `distribution()` method."""

from tfvae.priors.base import Prior
from tfvae.priors.standard_normal import StandardNormal

__all__ = ["Prior", "StandardNormal"]
