"""Keras networks from tensor to tensor; they know nothing of distributions."""

from tfvae.networks.bodies import GatedDense, conv, conv_transpose, gated_mlp, mlp
from tfvae.networks.causal import GatedPixelCNN
from tfvae.networks.conditional import ConditionalMLP
from tfvae.networks.masked import MADE, MaskedDense

__all__ = [
    "MADE",
    "ConditionalMLP",
    "GatedDense",
    "GatedPixelCNN",
    "MaskedDense",
    "conv",
    "conv_transpose",
    "gated_mlp",
    "mlp",
]
