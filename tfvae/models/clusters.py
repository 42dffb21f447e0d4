"""Where the components of a finite mixture start: clusters of data."""

from __future__ import annotations

import numpy as np

from tfvae.distributions.squares import array_squares
from tfvae.layers import DistributionLayer, start_of
from tfvae.models.components import Mixture
from tfvae.priors import OneHot

__all__ = ["k_means", "set_clusters"]

_ITERATIONS = 30


def k_means(x: np.ndarray, num_clusters: int, seed: int) -> np.ndarray:
    """Returns the cluster of each point `[N]`, by k-means from points that lie far apart.

    Args:
        x: `[N, *x_event]`, float64, NaN where an entry is missing, which counts as the mean.
        num_clusters: K, none of which is empty where there are as many different points.
        seed: Of the points that it starts from.

    Raises:
        ValueError: There are fewer points than clusters.

    Example:
        >>> from tfvae.models.clusters import k_means
        >>> k_means(np.array([[0.0], [9.0], [0.1], [9.1]]), 2, seed=0).tolist() in (
        ...     [0, 1, 0, 1], [1, 0, 1, 0])
        True
    """
    if len(x) < num_clusters:
        raise ValueError(
            "Components start from clusters of at least a point each. "
            f"Received: {len(x)} points for {num_clusters} components."
        )
    flat = x.reshape(len(x), -1)
    flat = np.where(np.isnan(flat), np.nan_to_num(np.nanmean(flat, axis=0)), flat)
    scale = flat.std(axis=0)
    flat = flat / np.where(scale > 0.0, scale.mean() if scale.any() else 1.0, 1.0)
    rng = np.random.default_rng(seed)
    centres = flat[rng.integers(len(flat), size=1)]
    for _ in range(num_clusters - 1):
        nearest = array_squares(flat, centres).min(axis=1)
        share = nearest / nearest.sum() if nearest.sum() > 0.0 else None
        centres = np.vstack([centres, flat[rng.choice(len(flat), p=share)]])
    labels = np.argmin(array_squares(flat, centres), axis=1)
    for _ in range(_ITERATIONS):
        seen = [flat[labels == k] for k in range(num_clusters)]
        centres = np.stack([own.mean(axis=0) if len(own) else flat[0] for own in seen])
        before, labels = labels, np.argmin(array_squares(flat, centres), axis=1)
        if np.array_equal(before, labels):
            break
    return labels


def set_clusters(mixture: Mixture, x: np.ndarray, labels: np.ndarray) -> None:
    """Sets each component to its points, and the weights of the mixture to their shares.

    Args:
        mixture: Of components that are a distribution layer.
        x: `[N, *x_event]`, float64.
        labels: Component of each point, `[N]`; a component without any starts from all points.

    Raises:
        ValueError: The components are a network, or `labels` no numbers of components.
    """
    if not isinstance(mixture.component, DistributionLayer):
        raise ValueError(
            "Components that are a network have no parameters of their own to set. Received: "
            f"{type(mixture.component).__name__}. Give a distribution layer as `component`."
        )
    size = mixture.num_components
    whole = labels.dtype.kind in "iu" and labels.shape == (len(x),)
    if not whole or labels.min() < 0 or labels.max() >= size:
        raise ValueError(
            f"`labels` must be whole numbers from 0 to {size - 1}, one for each of {len(x)} "
            f"points. Received: {labels.dtype} of shape {list(labels.shape)}."
        )
    own = [x[labels == k] if np.any(labels == k) else x for k in range(size)]
    rows = [start_of(mixture.component, part).params for part in own]
    mixture.table.assign(np.stack(rows))
    if isinstance(mixture.prior, OneHot) and mixture.prior.learn_weights:
        counts = np.bincount(labels, minlength=size)
        mixture.prior.logits.assign(np.log((counts + 0.5) / (counts + 0.5).sum()))
