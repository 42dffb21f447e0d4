"""Figures of latents: where the posteriors of data lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tfvae.data.spec import with_context
from tfvae.latents.codes import checked_labels, codes
from tfvae.models import LatentVariableModel
from tfvae.plots.style import BLUE, FONT_SIZE, new_figure, open_frame, plain_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["check_labels", "latent_space"]

# Paul Tol's "muted" scheme, made to be told apart by colour-blind readers, in his order.
_CLASS_COLOURS = (
    "#cc6677",
    "#332288",
    "#ddcc77",
    "#117733",
    "#88ccee",
    "#882255",
    "#44aa99",
    "#999933",
    "#aa4499",
    "#8c8c8c",
)
# Marker → its size relative to the others, so that all look alike in weight.
_CLASS_MARKERS = {
    "o": 1,
    "s": 1,
    "D": 0.9,
    "^": 1,
    "v": 1,
    "P": 1.3,
    "X": 1.3,
    "<": 1,
    ">": 1,
    "*": 1.8,
}


# How far points around a whole number are spread.
_SPREAD = 0.15


def latent_space(
    model: LatentVariableModel,
    x: Any,
    labels: Any = None,
    *,
    context: Any = None,
    node: str | None = None,
) -> Figure:
    """Shows the posterior means of data in the plane, coloured by label.

    Two latents are shown as they are. Of more, the first two principal components of the posterior
    means are shown, with the part of their variance that each carries on its axis; of one, how
    many points lie where. Where all latents are whole numbers, such as categories, points are
    spread around each by chance, so that none hides another.

    Args:
        model: Any model with latents.
        x: Data in any form that `fit` takes.
        labels: `[N]`: up to ten classes, each with its colour and marker, or real numbers, shown
            on a colour scale; None shows all points alike.
        context: `[N, ...]`, where `x` is no dict that holds it.
        node: Of a model of several latent nodes, or levels, which to show; by default all, as one
            vector.

    Returns:
        Figure.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: The model has no latents, the labels do not fit the data, or there is no such
            node.

    Example:
        >>> from tfvae.demo import data, vae
        >>> figure = tfvae.plots.latent_space(vae, data.x_test, data.y_test)
    """
    z = codes(model, with_context(x, context), node=node)
    labels = None if labels is None else check_labels(labels, len(z))
    if z.shape[1] == 1:
        return _line(z[:, 0], labels)
    points, names = _plane(z)
    figure = new_figure(4.0, 3.4)
    axes = figure.add_subplot()
    # Many points are drawn smaller, so that they do not hide each other.
    size = float(np.clip(6000 / len(points), 2, 14))
    style: dict[str, Any] = {"s": size, "linewidths": 0.3, "edgecolors": "white"}
    if labels is None:
        axes.scatter(*points.T, c=BLUE, **style)
    elif np.issubdtype(labels.dtype, np.floating):
        drawn = axes.scatter(*points.T, c=labels, cmap="viridis", **style)
        bar = figure.colorbar(drawn, ax=axes, pad=0.02)
        bar.ax.tick_params(labelsize=FONT_SIZE)
        bar.set_label("label", fontsize=FONT_SIZE)
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    else:
        looks = zip(_CLASS_COLOURS, _CLASS_MARKERS.items(), strict=True)
        for label, (colour, (marker, scale)) in zip(np.unique(labels), looks, strict=False):
            axes.scatter(
                *points[labels == label].T,
                c=colour,
                marker=marker,
                label=plain_text(label),
                **{**style, "s": size * scale},
            )
        axes.legend(
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
            frameon=False,
            fontsize=FONT_SIZE,
            handletextpad=0.1,
            markerscale=1.4,
        )
    axes.set_xlabel(names[0], fontsize=FONT_SIZE)
    axes.set_ylabel(names[1], fontsize=FONT_SIZE)
    # One scale on both axes: distances, and the circle of the prior, keep their shape.
    axes.set_aspect("equal", adjustable="datalim")
    axes.locator_params(nbins=6)
    open_frame(axes)
    # Only then are the limits known, and with them how wide the numbers are.
    figure.draw_without_rendering()
    return figure


def _line(z: np.ndarray, labels: np.ndarray | None) -> Figure:
    """Shows one latent `[N]`: counts, of each class on top of another, or real labels against z."""
    figure = new_figure(4.0, 2.4)
    axes = figure.add_subplot()
    if labels is not None and np.issubdtype(labels.dtype, np.floating):
        axes.scatter(z, labels, c=BLUE, s=float(np.clip(6000 / len(z), 2, 14)), linewidths=0)
        axes.set_ylabel("label", fontsize=FONT_SIZE)
    else:
        classes = [] if labels is None else list(np.unique(labels))
        parts = [z[labels == label] for label in classes] or [z]
        looks: dict[str, Any] = {"color": BLUE}
        if classes:
            looks = {"color": _CLASS_COLOURS[: len(classes)]}
            looks["label"] = [plain_text(label) for label in classes]
        axes.hist(parts, bins=min(40, max(5, len(z) // 10)), stacked=True, **looks)
        axes.set_ylabel("points", fontsize=FONT_SIZE)
        if classes:
            axes.legend(
                loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=FONT_SIZE
            )
    axes.set_xlabel("posterior mean of $z$", fontsize=FONT_SIZE)
    open_frame(axes)
    return figure


def _plane(z: np.ndarray) -> tuple[np.ndarray, tuple[str, str]]:
    """Returns points `[N, 2]` and the names of the axes, of latents `[N, K]`."""
    if min(z.shape) < 2:
        raise ValueError(
            "There is no plane to show. Expected a model with latents, and two data points or "
            f"more. Received: posterior means of shape {z.shape}."
        )
    if np.all(z == np.round(z)):
        z = z + np.random.default_rng(0).uniform(-_SPREAD, _SPREAD, z.shape)
    if z.shape[1] == 2:
        return z, ("posterior mean of $z_1$", "posterior mean of $z_2$")
    centred = z - z.mean(axis=0)
    _, scales, directions = np.linalg.svd(centred, full_matrices=False)
    parts = scales**2 / max(np.sum(scales**2), np.finfo(z.dtype).tiny)
    first, second = (
        f"{which} principal component of $z$ ({part:.0%} of variance)"
        for which, part in zip(("first", "second"), parts[:2], strict=True)
    )
    return centred @ directions[:2].T, (first, second)


def check_labels(labels: Any, size: int) -> np.ndarray:
    """Returns labels `[N]` that have a colour each.

    Raises:
        ValueError: They do not fit the data, or there are more classes than colours.
    """
    labels = checked_labels(labels, size)
    if not np.issubdtype(labels.dtype, np.floating):
        classes = np.unique(labels)
        if len(classes) > len(_CLASS_COLOURS):
            raise ValueError(
                f"`labels` hold more classes than there are colours that can be told apart. "
                f"Expected at most {len(_CLASS_COLOURS)}. Received: {len(classes)}. Pass floats "
                "for a colour scale, or fewer classes."
            )
    return labels
