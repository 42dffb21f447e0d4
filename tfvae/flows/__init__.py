"""Normalizing flows: Keras layers that make invertible maps of latents, given a context."""

from tfvae.flows.autoregressive import InverseAutoregressive, MaskedAutoregressive
from tfvae.flows.base import Flow
from tfvae.flows.chain import Chain
from tfvae.flows.coupling import NeuralSpline, RealNVP

__all__ = [
    "Chain",
    "Flow",
    "InverseAutoregressive",
    "MaskedAutoregressive",
    "NeuralSpline",
    "RealNVP",
]
