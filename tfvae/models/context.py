"""Networks that may read a context beside their first input."""

from __future__ import annotations

import inspect
from typing import Any

import keras

from tfvae._typing import Tensor
from tfvae.priors import Prior

__all__ = ["call_network", "symbolic_inputs", "takes_context"]


def takes_context(part: keras.layers.Layer | Prior) -> bool:
    """Whether a network, or a prior, reads a context.

    A Functional model does by a second input, a subclassed one by an argument of `call` named
    `context`, a prior, or a part that is made of others, by its attribute `takes_context`.

    Raises:
        ValueError: A network has more than two inputs.
    """
    declared = getattr(part, "takes_context", None)
    if declared is not None:
        return declared
    inputs = getattr(part, "inputs", None)
    if not inputs:
        return "context" in inspect.signature(part.call).parameters
    if len(inputs) > 2:
        raise ValueError(
            f"The network '{part.name}' must have one input, or two of which the second is the "
            f"context. Received: {len(inputs)} inputs. Make one tensor of several contexts."
        )
    return len(inputs) == 2


def symbolic_inputs(network: keras.layers.Layer) -> list[Any]:
    """Returns the inputs that a Functional model declares, the context last; none of others."""
    inputs = list(getattr(network, "inputs", None) or [])
    structure = network.input if len(inputs) > 1 else None
    if not isinstance(structure, dict):
        return inputs
    # Keras sorts the inputs of a dict by name.
    return [structure[name] for name in sorted(structure, key=lambda name: name == "context")]


def call_network(
    network: keras.layers.Layer, first: Tensor, context: Tensor | None = None, **kwargs: Any
) -> Any:
    """Calls a network on its first input, and on a context where one is given."""
    if context is None:
        return network(first, **kwargs)
    if not getattr(network, "inputs", None):
        return network(first, context=context, **kwargs)
    structure = network.input
    if isinstance(structure, dict):
        parts = {name: context if name == "context" else first for name in structure}
        return network(parts, **kwargs)
    return network([first, context], **kwargs)
