"""Distributions, and questions to distributions, that TFP lacks; no Keras in here."""

from tfvae.distributions.gaussian import as_diagonal_normal
from tfvae.distributions.pairwise import (
    aggregated_log_prob,
    pairwise_log_prob,
    pairwise_log_prob_fast,
)
from tfvae.distributions.reparameterised import sample_and_log_prob
from tfvae.distributions.support import Support, support_of

__all__ = [
    "Support",
    "aggregated_log_prob",
    "as_diagonal_normal",
    "pairwise_log_prob",
    "pairwise_log_prob_fast",
    "sample_and_log_prob",
    "support_of",
]
