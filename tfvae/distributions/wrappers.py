"""TFP's distributions around other distributions, as the classes that tell them apart."""

from __future__ import annotations

from tensorflow_probability.python.distributions.batch_broadcast import _BatchBroadcast
from tensorflow_probability.python.distributions.batch_reshape import _BatchReshape
from tensorflow_probability.python.distributions.independent import _Independent
from tensorflow_probability.python.distributions.mixture_same_family import _MixtureSameFamily

__all__ = ["BatchBroadcast", "BatchReshape", "Independent", "MixtureSameFamily"]

# Around what is no composite tensor, `tfd.Independent(...)` and the like are objects of these bases
# and not of the public classes, which are subclasses.
BatchBroadcast = _BatchBroadcast
BatchReshape = _BatchReshape
Independent = _Independent
MixtureSameFamily = _MixtureSameFamily
