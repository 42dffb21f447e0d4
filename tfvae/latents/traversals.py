"""One dimension of z at a time, from one end of the aggregated posterior to the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae._config import check_count
from tfvae._random import stateless_seed
from tfvae._typing import Seed, Tensor
from tfvae.distributions.finite import element_states
from tfvae.distributions.statistics import centre
from tfvae.evaluation.activity import ACTIVE
from tfvae.evaluation.streaming import first_rows
from tfvae.latents.codes import check_latents
from tfvae.models import LatentVariableModel

__all__ = ["Traversal", "decoded", "traversals"]

# The ends of a way: of draws of q(z), what lies beyond is rare.
_ENDS = (0.01, 0.99)
_MOST_POINTS = 1000


@dataclass(frozen=True)
class Traversal:
    """What p(x|z) makes of one point while one dimension of its z moves.

    Attributes:
        name: `z[3]` for dimension 3 of the latent node `z`; `y` for one that is a single variable.
        values: Of that dimension `[T]`; of a variable of few states, their numbers.
        z: `[T, *E]`.
        means: Observed node → the centre of p(x|z) at each step, `[T, *x_event]`.
        spread: Standard deviation over data of the posterior centre of that dimension.
    """

    name: str
    values: np.ndarray
    z: np.ndarray
    means: dict[str, np.ndarray]
    spread: float


@dataclass(frozen=True)
class _Variable:
    """One latent variable: columns of a node, flat, that move together."""

    node: str
    name: str
    columns: slice
    states: np.ndarray | None


def traversals(
    model: LatentVariableModel,
    data: Any,
    *,
    start: int = 0,
    num_steps: int = 11,
    most: int | None = None,
    seed: Seed = 0,
) -> list[Traversal]:
    """Moves each active dimension of z alone, from the 1st to the 99th percentile of q(z).

    z starts at the centre of q(z|x) of one point. A dimension is active where the centre varies
    over the data by more than 0.01; one of few states, such as a category, takes all of them in
    turn. On a sphere the other coordinates are scaled so that z stays on it. Where levels of a
    hierarchy depend on the one that moves, they take the centre of their prior given it.

    Args:
        model: Any model with latents.
        data: In any form that `fit` takes; the first 1,000 points tell how far to go. The context,
            and what else z depends on, is that of the starting point.
        start: Row of the point to start from.
        num_steps: Steps of each way, T; of a variable of few states there are as many as states.
        most: The most dimensions, those that vary most; None takes all that are active.
        seed: Int or pair of ints, of the draws of q(z).

    Returns:
        One `Traversal` for each active dimension, the widest first; none where none is active.

    Raises:
        ValueError: The model has no latents, a number is smaller than 1, or there is no such row.

    Example:
        >>> from tfvae.demo import vae, x
        >>> for way in tfvae.latents.traversals(vae, x, num_steps=5):
        ...     assert way.means["x"].shape == (5, 8, 8, 1)

    Reference: beta-VAE: Learning Basic Visual Concepts (Higgins et al., 2017),
    https://openreview.net/forum?id=Sy2fzU9gl
    """
    check_latents(model)
    num_steps = check_count("num_steps", num_steps)
    most = None if most is None else check_count("most", most)
    batch = _as_tensors(model, first_rows(model, data, _MOST_POINTS))
    size = len(batch["x"])
    if not 0 <= start < size:
        raise ValueError(
            f"`start` must be a row of the first {size} points. Received: start={start}"
        )
    q_z = model.encode(**batch)
    centres, draws = (
        {n: np.asarray(part, np.float64).reshape(size, -1) for n, part in model.split(z).items()}
        for z in (centre(q_z), q_z.sample(seed=stateless_seed(0 if seed is None else seed)))
    )
    origin = {name: part[start] for name, part in centres.items()}
    row = {name: part[start : start + 1] for name, part in batch.items()}
    found = []
    for variable in _variables(model, row):
        spread = float(np.sqrt(np.var(centres[variable.node][:, variable.columns], axis=0).sum()))
        if spread**2 > ACTIVE:
            of_all = draws[variable.node][:, variable.columns]
            found.append((spread, variable, of_all))
    found.sort(key=lambda each: -each[0])
    return [
        _traversal(model, row, origin, variable, of_all, num_steps, spread)
        for spread, variable, of_all in found[:most]
    ]


def _as_tensors(model: LatentVariableModel, parts: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {n: tf.convert_to_tensor(part) for n, part in model.data.as_batch(parts).items()}


def _variables(model: LatentVariableModel, row: dict[str, Tensor]) -> Iterator[_Variable]:
    """Yields the variables of all latent nodes, in their order within z."""
    p = model.graph.levels(model.prior_of(row))
    z = centre(model.encode(**row))
    conditionals = p.conditionals(model.split(z))
    for node, part in model.split(z).items():
        size = int(np.prod(part.shape[1:]))
        states = element_states(conditionals[node].distribution)
        width = 1 if states is None else int(np.prod(states.shape[1:]))
        for index in range(size // width):
            alone = size == width
            columns = slice(index * width, (index + 1) * width)
            yield _Variable(node, node if alone else f"{node}[{index}]", columns, states)


def _traversal(
    model: LatentVariableModel,
    row: dict[str, Tensor],
    origin: dict[str, np.ndarray],
    variable: _Variable,
    of_all: np.ndarray,
    num_steps: int,
    spread: float,
) -> Traversal:
    if variable.states is not None:
        values = np.arange(len(variable.states), dtype=np.float64)
        steps = variable.states.reshape(len(values), -1)
    else:
        low, high = np.quantile(of_all, _ENDS)
        values = np.linspace(low, high, num_steps)
        steps = values[:, None]
    flat = {name: np.tile(part, (len(values), 1)) for name, part in origin.items()}
    moved = flat[variable.node]
    moved[:, variable.columns] = steps
    if model.graph.supports[variable.node].norm == 2:
        _onto_sphere(moved, variable.columns)
    z = _followed(model, row, flat, variable.node)
    return Traversal(variable.name, values, np.asarray(z), decoded(model, z, row), spread)


def _onto_sphere(z: np.ndarray, columns: slice) -> None:
    """Scales all but one coordinate of rows `[T, K]` so that their norm is one."""
    own = np.clip(z[:, columns], -1.0, 1.0)
    others = z.copy()
    others[:, columns] = 0.0
    norm = np.maximum(np.linalg.norm(others, axis=1, keepdims=True), 1e-12)
    z[:] = others * np.sqrt(1.0 - own**2) / norm
    z[:, columns] = own


def _followed(
    model: LatentVariableModel, row: dict[str, Tensor], flat: dict[str, np.ndarray], moved: str
) -> Tensor:
    """Returns z `[T, *E]` of flat nodes, those that depend on the moved one at their centres."""
    graph, size = model.graph, len(flat[moved])
    values: dict[str, Tensor] = {
        name: tf.cast(tf.reshape(part, [size, *graph.shapes[name]]), tf.float32)
        for name, part in flat.items()
    }
    if len(graph.latents) > 1:
        rows = {name: tf.repeat(part, size, axis=0) for name, part in row.items()}
        p = graph.levels(model.prior_of(rows))
        below = p.descendants(moved)
        for _ in below:  # As often as the way down can be long.
            conditionals = p.conditionals(values)
            values |= {
                name: tf.cast(
                    tf.reshape(centre(conditionals[name].distribution), [-1, *graph.shapes[name]]),
                    tf.float32,
                )
                for name in below
            }
    return graph.join(values)


def decoded(
    model: LatentVariableModel, z: Tensor, row: dict[str, Tensor] | None = None
) -> dict[str, np.ndarray]:
    """Returns the centre of p(x|z) at `z` `[T, *E]`, by observed node, under the context of a row.

    Example:
        >>> from tfvae.demo import vae
        >>> from tfvae.latents.traversals import decoded
        >>> decoded(vae, tf.zeros([3, 2]))["x"].shape
        (3, 8, 8, 1)
    """
    p_x = model.decode(z, (row or {}).get("context"))
    return {n: np.asarray(part) for n, part in model.data.observed_parts(centre(p_x)).items()}
