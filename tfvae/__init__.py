"""Deep latent variable models on TensorFlow, Keras 3 and TensorFlow Probability."""

from tfvae import (
    _requirements,  # noqa: F401  first: one clear error beats a traceback of imports
    distributions,
    divergences,
    layers,
    networks,
    objectives,
    priors,
)
from tfvae._version import __version__
from tfvae.losses import NegativeLogLikelihood
from tfvae.models import VAE, LatentVariableModel
from tfvae.terms import Terms

__all__ = [
    "VAE",
    "LatentVariableModel",
    "NegativeLogLikelihood",
    "Terms",
    "__version__",
    "distributions",
    "divergences",
    "layers",
    "networks",
    "objectives",
    "priors",
]
