"""Keras layers whose output is a `tfp.distributions` object."""

from tfvae.layers.base import DistributionLayer
from tfvae.layers.bernoulli import IndependentBernoulli
from tfvae.layers.normal import IndependentNormal, MultivariateNormalDiag

__all__ = [
    "DistributionLayer",
    "IndependentBernoulli",
    "IndependentNormal",
    "MultivariateNormalDiag",
]
