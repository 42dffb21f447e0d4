"""Deep latent variable models on TensorFlow, Keras 3 and TensorFlow Probability."""

from tfvae import (
    _requirements,  # noqa: F401  first: one clear error beats a traceback of imports
    distributions,
    divergences,
    evaluation,
    layers,
    networks,
    objectives,
    priors,
)
from tfvae._version import __version__
from tfvae.evaluation import decompose, log_likelihood
from tfvae.losses import NegativeLogLikelihood
from tfvae.models import VAE, LatentVariableModel
from tfvae.terms import Terms

__all__ = [
    "VAE",
    "LatentVariableModel",
    "NegativeLogLikelihood",
    "Terms",
    "__version__",
    "decompose",
    "distributions",
    "divergences",
    "evaluation",
    "layers",
    "log_likelihood",
    "networks",
    "objectives",
    "priors",
]
