"""Distributions, and questions to distributions, that TFP lacks; no Keras in here."""

from tfvae.distributions.aggregated import AggregatedPosterior, EntropyEstimate
from tfvae.distributions.autoregressive import Autoregressive
from tfvae.distributions.bernoulli import Bernoulli
from tfvae.distributions.discretized_logistic import DiscretizedLogistic
from tfvae.distributions.factors import as_factors
from tfvae.distributions.finite import element_states
from tfvae.distributions.full_normal import FullNormal
from tfvae.distributions.gaussian import as_diagonal_normal
from tfvae.distributions.heterogeneous import Heterogeneous
from tfvae.distributions.hierarchy import Hierarchy
from tfvae.distributions.kernel_density import KernelDensity
from tfvae.distributions.kl import closed_form_kl
from tfvae.distributions.labelled import Labelled
from tfvae.distributions.marginals import given_observed, marginals_of
from tfvae.distributions.masked import Masked
from tfvae.distributions.normal_mixture import NormalMixture
from tfvae.distributions.one_hot import OneHotMixture
from tfvae.distributions.pairwise import (
    aggregated_log_prob,
    pairwise_log_prob,
    pairwise_log_prob_fast,
)
from tfvae.distributions.reparameterised import sample_and_log_prob
from tfvae.distributions.statistics import known_centre, probabilities
from tfvae.distributions.support import Support, support_of
from tfvae.distributions.zero_inflated import ZeroInflated

__all__ = [
    "AggregatedPosterior",
    "Autoregressive",
    "Bernoulli",
    "DiscretizedLogistic",
    "EntropyEstimate",
    "FullNormal",
    "Heterogeneous",
    "Hierarchy",
    "KernelDensity",
    "Labelled",
    "Masked",
    "NormalMixture",
    "OneHotMixture",
    "Support",
    "ZeroInflated",
    "aggregated_log_prob",
    "as_diagonal_normal",
    "as_factors",
    "closed_form_kl",
    "element_states",
    "given_observed",
    "known_centre",
    "marginals_of",
    "pairwise_log_prob",
    "pairwise_log_prob_fast",
    "probabilities",
    "sample_and_log_prob",
    "support_of",
]
