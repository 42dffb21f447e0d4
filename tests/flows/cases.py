"""All flows, and weights far from those of a new one: one entry adds a flow to the battery."""

import numpy as np
import pytest
import tensorflow as tf

from tfvae import flows

# From keyword arguments of `Flow` to a small flow.
FLOWS = {
    flows.RealNVP: lambda **kwargs: flows.RealNVP(3, [8, 8], activation="tanh", **kwargs),
    flows.NeuralSpline: lambda **kwargs: flows.NeuralSpline(3, [8], activation="tanh", **kwargs),
    flows.MaskedAutoregressive: lambda **kwargs: flows.MaskedAutoregressive(
        2, [8, 8], activation="tanh", **kwargs
    ),
    flows.InverseAutoregressive: lambda **kwargs: flows.InverseAutoregressive(
        2, [8, 8], activation="tanh", **kwargs
    ),
    flows.Chain: lambda **kwargs: flows.Chain(
        [
            flows.RealNVP(2, [8], activation="tanh", **kwargs),
            flows.NeuralSpline(2, [8], activation="tanh", **kwargs),
        ],
        **kwargs,
    ),
}

# One that is coupled and one that is autoregressive are quick.
QUICK = (flows.RealNVP, flows.InverseAutoregressive)
over_all_flows = pytest.mark.parametrize(
    "cls",
    [cls if cls in QUICK else pytest.param(cls, marks=pytest.mark.slow) for cls in FLOWS],
    ids=lambda cls: cls.__name__,
)


def perturb(flow: flows.Flow, scale: float = 1.0, seed: int = 0) -> flows.Flow:
    """Adds noise to all weights of a built flow, so much that it is far from the identity."""
    generator = np.random.default_rng(seed)
    for variable in flow.trainable_variables:
        noise = scale * generator.normal(size=variable.shape) / np.sqrt(variable.shape[0])
        variable.assign(variable.numpy() + noise)
    return flow


def made(cls, event_shape, context_size=0, *, scale=1.0, dtype="float64", seed=0) -> flows.Flow:
    """Returns a built flow with weights far from the start; 0 as `scale` leaves them."""
    flow = FLOWS[cls](dtype=dtype)
    flow.build(event_shape, context_size)
    return perturb(flow, scale, seed) if scale else flow


def normal(*shape: int, seed: int = 1, dtype: str = "float64") -> tf.Tensor:
    """Returns standard normal values."""
    return tf.constant(np.random.default_rng(seed).normal(size=shape), dtype)
