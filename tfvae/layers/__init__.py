"""Keras layers whose output is a `tfp.distributions` object, and what goes with them."""

from tfvae.layers.adapted import Adapted
from tfvae.layers.autoregressive import Autoregressive, PixelCNN
from tfvae.layers.autoregressive_transform import AutoregressiveTransform
from tfvae.layers.base import DistributionLayer, IndependentLayer
from tfvae.layers.bernoulli import IndependentBernoulli
from tfvae.layers.categorical import (
    CategoricalMixtureOfOneHotCategorical,
    IndependentCategorical,
    OneHotCategorical,
)
from tfvae.layers.counts import (
    IndependentNegativeBinomial,
    IndependentPoisson,
    ZeroInflatedNegativeBinomial,
    ZeroInflatedPoisson,
)
from tfvae.layers.data_encoder import DataEncoder
from tfvae.layers.discretized import DiscretizedLogistic, MixtureOfDiscretizedLogistics
from tfvae.layers.distribution_lambda import DistributionLambda
from tfvae.layers.heterogeneous import Heterogeneous
from tfvae.layers.image_parameters import ImageParameters
from tfvae.layers.kl import KLDivergenceAddLoss, KLDivergenceRegularizer
from tfvae.layers.masked import Masked
from tfvae.layers.mixture import MixtureLogistic, MixtureNormal, MixtureSameFamily
from tfvae.layers.normal import (
    IndependentNormal,
    MultivariateNormalDiag,
    MultivariateNormalLowRank,
    MultivariateNormalTriL,
)
from tfvae.layers.real import (
    IndependentLaplace,
    IndependentLogistic,
    IndependentLogNormal,
    IndependentStudentT,
)
from tfvae.layers.relaxed import RelaxedBernoulli, RelaxedOneHotCategorical
from tfvae.layers.sphere import PowerSpherical, VonMisesFisher
from tfvae.layers.start import start_of
from tfvae.layers.transformed import TransformedDistribution
from tfvae.layers.unit_interval import ContinuousBernoulli, IndependentBeta
from tfvae.layers.variable import VariableLayer

__all__ = [
    "Adapted",
    "Autoregressive",
    "AutoregressiveTransform",
    "CategoricalMixtureOfOneHotCategorical",
    "ContinuousBernoulli",
    "DataEncoder",
    "DiscretizedLogistic",
    "DistributionLambda",
    "DistributionLayer",
    "Heterogeneous",
    "ImageParameters",
    "IndependentBernoulli",
    "IndependentBeta",
    "IndependentCategorical",
    "IndependentLaplace",
    "IndependentLayer",
    "IndependentLogNormal",
    "IndependentLogistic",
    "IndependentNegativeBinomial",
    "IndependentNormal",
    "IndependentPoisson",
    "IndependentStudentT",
    "KLDivergenceAddLoss",
    "KLDivergenceRegularizer",
    "Masked",
    "MixtureLogistic",
    "MixtureNormal",
    "MixtureOfDiscretizedLogistics",
    "MixtureSameFamily",
    "MultivariateNormalDiag",
    "MultivariateNormalLowRank",
    "MultivariateNormalTriL",
    "OneHotCategorical",
    "PixelCNN",
    "PowerSpherical",
    "RelaxedBernoulli",
    "RelaxedOneHotCategorical",
    "TransformedDistribution",
    "VariableLayer",
    "VonMisesFisher",
    "ZeroInflatedNegativeBinomial",
    "ZeroInflatedPoisson",
    "start_of",
]
