"""Keras layers whose output is a `tfp.distributions` object, and what goes with them."""

from tfvae.layers.base import DistributionLayer, IndependentLayer
from tfvae.layers.bernoulli import IndependentBernoulli
from tfvae.layers.categorical import CategoricalMixtureOfOneHotCategorical, OneHotCategorical
from tfvae.layers.counts import IndependentPoisson
from tfvae.layers.distribution_lambda import DistributionLambda
from tfvae.layers.kl import KLDivergenceAddLoss, KLDivergenceRegularizer
from tfvae.layers.mixture import MixtureLogistic, MixtureNormal, MixtureSameFamily
from tfvae.layers.normal import IndependentNormal, MultivariateNormalDiag, MultivariateNormalTriL
from tfvae.layers.real import IndependentLogistic
from tfvae.layers.variable import VariableLayer

__all__ = [
    "CategoricalMixtureOfOneHotCategorical",
    "DistributionLambda",
    "DistributionLayer",
    "IndependentBernoulli",
    "IndependentLayer",
    "IndependentLogistic",
    "IndependentNormal",
    "IndependentPoisson",
    "KLDivergenceAddLoss",
    "KLDivergenceRegularizer",
    "MixtureLogistic",
    "MixtureNormal",
    "MixtureSameFamily",
    "MultivariateNormalDiag",
    "MultivariateNormalTriL",
    "OneHotCategorical",
    "VariableLayer",
]
