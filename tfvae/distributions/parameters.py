"""The parameters of distributions, by name, whatever the family."""

from __future__ import annotations

import functools
import re
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._typing import Distribution, Tensor
from tfvae.distributions.heterogeneous import Heterogeneous
from tfvae.distributions.labelled import Labelled
from tfvae.distributions.masked import Masked
from tfvae.distributions.wrappers import BatchBroadcast, BatchReshape, Independent

__all__ = ["parameters_of", "with_batch"]

tfd = tfp.distributions

# Parts of a distribution that are distributions, by what their parameters are called with it.
_PREFIXES = {
    "mixture_distribution": "mixture_",
    "components_distribution": "component_",
    "distribution": "",
}


@functools.singledispatch
def parameters_of(distribution: Distribution) -> dict[str, Tensor]:
    """Returns the parameters that a distribution was made from, each with all of its batch axes.

    They are called what TFP calls them: `loc`, `scale`, `logits`, of mixtures `mixture_logits`
    `[..., C]` and `component_loc` `[..., C, *E]`. There are none of what a map makes of another
    distribution, nor single numbers that are the same for all, such as temperatures.
    `parameters_of.register` answers for families with parameters that TFP does not tell.

    Example:
        >>> from tfvae.distributions.parameters import parameters_of
        >>> p = tfvae.layers.IndependentNormal(2)(tf.zeros([3, 4]))
        >>> {name: value.shape for name, value in parameters_of(p).items()}
        {'loc': TensorShape([3, 2]), 'scale': TensorShape([3, 2])}
    """
    if "bijector" in distribution.parameters:
        return {}
    found: dict[str, Tensor] = {}
    properties: Any = type(distribution).parameter_properties(dtype=distribution.dtype)
    for name, each in properties.items():
        value = distribution.parameters.get(name)
        if isinstance(value, tfd.Distribution):
            prefix = _PREFIXES.get(name, f"{name}_")
            found |= {f"{prefix}{inner}": v for inner, v in parameters_of(value).items()}
        elif tf.is_tensor(value) and value.shape.rank:
            found[name] = with_batch(value, distribution, each.instance_event_ndims(distribution))
    return found


def _of_one(distribution: Distribution) -> dict[str, Tensor]:
    return parameters_of(distribution.distribution)


parameters_of.register(Independent, _of_one)
parameters_of.register(Masked, _of_one)
parameters_of.register(Labelled, _of_one)
parameters_of.register(BatchBroadcast, lambda _: {})
parameters_of.register(BatchReshape, lambda _: {})


@parameters_of.register(Heterogeneous)
def _(distribution: Heterogeneous) -> dict[str, Tensor]:
    names = [re.sub(r"\W", "_", name, flags=re.ASCII) for name in distribution.names]
    if len(set(names)) < len(names):
        names = [f"column_{index}" for index in range(len(names))]
    return {
        f"{name}_{inner}": value
        for name, part in zip(names, distribution.distributions, strict=True)
        for inner, value in parameters_of(part).items()
    }


def with_batch(value: Tensor, distribution: Distribution, event_ndims: int) -> Tensor:
    """Returns a parameter with all batch axes, as it is where it has them."""
    batch, rank = distribution.batch_shape, value.shape.rank - event_ndims
    own, event = value.shape[:rank], value.shape[rank:]
    if own.as_list() == batch.as_list():
        return value
    dynamic: Any = tf.concat([distribution.batch_shape_tensor(), tf.shape(value)[rank:]], axis=0)
    return tf.ensure_shape(tf.broadcast_to(value, dynamic), batch.concatenate(event))
