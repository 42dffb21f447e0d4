"""Keras networks from tensor to tensor; they know nothing of distributions."""

from tfvae.networks.bodies import GatedDense, conv, conv_transpose, gated_mlp, mlp

__all__ = ["GatedDense", "conv", "conv_transpose", "gated_mlp", "mlp"]
