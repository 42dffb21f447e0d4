"""Figures of training: how the bound and its terms went over the epochs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfvae._config import check_count
from tfvae.plots.style import BLUE, FONT_SIZE, GREEN, GREY, ORANGE, PURPLE, new_figure, open_frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["check_history", "training_curves"]

# Okabe and Ito's colours, by what is drawn.
_CURVE_COLOURS = {
    "elbo": "#262626",
    "distortion": BLUE,
    "rate": ORANGE,
    "mutual_information": GREEN,
    "marginal_kl": PURPLE,
}
_LEVEL_COLOURS = (GREEN, PURPLE, "#56b4e9", "#e69f00", GREY)


def training_curves(history: Any, *, columns: int = 3) -> Figure:
    """Shows how the ELBO and its terms went over the epochs, in training and validation.

        elbo = -(distortion + rate),   rate = mutual information + marginal KL

    For a model that does not log these two, the rates of its levels, or latent nodes, stand in
    their place, where it has several.

    From twenty epochs on, the first twentieth of them does not set the scales: the curves enter
    from beyond the edge, and the later part can be read. The mutual information is estimated
    within batches, of M points each, and cannot exceed log M there.

    Of a model without latents, whose rate is zero throughout, the rate is left out.

    Args:
        history: What `fit` returned, or its dict `history`. Validation is shown where it is there.
        columns: Panels side by side: 3 for a page, 1 for a narrow column.

    Returns:
        Figure.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: The history is empty, lacks a term, has validation for some epochs only, or
            `columns` is smaller than 1.

    Example:
        >>> from tfvae.demo import vae, x, x_valid
        >>> history = vae.fit(x, validation_data=(x_valid,), verbose=0)
        >>> figure = tfvae.plots.training_curves(history)
    """
    values = check_history(getattr(history, "history", history))
    parts_of_rate = _parts_of_rate(values)
    colours = {
        **_CURVE_COLOURS,
        **dict(zip(parts_of_rate, itertools.cycle(_LEVEL_COLOURS), strict=False)),
    }
    epochs = np.arange(1, len(values["elbo"]) + 1)
    style: dict[str, Any] = {"marker": "o" if len(epochs) == 1 else None, "markersize": 3}
    parts = {"": {"label": "training", "linewidth": 0.9, "linestyle": (0, (3, 1.5)), **style}}
    if "val_elbo" in values:
        parts["val_"] = {"label": "validation", "linewidth": 1.4, "linestyle": "solid", **style}
    panels: dict[str, tuple[str, ...]] = {"ELBO": ("elbo",), "distortion": ("distortion",)}
    if any(np.any(np.asarray(values.get(f"{p}rate", 0.0)) != 0.0) for p in parts):
        panels["rate"] = ("rate", *parts_of_rate)
    columns = min(check_count("columns", columns), len(panels))
    figure, all_axes = _empty_panels(len(panels), columns)
    for axes, (title, names) in zip(all_axes, panels.items(), strict=True):
        curves = {(name, prefix): values[prefix + name] for name in names for prefix in parts}
        for (name, prefix), curve in curves.items():
            axes.plot(epochs, curve, color=colours[name], **parts[prefix])
        axes.set_ylim(*_range([curve[len(epochs) // 20 :] for curve in curves.values()]))
        axes.set_title(title, fontsize=FONT_SIZE + 1, loc="left")
        axes.set_xlabel("epoch", fontsize=FONT_SIZE)
        axes.locator_params(axis="x", integer=True)
        if len(epochs) == 1:
            axes.set_xticks(epochs)
        open_frame(axes)
    for axes in all_axes[::columns]:
        axes.set_ylabel("nats per data point", fontsize=FONT_SIZE)
    # Below the panels, where no curve can run into it: first the parts of the data, then the terms.
    lines = list(all_axes[0].get_lines())
    texts = [str(line.get_label()) for line in lines[: len(parts)]]
    if "rate" in panels:
        lines += all_axes[-1].get_lines()[:: -len(parts)][::-1]
        texts += ["rate", *parts_of_rate.values()]
    figure.legend(
        lines,
        texts,
        loc="outside lower center",
        ncols=min(len(lines), 5 if columns > 1 else 2),
        frameon=False,
        fontsize=FONT_SIZE,
        handlelength=1.8,
        columnspacing=1.5,
    )
    return figure


def _empty_panels(number: int, columns: int) -> tuple[Figure, list[Axes]]:
    """Returns a figure with so many panels, those beyond them left out."""
    rows = -(-number // columns)
    figure = new_figure(0.4 + 2.13 * columns if columns > 1 else 3.4, 2.0 * rows + 0.5)
    axes = list(figure.subplots(rows, columns, squeeze=False).flatten())
    for surplus in axes[number:]:
        surplus.set_axis_off()
    return figure, axes[:number]


def _range(curves: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Returns limits with a margin around all finite values."""
    values = np.asarray(curves, dtype=float)
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if values.size else (0.0, 0.0)
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin


def _parts_of_rate(history: Mapping[str, Any]) -> dict[str, str]:
    """Returns the names of the addends of the rate, and how to call them; none where none are."""
    information = {
        "mutual_information": "mutual information in the batch",
        "marginal_kl": "marginal KL",
    }
    if any(name in history or f"val_{name}" in history for name in information):
        return information
    prefix = "val_" if "val_rate" in history else ""
    parts = [
        name.removeprefix(f"{prefix}rate_") for name in history if name.startswith(f"{prefix}rate_")
    ]
    parts.sort(key=lambda part: (not part.isdigit(), int(part) if part.isdigit() else 0, part))
    return {f"rate_{p}": f"of $z_{{{p}}}$" if p.isdigit() else f"of {p}" for p in parts}


def check_history(history: Any) -> Mapping[str, Sequence[float]]:
    """Returns the epochs of training by name.

    Raises:
        ValueError: They are not what `training_curves` shows.
    """
    names = ("elbo", "distortion", "rate", *_parts_of_rate(history or {}))
    expected = [*names, *(f"val_{name}" for name in names if "val_elbo" in (history or {}))]
    missing = [name for name in expected if name not in history] if history else list(names)
    if missing or not len(history["elbo"]):
        raise ValueError(
            "`history` must be what `fit` of a latent variable model returned, of one epoch or "
            f"more. Missing: {', '.join(missing) or 'epochs'}. Received: "
            f"{sorted(history) if history else history!r}"
        )
    lengths = {
        len(values) for name, values in history.items() if name.removeprefix("val_") in names
    }
    if len(lengths) != 1:
        raise ValueError(
            "`history` must have validation for all epochs or for none. Received: "
            f"{len(history['elbo'])} epochs of training, {len(history.get('val_elbo', []))} of "
            "validation. Fit with `validation_freq=1`, or leave out the entries `val_...`."
        )
    return history
