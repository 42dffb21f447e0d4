"""Evaluation: evidence, ledger of the ELBO, collapse, imputation; streamed, in bounded memory."""

from tfvae.evaluation.collapse import CollapseReport, measure_collapse
from tfvae.evaluation.curve import Curve
from tfvae.evaluation.decomposition import Decomposition, decompose
from tfvae.evaluation.estimate import Estimate
from tfvae.evaluation.imputation import Imputation, impute
from tfvae.evaluation.likelihood import LogLikelihood, log_likelihood
from tfvae.evaluation.proposals import Defensive, Encoder, Proposal, Refined, Widened
from tfvae.evaluation.refinement import Refinement, refine

__all__ = [
    "CollapseReport",
    "Curve",
    "Decomposition",
    "Defensive",
    "Encoder",
    "Estimate",
    "Imputation",
    "LogLikelihood",
    "Proposal",
    "Refined",
    "Refinement",
    "Widened",
    "decompose",
    "impute",
    "log_likelihood",
    "measure_collapse",
    "refine",
]
