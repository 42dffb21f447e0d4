"""Evaluation: the evidence, the ledger of the ELBO, imputation; streamed, in bounded memory."""

from tfvae.evaluation.decomposition import Decomposition, decompose
from tfvae.evaluation.estimate import Estimate
from tfvae.evaluation.imputation import Imputation, impute
from tfvae.evaluation.likelihood import LogLikelihood, log_likelihood

__all__ = [
    "Decomposition",
    "Estimate",
    "Imputation",
    "LogLikelihood",
    "decompose",
    "impute",
    "log_likelihood",
]
