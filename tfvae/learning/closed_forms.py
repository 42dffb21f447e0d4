"""M steps in closed form: the parameters of a family that make weighted data most probable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae import layers
from tfvae._typing import Tensor

__all__ = ["LEAST_PROBABILITY", "maximiser_of", "sufficient_statistics"]

# No probability and no rate is estimated lower: that of what has not been seen yet is not zero.
LEAST_PROBABILITY = 1e-6

Totals = Mapping[str, np.ndarray]


def sufficient_statistics(component: Any, r: Tensor, x: Tensor) -> dict[str, Tensor]:
    """Returns the sums over points that maximisers read, in float64.

    Args:
        component: The distribution layer, or network, of which each component is one.
        r: Responsibilities `[B, K]`, float64.
        x: Points `[B, *x_event]`.

    Returns:
        `count` `[K]`, `sum` and `square` `[K, D]`, and of categories `levels` `[K, D, L]`.
    """
    flat = tf.cast(tf.reshape(x, [tf.shape(x)[0], -1]), tf.float64)
    found = {
        "count": tf.reduce_sum(r, axis=0),
        "sum": tf.matmul(r, flat, transpose_a=True),
        "square": tf.matmul(r, tf.square(flat), transpose_a=True),
    }
    if isinstance(component, layers.IndependentCategorical):
        one_hot = tf.one_hot(tf.cast(flat, tf.int32), component.levels, dtype=tf.float64)
        found["levels"] = tf.einsum("bk,bdl->kdl", r, one_hot)
    return found


def maximiser_of(component: Any) -> Callable[[Any, Totals], np.ndarray] | None:
    """Returns from sums to parameters `[K, P]` of a layer; None where there is no closed form.

        argmax_theta sum_n r_nk log p(x_n|theta_k)

    Example:
        >>> from tfvae.learning.closed_forms import maximiser_of
        >>> layer = tfvae.layers.IndependentPoisson(1)
        >>> totals = {"count": np.array([4.0]), "sum": np.array([[8.0]])}
        >>> np.exp(maximiser_of(layer)(layer, totals)).round(6)
        array([[2.]])
    """
    return next((f for cls, f in _MAXIMISERS.items() if type(component) is cls), None)


def _mean(totals: Totals) -> np.ndarray:
    return totals["sum"] / totals["count"][:, None]


def _bernoulli(component: Any, totals: Totals) -> np.ndarray:
    mean = np.clip(_mean(totals), LEAST_PROBABILITY, 1.0 - LEAST_PROBABILITY)
    return np.log(mean) - np.log1p(-mean)


def _poisson(component: Any, totals: Totals) -> np.ndarray:
    return np.log(np.maximum(_mean(totals), LEAST_PROBABILITY))


def _normal(component: Any, totals: Totals) -> np.ndarray:
    mean = _mean(totals)
    variance = np.maximum(totals["square"] / totals["count"][:, None] - mean**2, 0.0)
    above = np.maximum(np.sqrt(variance) - component.min_scale, 1e-8)
    # The inverse of softplus, also where exp overflows.
    raw = above + np.log(-np.expm1(-above))
    return np.concatenate([mean, raw], axis=-1)


def _categorical(component: Any, totals: Totals) -> np.ndarray:
    share = totals["levels"] / totals["count"][:, None, None]
    share = np.maximum(share, LEAST_PROBABILITY)
    return np.log(share / share.sum(axis=-1, keepdims=True)).reshape(len(share), -1)


_MAXIMISERS: dict[type, Callable[[Any, Totals], np.ndarray]] = {
    layers.IndependentBernoulli: _bernoulli,
    layers.IndependentCategorical: _categorical,
    layers.IndependentNormal: _normal,
    layers.IndependentPoisson: _poisson,
    layers.MultivariateNormalDiag: _normal,
}
