"""The whole result, of the parts that several workers have found."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

from tfvae._words import kind_of
from tfvae.evaluation.aggregation import Aggregated
from tfvae.evaluation.annealing import AnnealedLogLikelihood
from tfvae.evaluation.dimensions import OfDimensions
from tfvae.evaluation.ledger import Decomposition, balanced
from tfvae.evaluation.likelihood import LogLikelihood
from tfvae.evaluation.sharding import Part, joined

__all__ = ["merged"]

Result = TypeVar("Result")
Parts = Sequence[Part[Any]]


def merged(parts: Iterable[Part[Result]]) -> Result:
    """Makes the whole result of the parts that the workers of a sharded evaluation have found.

    It is the one of a single process that evaluates all of the data: results are per point, and
    each is at its place. Means and errors are of all points, and not means of means.

    Args:
        parts: What an evaluation has returned for each `shard`, in any order; of files by
            `Part.load`.

    Returns:
        What the evaluation returns without a `shard`.

    Raises:
        TypeError: They are no parts.
        ValueError: They are not of one evaluation, or one of them is missing or comes twice.

    Example:
        >>> from tfvae.demo import vae, x
        >>> from tfvae.evaluation import Shard, merged
        >>> settings = {"num_samples": 100, "batch_size": 20, "verbose": False}
        >>> parts = [tfvae.log_likelihood(vae, x, shard=Shard(i, 3), **settings) for i in range(3)]
        >>> whole = tfvae.log_likelihood(vae, x, **settings)
        >>> bool(np.all(merged(parts).per_point == whole.per_point))
        True
    """
    found = _checked(parts)
    return _RESULTS[found[0].settings["task"]](found)


def _checked(parts: Any) -> Parts:
    """Returns parts in the order of their shards, that belong together and are all there."""
    found = list(parts) if isinstance(parts, Iterable) else [parts]
    strange = [part for part in found if not isinstance(part, Part)]
    if strange or isinstance(parts, Part):
        raise TypeError(
            "`parts` must be a list of what evaluations return for each `shard`, or `Part.load` "
            f"for files. Received: {kind_of(strange[0] if strange else parts)}"
        )
    if not found:
        raise ValueError("`parts` must be those of all shards. Received: none.")
    for part in found[1:]:
        _check_belongs(found[0], part)
    count = found[0].shard.count
    indices = [part.shard.index for part in found]
    twice = sorted({index for index in indices if indices.count(index) > 1})
    missing = sorted(set(range(count)) - set(indices))
    for what, which in (("come twice", twice), ("are missing", missing)):
        if which:
            raise ValueError(
                f"`parts` must hold the part of each of {count} shards once. "
                f"Received: {sorted(indices)}, of which {_listed(which)} {what}."
            )
    return sorted(found, key=lambda part: part.shard.index)


def _listed(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    return f"{shown}, ... ({len(numbers)} of them)" if len(numbers) > 10 else shown


def _check_belongs(one: Part[Any], other: Part[Any]) -> None:
    """Checks that two parts are of one evaluation."""
    pairs: list[tuple[str, Any, Any]] = [
        (name, one.settings.get(name), other.settings.get(name))
        for name in dict.fromkeys(["task", *one.settings, *other.settings])
    ]
    pairs += [
        ("number of shards", one.shard.count, other.shard.count),
        ("number of points of the data", int(one.sizes.sum()), int(other.sizes.sum())),
        ("fingerprint of the data, batch by batch,", one.digest, other.digest),
    ]
    for name, here, there in pairs:
        if here != there:
            raise ValueError(
                "`parts` must be of one evaluation, with the same settings, weights and data. "
                f"Received: for shard {one.shard.index}, {name} is {here}, "
                f"for shard {other.shard.index} it is {there}."
            )


def values_of(parts: Parts) -> dict[str, np.ndarray]:
    """Returns results of all points `[N, ...]`, by name, but those that not all points have."""
    found = [part for part in parts if part.num_points]
    rows = [part.rows for part in found]
    return {
        name: joined([part.values[name] for part in found], rows)
        for name in found[0].values
        if all(name in part.values for part in found)
    }


def _log_likelihood(parts: Parts) -> LogLikelihood:
    return LogLikelihood.of(values_of(parts), int(parts[0].settings["num_samples"]))


def _annealed_log_likelihood(parts: Parts) -> AnnealedLogLikelihood:
    numbers = (int(parts[0].settings[name]) for name in ("num_temperatures", "num_chains"))
    return AnnealedLogLikelihood.of(values_of(parts), *numbers)


def _decomposition(parts: Parts) -> Decomposition:
    settings = parts[0].settings
    rates, latents, conditions = (
        json.loads(settings[name]) for name in ("rates", "latents", "conditions")
    )
    shapes = {name: tuple(shape) for name, shape in latents.items()}
    numbers = ("num_samples", "evidence_samples", "refine_steps")
    return balanced(
        values_of(parts),
        Aggregated.of_parts([part.extras for part in parts]),
        tuple(rates),
        OfDimensions.of_parts(shapes, parts).found if shapes else None,
        conditions=tuple(conditions),
        **{name: int(settings[name]) for name in numbers},
    )


# Task → what makes the whole.
_RESULTS: dict[str, Callable[[Parts], Any]] = {
    "log_likelihood": _log_likelihood,
    "annealed_log_likelihood": _annealed_log_likelihood,
    "decompose": _decomposition,
}
