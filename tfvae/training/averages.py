"""Moving averages of the weights, in place of the weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from tfvae.training.states import kept, put_back

__all__ = ["averaged_weights"]


@contextlib.contextmanager
def averaged_weights(optimizer: Any) -> Iterator[None]:
    """Has the averages that a Keras optimizer keeps stand in for the weights that it trains.

    Nothing happens without averages: no `use_ema`, or no update yet. The weights come back as they
    were, whatever happens inside.

    Args:
        optimizer: Keras optimizer, None for a model that is not compiled.

    Reference: Acceleration of Stochastic Approximation by Averaging (Polyak and Juditsky, 1992),
    https://doi.org/10.1137/0330046
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    if not getattr(optimizer, "use_ema", False) or int(np.asarray(optimizer.iterations)) == 0:
        yield
        return
    # Keras has no public name for either.
    pairs = zip(
        optimizer._trainable_variables, optimizer._model_variables_moving_average, strict=True
    )
    pairs = [(weight, average) for weight, average in pairs if average is not None]
    before = kept(weight for weight, _ in pairs)
    try:
        for weight, average in pairs:
            weight.assign(average)
        yield
    finally:
        put_back(before)
