"""Keras networks from tensor to tensor; they know nothing of distributions."""

from tfvae.networks.bodies import (
    GatedDense,
    conv,
    conv_transpose,
    functional,
    gated_mlp,
    mlp,
)
from tfvae.networks.causal import GatedPixelCNN
from tfvae.networks.conditional import ConditionalMLP
from tfvae.networks.made import MADE
from tfvae.networks.masked import MaskedDense
from tfvae.networks.missing import FillMissing

__all__ = [
    "MADE",
    "ConditionalMLP",
    "FillMissing",
    "GatedDense",
    "GatedPixelCNN",
    "MaskedDense",
    "conv",
    "conv_transpose",
    "functional",
    "gated_mlp",
    "mlp",
]
