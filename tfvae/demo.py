"""A tiny trained model, for the examples of this documentation.

    >>> from tfvae.demo import vae, x
    >>> vae.encode(x).mean().shape
    TensorShape([20, 2])

It is made when it is first asked for, in a second, and is no good as a model: two latents, linear
networks, one epoch over 20 digits.
"""

from __future__ import annotations

import functools
from typing import Any

import keras

from tfvae import datasets, layers, networks
from tfvae.models import VAE

__all__ = ["data", "decoder", "encoder", "terms", "vae", "x", "x_valid"]

# For readers of the code, and their tools; the values come from `__getattr__`.
data: datasets.Dataset
decoder: Any
encoder: Any
terms: Any
vae: Any
x: Any
x_valid: Any


def __getattr__(name: str) -> Any:
    """Makes all of them on first use."""
    if name not in __all__:
        raise AttributeError(f"module 'tfvae.demo' has no attribute {name!r}")
    return _made()[name]


@functools.cache
def _made() -> dict[str, Any]:
    found = datasets.digits()
    shape, rows = (8, 8, 1), found.x_train[:20]
    posterior, likelihood = layers.MultivariateNormalDiag(2), layers.IndependentBernoulli(shape)

    # The same weights in each process, whatever was drawn before.
    weights: Any = keras.initializers.GlorotUniform(0)

    def dense(units: int) -> keras.layers.Dense:
        return keras.layers.Dense(units, kernel_initializer=weights)

    q = networks.functional(
        {"x": shape}, keras.layers.Flatten(), dense(posterior.num_params), posterior
    )
    p = networks.functional({"z": 2}, dense(likelihood.num_params), likelihood)
    model = VAE(q, p, seed=0)
    model.compile("adam")
    model.fit(rows, shuffle=False, verbose=0)
    return {
        "data": found,
        "decoder": p,
        "encoder": q,
        "terms": model.terms(rows, 3, seed=0),
        "vae": model,
        "x": rows,
        "x_valid": found.x_valid,
    }
