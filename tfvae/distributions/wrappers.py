"""TFP's distributions around other distributions, as the classes that tell them apart."""

from __future__ import annotations

from typing import Any

from tensorflow_probability.python.distributions.batch_broadcast import _BatchBroadcast
from tensorflow_probability.python.distributions.batch_reshape import _BatchReshape
from tensorflow_probability.python.distributions.independent import _Independent
from tensorflow_probability.python.distributions.mixture import _Mixture
from tensorflow_probability.python.distributions.mixture_same_family import _MixtureSameFamily
from tensorflow_probability.python.distributions.sample import _Sample
from tensorflow_probability.python.distributions.transformed_distribution import (
    _TransformedDistribution,
)
from tensorflow_probability.python.internal import prefer_static

from tfvae._typing import Tensor

__all__ = [
    "BatchBroadcast",
    "BatchReshape",
    "Independent",
    "Mixture",
    "MixtureSameFamily",
    "Sample",
    "TransformedDistribution",
]

# Around what is no composite tensor, `tfd.Independent(...)` and the like are objects of these bases
# and not of the public classes, which are subclasses.
BatchBroadcast = _BatchBroadcast
BatchReshape = _BatchReshape
Independent = _Independent
Mixture = _Mixture
MixtureSameFamily = _MixtureSameFamily
Sample = _Sample
TransformedDistribution = _TransformedDistribution


def _with_copies(self: Any, sample_shape: Any) -> Tensor:
    """Returns the shape of draws of the inner distribution that fill the whole batch."""
    whole, own = (
        prefer_static.reduce_prod(shape)
        for shape in (self.batch_shape_tensor(), self.distribution.batch_shape_tensor())
    )
    copies = whole // prefer_static.maximum(own, 1)
    return prefer_static.concat([sample_shape, [copies]], axis=0)


# TFP 0.25 divides by the size of the inner batch, which may be 0. Whatever it transforms or mixes
# it draws through this class where a graph leaves the size of the batch open, Gaussian vectors
# among them, and none of these can be given another.
_BatchBroadcast._augment_sample_shape = _with_copies
