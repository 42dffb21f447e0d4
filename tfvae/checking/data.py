"""Rules about data: whether it can be read, and the numbers in which it comes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from tfvae.checking.findings import Finding
from tfvae.checking.subject import Subject
from tfvae.data.source import Source
from tfvae.data.spec import CONTEXT
from tfvae.evaluation.streaming import first_rows
from tfvae.layers import DataEncoder
from tfvae.models import LatentVariableModel

__all__ = ["of_scale", "read", "split"]

# How far from one the size of what a network reads may be.
_FAR = 100.0
# Beyond, a square is no number of 32 bits any more.
_SQUARE = 1.8e19
_SCALING = (
    DataEncoder,
    keras.layers.Normalization,
    keras.layers.Rescaling,
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
)


def read(
    model: LatentVariableModel, data: Any, most: int
) -> tuple[dict[str, np.ndarray] | None, Finding]:
    """Returns rows of data by name, None where it cannot be read, and what there is to say.

    Args:
        model: Checks data, and is built by it where it waits for its shapes.
        data: In any form that an evaluation takes.
        most: The most rows, evenly spaced in arrays, the first ones of others.
    """
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            rows = _rows(model, data, most)
    except (TypeError, ValueError) as error:
        text, remedy = split(str(error))
        return None, Finding("data", "fault", text, remedy)
    number = len(next(iter(rows.values())))
    for each in said:
        if issubclass(each.category, UserWarning):
            text, remedy = split(str(each.message))
            return rows, Finding("data", "warning", text, remedy)
    large = [name for name, part in rows.items() if _largest(part) > _SQUARE]
    if large:
        return None, Finding(
            "data",
            "fault",
            f"Squares of values of {', '.join(large)} overflow: up to "
            f"{max(_largest(rows[name]) for name in large):.1e}.",
            "Count in larger units.",
        )
    same = [n for n in model.data.observed if number > 1 and _is_constant(rows[n])]
    if same:
        return rows, Finding(
            "data",
            "warning",
            f"All {number} examples of {', '.join(same)} are equal.",
            "Look at how the data is read.",
        )
    return rows, Finding("data", "ok", f"Can be read: {number} looked at.")


def of_scale(subject: Subject) -> Iterator[Finding]:
    """Says whether networks read numbers that are neither huge nor tiny."""
    networks = [layer for layer in subject.model._flatten_layers() if isinstance(layer, _SCALING)]
    if networks:
        name = type(networks[0]).__name__
        yield Finding("scale of data", "ok", f"A layer scales it, `{name}`.")
        return
    far = {}
    graph = subject.model.graph
    has_targets = graph.reads_context and not graph.latents  # which no network reads
    for name, part in subject.rows.items():
        if has_targets and name != CONTEXT:
            continue
        support = subject.model.data.supports.get(name)
        if name != CONTEXT and support is not None and support.categories is not None:
            continue
        size = _size(part)
        if not 1.0 / _FAR <= size <= _FAR and size > 0.0:
            far[name] = size
    if far:
        said = ", ".join(f"{name} of size {size:.2g}" for name, size in far.items())
        yield Finding(
            "scale of data",
            "warning",
            f"Networks read numbers far from one: {said}.",
            "Scale the data, or begin networks with `keras.layers.Normalization`.",
        )
        return
    yield Finding(
        "scale of data", "ok", f"Numbers are between 1/{_FAR:.0f} and {_FAR:.0f} in size."
    )


def _rows(model: LatentVariableModel, data: Any, most: int) -> dict[str, np.ndarray]:
    if isinstance(data, tuple):
        data = keras.utils.unpack_x_y_sample_weight(data)[0]
    source = Source.of(data, name="data")
    if not source.is_in_memory:
        return first_rows(model, data, most)
    model.check_data(source.x, "data")
    parts = {name: np.asarray(part) for name, part in model.data.named(source.x).items()}
    number = len(next(iter(parts.values())))
    chosen = np.unique(np.linspace(0, number - 1, min(number, most)).round().astype(int))
    return {name: part[chosen] for name, part in parts.items()}


def split(message: str) -> tuple[str, str]:
    """Returns what is wrong, and what to do: the last sentence."""
    head, found, tail = message.rstrip().rstrip(".").rpartition(". ")
    if not found or tail.startswith("Received"):
        return message, ""
    return f"{head}.", f"{tail}."


def _largest(part: np.ndarray) -> float:
    values = np.abs(part[np.isfinite(part)].astype(np.float64)) if part.size else part
    return float(np.max(values, initial=0.0))


def _size(part: np.ndarray) -> float:
    """Returns the root of the mean square of the values that there are."""
    values = part.astype(np.float64)
    values = values[np.isfinite(values)]
    return float(np.sqrt(np.mean(values**2))) if values.size else 0.0


def _is_constant(part: np.ndarray) -> bool:
    return bool(np.all((part == part[:1]) | (np.isnan(part) & np.isnan(part[:1]))))
