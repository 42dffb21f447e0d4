"""Inputs and targets, as regression and classification hand them over and want them back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._typing import Distribution
from tfvae.distributions.statistics import probabilities, statistic

__all__ = ["as_data", "described"]

tfd = tfp.distributions

# Draws of which an interval is read, where there are no quantiles.
_DRAWS = 1000


def as_data(x: Any, y: Any = None) -> tuple[Any, Any]:
    """Returns inputs and targets as data of p(x|c): targets are x, inputs the context.

    Args:
        x: Inputs with targets `y`, a tuple or `tf.data.Dataset` of both; or data by name already.
        y: Targets.

    Returns:
        What `fit` takes as `x` and `y`.

    Raises:
        ValueError: There are inputs alone.

    Example:
        >>> from tfvae.models.regression import as_data
        >>> data, _ = as_data(np.zeros([5, 3]), np.ones([5, 1]))
        >>> {name: part.shape for name, part in data.items()}
        {'x': (5, 1), 'context': (5, 3)}
    """
    if isinstance(x, tf.data.Dataset):
        spec = x.element_spec
        pairs = isinstance(spec, tuple) and len(spec) > 1 and not isinstance(spec[0], Mapping)
        return (x.map(_joined) if pairs else x), y
    if isinstance(x, tuple) and len(x) > 1 and not isinstance(x[0], Mapping):
        return _joined(*x), y
    if hasattr(x, "__array__") and y is None:
        raise ValueError(
            "`y` is missing: a model of p(y|x) is fitted to inputs and targets, `fit(inputs, "
            'targets)`, or to `{"x": targets, "context": inputs}`. Received: inputs alone.'
        )
    if isinstance(x, Mapping) or y is None:
        return x, y
    return {"x": y, "context": x}, None


def _joined(inputs: Any, targets: Any, *weights: Any) -> tuple[Any, ...]:
    return ({"x": targets, "context": inputs}, targets, *weights)


def described(p_y: Distribution, interval: float) -> dict[str, np.ndarray]:
    """Returns what a prediction is, arrays `[B, *E]` by name.

    Of categories `probs` `[B, *E, L]` and `mode`; of numbers `mean`, `stddev`, and `lower` and
    `upper`, between which lies a share `interval` of each number, as much beyond either end: from
    quantiles where the family has them, else from a thousand draws at a fixed seed.

    Args:
        p_y: p(y|x), batch shape `[B]`.
        interval: Share between the two ends.

    Raises:
        ValueError: `interval` is not between 0 and 1.

    Example:
        >>> from tfvae.models.regression import described
        >>> p = tfd.Independent(tfd.Normal([[0.0]], 1.0), 1)
        >>> described(p, 0.95)["upper"].round(2)
        array([[1.96]], dtype=float32)
    """
    if not 0.0 < interval < 1.0:
        raise ValueError(f"`interval` must be between 0 and 1. Received: interval={interval}")
    probs = probabilities(p_y)
    if probs is not None:
        return {"probs": np.asarray(probs), "mode": np.argmax(probs, axis=-1)}
    found = {name: statistic(p_y, name) for name in ("mean", "stddev")}
    ends = _quantiles(p_y, [(1.0 - interval) / 2.0, (1.0 + interval) / 2.0])
    found |= dict(zip(("lower", "upper"), ends, strict=True))
    return {name: np.asarray(value) for name, value in found.items() if value is not None}


def _quantiles(p_y: Distribution, shares: list[float]) -> list[Any]:
    element = p_y
    while isinstance(element, tfd.Independent):
        element = element.distribution
    if not element.event_shape.rank:
        try:
            return [element.quantile(tf.cast(share, element.dtype)) for share in shares]
        except NotImplementedError:
            pass
    drawn = np.asarray(p_y.sample(_DRAWS, seed=(0, 0)))
    return [np.quantile(drawn, share, axis=0).astype(drawn.dtype) for share in shares]
