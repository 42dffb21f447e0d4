"""Priors p(z): Keras layers that hold the weights and make the distribution."""

from tfvae.priors.autoregressive import Autoregressive
from tfvae.priors.base import Prior
from tfvae.priors.categorical import Categorical, OneHot
from tfvae.priors.conditional import Conditional
from tfvae.priors.flow import FlowPrior, MaskedAutoregressive, NeuralSpline, RealNVP
from tfvae.priors.mixture import GaussianMixture
from tfvae.priors.normal import Normal
from tfvae.priors.parametric import Parametric
from tfvae.priors.sphere import Hyperspherical
from tfvae.priors.standard_normal import StandardNormal
from tfvae.priors.vamp import VampPrior

__all__ = [
    "Autoregressive",
    "Categorical",
    "Conditional",
    "FlowPrior",
    "GaussianMixture",
    "Hyperspherical",
    "MaskedAutoregressive",
    "NeuralSpline",
    "Normal",
    "OneHot",
    "Parametric",
    "Prior",
    "RealNVP",
    "StandardNormal",
    "VampPrior",
]
