"""Evaluation: the evidence, and the ledger of the ELBO; streamed, in bounded memory."""

from tfvae.evaluation.decomposition import Decomposition, decompose
from tfvae.evaluation.estimate import Estimate
from tfvae.evaluation.likelihood import LogLikelihood, log_likelihood

__all__ = ["Decomposition", "Estimate", "LogLikelihood", "decompose", "log_likelihood"]
