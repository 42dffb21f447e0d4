"""Figures of a model, its latents and its training, as `matplotlib.figure.Figure` objects.

Nothing here needs a display or leaves a figure behind in `matplotlib.pyplot`: write a file with
`figure.savefig("figure.pdf")`, or let a notebook show the figure that ends a cell.
"""

from tfvae.plots.columns import columns
from tfvae.plots.evidence import evidence_curve, ledger, rate_distortion, rates
from tfvae.plots.latents import latent_space
from tfvae.plots.pictures import images, reconstructions, samples, traversals
from tfvae.plots.training import training_curves

__all__ = [
    "columns",
    "evidence_curve",
    "images",
    "latent_space",
    "ledger",
    "rate_distortion",
    "rates",
    "reconstructions",
    "samples",
    "training_curves",
    "traversals",
]
