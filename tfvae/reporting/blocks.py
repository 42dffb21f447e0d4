"""What sections of a page are made of: figures, tables and ways through z."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tfvae.latents import Traversal
from tfvae.plots.grid import limits_of, strip
from tfvae.reporting.embedded import as_png, as_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Picture",
    "Section",
    "Table",
    "Walk",
    "picture",
    "rows_of",
    "walk_of_columns",
    "walk_of_images",
]

_MOST_COLUMNS = 8


@dataclass(frozen=True)
class Picture:
    """A figure, as SVG; `narrow` takes its place on a telephone."""

    svg: str
    caption: str = ""
    narrow: str = ""
    kind: str = "picture"


@dataclass(frozen=True)
class Table:
    """Rows of text; columns of numbers are those that `numeric` names by their index."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    numeric: Sequence[int] = ()
    kind: str = "table"


@dataclass(frozen=True)
class Walk:
    """One traversal: a strip of images, or the values of columns, at each of its steps."""

    name: str
    values: Sequence[str]
    middle: int
    strip: str = ""
    columns: Sequence[str] = ()
    steps: Sequence[Sequence[Any]] = ()
    kind: str = "walk"


@dataclass(frozen=True)
class Section:
    """A part of the page: what it is, and its blocks; or why it is not there."""

    key: str
    title: str
    lead: str = ""
    blocks: Sequence[Any] = field(default_factory=list)
    left_out: str = ""


def picture(
    draw: Callable[[], Figure],
    title: str,
    caption: str = "",
    narrow: Callable[[], Figure] | None = None,
) -> Picture:
    """Returns what `draw` draws, and `narrow` for narrow pages."""
    small = "" if narrow is None else as_svg(narrow(), title)
    return Picture(as_svg(draw(), title), caption, small)


def rows_of(
    parts: dict[str, np.ndarray], labels: Sequence[str], first: str, caption: str = ""
) -> Table:
    """Returns rows of data as a table: the first columns of all parts, flat.

    Args:
        parts: By name, `[N, ...]` each.
        labels: Of the rows `[N]`.
        first: What the labels are.
        caption: Below the table.

    Example:
        >>> from tfvae.reporting.blocks import rows_of
        >>> rows_of({"x": np.array([[1.0, np.nan]])}, ["7"], "row").rows
        [['7', '1', 'missing']]
    """
    columns = [column for name, part in parts.items() for column in _columns(name, part)]
    left = len(columns) - _MOST_COLUMNS
    if left > 0:
        caption = f"{caption} {left} more columns are not shown.".strip()
    columns = columns[:_MOST_COLUMNS]
    rows = [
        [label, *("missing" if np.isnan(c[row]) else f"{c[row]:.4g}" for _, c in columns)]
        for row, label in enumerate(labels)
    ]
    header = [first, *(name for name, _ in columns)]
    return Table(header, rows, caption, numeric=range(1, len(header)), kind="rows")


def _columns(name: str, part: np.ndarray) -> list[tuple[str, np.ndarray]]:
    if part.ndim == 1:
        return [(name, part.astype(np.float64))]
    flat = part.reshape(len(part), -1).astype(np.float64)
    return [(f"{name}[{index}]", flat[:, index]) for index in range(flat.shape[1])]


def walk_of_images(
    way: Traversal, images: np.ndarray, limits: tuple[float, float] | None = None
) -> Walk:
    """Returns a traversal of images `[T, H, W, C]` as a strip."""
    pixels = strip(images, limits_of(images) if limits is None else limits)
    return Walk(way.name, _texts(way), len(images) // 2, strip=as_png(pixels))


def walk_of_columns(
    way: Traversal, parts: dict[str, np.ndarray], data: dict[str, np.ndarray]
) -> Walk:
    """Returns a traversal of tables: each column's value, and where it lies in its range.

    Args:
        way: The traversal.
        parts: Observed nodes at its steps `[T, ...]`, by name.
        data: The same nodes of data `[N, ...]`, which tell the ranges.
    """
    columns = [column for name, part in parts.items() for column in _columns(name, part)]
    given = [own for name in parts for _, own in _columns(name, data[name])]
    moves = np.array([float(np.ptp(values)) for _, values in columns])
    shown = np.sort(np.argsort(-moves, kind="stable")[:_MOST_COLUMNS])
    steps: list[list[Any]] = [[] for _ in way.values]
    for index in shown:
        values = columns[index][1]
        both = np.concatenate([values, given[index][np.isfinite(given[index])]])
        shares = 100.0 * (values - both.min()) / (np.ptp(both) or 1.0)
        for step, (value, share) in enumerate(zip(values, shares, strict=True)):
            steps[step].append([f"{value:.4g}", round(float(share))])
    names = [columns[index][0] for index in shown]
    return Walk(way.name, _texts(way), len(steps) // 2, columns=names, steps=steps)


def _texts(way: Traversal) -> list[str]:
    return [f"{value:.2f}" if value % 1.0 else f"{value:.0f}" for value in way.values]
