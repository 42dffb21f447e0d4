"""Whether samples are new: the data that is nearest to each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfvae._config import check_count
from tfvae.data.checks import check_event_shape
from tfvae.data.spec import CONTEXT
from tfvae.distributions.squares import array_squares
from tfvae.evaluation.streaming import Stream
from tfvae.models import LatentVariableModel

__all__ = ["Neighbours", "nearest_neighbours"]


# The squared distance of a row without entries: farther than any, and nearer than no row.
_UNKNOWN = np.finfo(np.float64).max


@dataclass(frozen=True)
class Neighbours:
    """The rows of data that are nearest to samples, the nearest first.

    Attributes:
        rows: Their numbers in the data `[N, J]`.
        distances: Euclidean distances `[N, J]`; over the entries that a row has, in proportion.
        parts: Observed node → the rows themselves `[N, J, *x_event]`.
    """

    rows: np.ndarray
    distances: np.ndarray
    parts: dict[str, np.ndarray]


def nearest_neighbours(
    model: LatentVariableModel,
    samples: Any,
    data: Any,
    *,
    num_neighbours: int = 1,
    batch_size: int = 1000,
) -> Neighbours:
    """Finds the data nearest to each sample, by the Euclidean distance of x.

    Samples that lie much nearer to training data than held-out data does are copies. Data with
    missing entries is compared in those that both have: d**2 times D over their number.

    Args:
        model: Says what the parts of data are.
        samples: What `model.sample` returned, or data; context is not looked at.
        data: Training data in any form that `fit` takes, read once.
        num_neighbours: J, no more than there are rows.
        batch_size: Rows at a time, for arrays.

    Returns:
        `Neighbours`.

    Raises:
        ValueError: There are fewer rows than `num_neighbours`, or the samples are not data.

    Example:
        >>> from tfvae.demo import vae, x
        >>> found = tfvae.latents.nearest_neighbours(vae, vae.sample(3, seed=0), x)
        >>> found.rows.shape, found.parts["x"].shape
        ((3, 1), (3, 1, 8, 8, 1))
    """
    num_neighbours = check_count("num_neighbours", num_neighbours)
    parts = samples if isinstance(samples, Mapping) else {model.graph.observed[0]: samples}
    drawn = _rows(model, {name: np.asarray(part) for name, part in parts.items()})
    size, columns = drawn.shape
    best = np.full((size, num_neighbours), np.inf)
    index = np.full((size, num_neighbours), -1)
    kept = np.full((size, num_neighbours, columns), np.nan)
    start = 0
    for batch, count in Stream(model, data, batch_size):
        rows = {n: np.asarray(p)[:count] for n, p in model.data.as_parts(batch).items()}
        own = _rows(model, rows)
        squares = _squares(drawn, own)
        best_of_both = np.concatenate([best, squares], axis=1)
        index_of_both = np.concatenate([index, np.tile(start + np.arange(count), (size, 1))], 1)
        order = np.argsort(best_of_both, axis=1, kind="stable")[:, :num_neighbours]
        best = np.take_along_axis(best_of_both, order, axis=1)
        index = np.take_along_axis(index_of_both, order, axis=1)
        new = order >= num_neighbours
        earlier = np.take_along_axis(kept, np.where(new, 0, order)[..., None], axis=1)
        kept = np.where(new[..., None], own[np.where(new, order - num_neighbours, 0)], earlier)
        start += count
    if start < num_neighbours:
        raise ValueError(
            f"`data` must have at least `num_neighbours` rows. Received: {start} rows, "
            f"num_neighbours={num_neighbours}"
        )
    distances = np.where(best == _UNKNOWN, np.inf, np.sqrt(best))
    return Neighbours(index, distances, _taken_apart(model, kept))


def _squares(drawn: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Returns squared distances `[N, B]` in float64, over the entries that both rows have."""
    lacks, there = np.isnan(drawn), (~np.isnan(own)).astype(np.float64)
    own = np.where(there > 0.0, own, 0.0)
    middle = np.mean(drawn, axis=0, where=~lacks) if np.all(np.any(~lacks, axis=0)) else 0.0
    middle = np.broadcast_to(middle, own.shape[1:])
    squares = array_squares(np.where(lacks, middle, drawn), own, there)
    if np.any(lacks):  # The middle stands for what is not there, and adds what is not apart.
        squares = np.maximum(squares - lacks @ (there * (middle - own) ** 2).T, 0.0)
    counts = (~lacks).astype(np.float64) @ there.T
    share = np.where(counts > 0, own.shape[1] / np.maximum(counts, 1), 1.0)
    return np.where(counts > 0, squares * share, _UNKNOWN)


def _rows(model: LatentVariableModel, parts: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns the observed nodes side by side `[N, D]`, float64."""
    missing = [name for name in model.graph.observed if name not in parts]
    if missing:
        raise ValueError(
            f"Samples must have all observed nodes. Missing: {', '.join(missing)}. "
            f"Received: {', '.join(name for name in parts if name != CONTEXT)}"
        )
    for name in model.graph.observed:
        check_event_shape(parts[name], model.graph.shapes[name], name)
    columns = [
        np.float64(parts[name]).reshape(len(parts[name]), -1) for name in model.graph.observed
    ]
    return np.concatenate(columns, axis=1)


def _taken_apart(model: LatentVariableModel, rows: np.ndarray) -> dict[str, np.ndarray]:
    shapes = {name: model.graph.shapes[name] for name in model.graph.observed}
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes.values()])[:-1]
    parts = np.split(rows, ends, axis=-1)
    return {
        name: part.reshape(*part.shape[:2], *shape)
        for part, (name, shape) in zip(parts, shapes.items(), strict=True)
    }
