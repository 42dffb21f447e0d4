"""Deep latent variable models on TensorFlow, Keras 3 and TensorFlow Probability."""

import importlib
from typing import TYPE_CHECKING, Any

from tfvae import (
    _requirements,  # noqa: F401  first: one clear error beats a traceback of imports
    callbacks,
    checking,
    datasets,
    distributions,
    divergences,
    evaluation,
    flows,
    layers,
    learning,
    networks,
    objectives,
    priors,
)
from tfvae._version import __version__
from tfvae.checking import check
from tfvae.evaluation import (
    annealed_log_likelihood,
    decompose,
    impute,
    log_likelihood,
    rate_distortion,
)
from tfvae.losses import NegativeLogLikelihood
from tfvae.models import (
    VAE,
    ConditionalModel,
    DensityModel,
    DirectedModel,
    FiniteMixture,
    HierarchicalVAE,
    LatentVariableModel,
)
from tfvae.terms import Terms

if TYPE_CHECKING:
    from tfvae import latents, plots
    from tfvae.reporting import report

__all__ = [
    "VAE",
    "ConditionalModel",
    "DensityModel",
    "DirectedModel",
    "FiniteMixture",
    "HierarchicalVAE",
    "LatentVariableModel",
    "NegativeLogLikelihood",
    "Terms",
    "__version__",
    "annealed_log_likelihood",
    "callbacks",
    "check",
    "checking",
    "datasets",
    "decompose",
    "distributions",
    "divergences",
    "evaluation",
    "flows",
    "impute",
    "latents",
    "layers",
    "learning",
    "log_likelihood",
    "networks",
    "objectives",
    "plots",
    "priors",
    "rate_distortion",
    "report",
]


def __getattr__(name: str) -> Any:
    """Imports what most programs do not need on first use."""
    if name in ("latents", "plots", "sklearn", "tables"):
        return importlib.import_module(f"tfvae.{name}")
    if name == "report":
        return importlib.import_module("tfvae.reporting").report
    raise AttributeError(f"module 'tfvae' has no attribute {name!r}")
