"""Figures of tables: columns of data beside those that a model draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfvae.plots.style import BLUE, FONT_SIZE, ORANGE, new_figure, open_frame, plain_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["columns"]

_MOST_COLUMNS = 24
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def columns(x: Any, drawn: Any, names: Sequence[str] | None = None) -> Figure:
    """Shows, column by column, where data lies and where samples of a model do.

    Lines go from the 5th to the 95th percentile, their thick part from the 25th to the 75th, and
    the mark is the median, each in standard deviations of the data from its mean.

    Args:
        x: Data `[N, D]`, or of another shape of one example, flat; NaN is what is missing.
        drawn: Samples `[M, D]`, such as `model.sample(1000)`.
        names: Of the columns `[D]`; by default those of a `pandas.DataFrame`, or their numbers. The
            first 24 are shown.

    Returns:
        Figure.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: The two differ in columns, there are no rows, or as many names.

    Example:
        >>> figure = tfvae.plots.columns(np.zeros([5, 2]), np.ones([4, 2]), ["age", "height"])
    """
    if names is None and hasattr(x, "columns"):
        names = [str(name) for name in x.columns]
    x, drawn = (np.asarray(part, np.float64) for part in (x, drawn))
    x, drawn = (part.reshape(len(part), -1) if len(part) else part for part in (x, drawn))
    names = [str(i) for i in range(x.shape[-1])] if names is None else list(names)
    if not len(x) or not len(drawn) or x.shape[1:] != drawn.shape[1:] or len(names) != x.shape[1]:
        raise ValueError(
            "`x` and `drawn` must have rows of the same columns, and `names` one name for each. "
            f"Received: shapes {x.shape} and {drawn.shape}, {len(names)} names"
        )
    number = min(x.shape[1], _MOST_COLUMNS)
    figure = new_figure(3.6, 0.75 + 0.24 * number)
    axes = figure.add_subplot()
    for index in range(number):
        own = x[:, index][np.isfinite(x[:, index])]
        centre, scale = (own.mean(), own.std() or 1.0) if len(own) else (0.0, 1.0)
        both = {("data", BLUE): own, ("model", ORANGE): drawn[:, index]}
        for offset, ((label, colour), values) in zip((-0.16, 0.16), both.items(), strict=True):
            values = values[np.isfinite(values)]
            if not len(values):
                continue
            low, left, median, right, high = (np.quantile(values, _QUANTILES) - centre) / scale
            row = index + offset
            style: dict[str, Any] = {"color": colour, "solid_capstyle": "butt"}
            axes.plot([low, high], [row, row], linewidth=0.9, **style)
            axes.plot([left, right], [row, row], linewidth=3.0, **style)
            name = label if index == 0 else None
            axes.plot(median, row, marker="o", markersize=3.5, color=colour, label=name)
    axes.set_yticks(range(number), [plain_text(name) for name in names[:number]])
    axes.set_ylim(number - 0.5, -0.5)
    axes.set_xlabel("standard deviations of the data", fontsize=FONT_SIZE)
    figure.legend(loc="outside upper right", ncols=2, frameon=False, fontsize=FONT_SIZE)
    open_frame(axes)
    axes.tick_params(axis="y", length=0)
    return figure
