"""Models: `LatentVariableModel`, which trains, evaluates and exports, and what derives from it."""

from tfvae.models.base import LatentVariableModel
from tfvae.models.directed import DirectedModel
from tfvae.models.finite_mixture import FiniteMixture
from tfvae.models.hierarchy import HierarchicalVAE
from tfvae.models.observed import ConditionalModel, DensityModel
from tfvae.models.vae import VAE

__all__ = [
    "VAE",
    "ConditionalModel",
    "DensityModel",
    "DirectedModel",
    "FiniteMixture",
    "HierarchicalVAE",
    "LatentVariableModel",
]
