"""Evaluation: evidence, ledger of the ELBO, collapse, imputation; streamed, in bounded memory."""

from tfvae.evaluation.annealing import AnnealedLogLikelihood, annealed_log_likelihood
from tfvae.evaluation.bidirectional import Bidirectional, bidirectional
from tfvae.evaluation.collapse import CollapseReport, measure_collapse
from tfvae.evaluation.curve import Curve
from tfvae.evaluation.decomposition import decompose
from tfvae.evaluation.dimensions import Dimensions
from tfvae.evaluation.estimate import Estimate, render_table
from tfvae.evaluation.imputation import Imputation, impute
from tfvae.evaluation.ledger import Decomposition
from tfvae.evaluation.likelihood import LogLikelihood, log_likelihood
from tfvae.evaluation.merging import merged
from tfvae.evaluation.proposals import Defensive, Encoder, Proposal, Refined, Widened
from tfvae.evaluation.rate_distortion import RateDistortion, rate_distortion
from tfvae.evaluation.refinement import Refinement, refine
from tfvae.evaluation.sharding import Part, Shard

__all__ = [
    "AnnealedLogLikelihood",
    "Bidirectional",
    "CollapseReport",
    "Curve",
    "Decomposition",
    "Defensive",
    "Dimensions",
    "Encoder",
    "Estimate",
    "Imputation",
    "LogLikelihood",
    "Part",
    "Proposal",
    "RateDistortion",
    "Refined",
    "Refinement",
    "Shard",
    "Widened",
    "annealed_log_likelihood",
    "bidirectional",
    "decompose",
    "impute",
    "log_likelihood",
    "measure_collapse",
    "merged",
    "rate_distortion",
    "refine",
    "render_table",
]
