"""Figures of a model, its latents and its training, as `matplotlib.figure.Figure` objects.

Nothing here needs a display or leaves a figure behind in `matplotlib.pyplot`: write a file with
`figure.savefig("figure.pdf")`, or let a notebook show the figure that ends a cell.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfvae._config import check_count
from tfvae._typing import Seed
from tfvae.distributions.statistics import centre
from tfvae.evaluation.streaming import Stream
from tfvae.models import DirectedModel, HierarchicalVAE, LatentVariableModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["images", "latent_space", "reconstructions", "samples", "training_curves"]

_FONT_SIZE = 8  # points: that of a caption, since the figures are as wide as a page or a column
_INCH_PER_IMAGE = 0.55
_GAP = 0.12  # between images, as a part of their width
_INK, _FRAME, _TINT = "#262626", "#c8c8c8", "#f4d9c6"

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
# Okabe and Ito's colours, by what is drawn.
_CURVE_COLOURS = {
    "elbo": "#262626",
    "distortion": "#0072b2",
    "rate": "#d55e00",
    "mutual_information": "#009e73",
    "marginal_kl": "#cc79a7",
}
_LEVEL_COLOURS = ("#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#999999")


def reconstructions(
    model: LatentVariableModel,
    x: Any,
    *,
    num_images: int = 20,
    columns: int = 10,
    image_shape: Sequence[int] | None = None,
    node: str | None = None,
) -> Figure:
    """Shows images, each with its reconstruction below: the mean of p(x|z) at the mean of q(z|x).

    Missing pixels are tinted.

    Args:
        model: Any latent variable model of images.
        x: Data `[N, *x_event]`, or in another form that `fit` takes.
        num_images: How many images to show, from the first on.
        columns: Images per row.
        image_shape: `(H, W)` or `(H, W, C)` of one image, for models of flat vectors; by default
            the shape of the data.
        node: Of a model of several observed nodes, which to show; by default the one that is
            image-shaped.

    Returns:
        Figure.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: The data is not image-shaped, a number is smaller than 1, or there is no such
            node.

    Example:
        >>> figure = tfvae.plots.reconstructions(vae, data.x_test)
        >>> figure.savefig("reconstructions.png", dpi=200)
    """
    _check_counts(num_images=num_images, columns=columns)
    parts = _first_rows(model, x, num_images)
    shapes = {name: parts[name].shape[1:] for name in _observed_nodes(model)}
    node = _chosen_node(node, shapes, image_shape)
    data = _as_images(parts[node], node, image_shape)
    batch = model.data.as_batch(parts)
    p_x = model.decode(centre(model.encode(**batch)), batch.get("context"))
    found = np.asarray(model.data.observed_parts(centre(p_x))[node])
    output = _as_images(found, "reconstruction", image_shape)
    limits = _limits(data)
    columns = min(columns, len(data))
    rows = -(-len(data) // columns)
    pair = 2 + _GAP / 2  # height of a row of images and of their reconstructions below
    axes = _image_axes(columns, rows * (pair + 2 * _GAP) - 2 * _GAP, left=0.9)
    for index in range(len(data)):
        row, column = divmod(index, columns)
        top = row * (pair + 2 * _GAP)
        _draw_image(axes, data[index], column, top, limits)
        _draw_image(axes, output[index], column, top + pair - 1, limits)
    for row in range(rows):
        top = row * (pair + 2 * _GAP)
        style: dict[str, Any] = {"ha": "right", "va": "center", "fontsize": _FONT_SIZE}
        axes.text(-_GAP, top + 0.5, "data", **style)
        axes.text(-_GAP, top + pair - 0.5, "reconstructed", **style)
    return axes.figure  # pyright: ignore[reportReturnType]


def images(
    x: Any, *, columns: int | None = None, image_shape: Sequence[int] | None = None
) -> Figure:
    """Shows images in rows.

    Args:
        x: Images `[N, H, W]` or `[N, H, W, C]`, or `[N, D]` with `image_shape`.
        columns: Images per row; by default as many as make the grid square.
        image_shape: See `reconstructions`.

    Returns:
        Figure.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: `x` is not image-shaped, or `columns` is smaller than 1.

    Example:
        >>> figure = tfvae.plots.images(np.zeros([6, 8, 8]), columns=3)
    """
    shown = _as_images(np.asarray(x), "x", image_shape)
    columns = int(np.ceil(np.sqrt(len(shown)))) if columns is None else columns
    _check_counts(columns=columns)
    limits = _limits(shown)
    columns = min(columns, len(shown))
    rows = -(-len(shown) // columns)
    axes = _image_axes(columns, rows * (1 + _GAP) - _GAP)
    for index, image in enumerate(shown):
        row, column = divmod(index, columns)
        _draw_image(axes, image, column, row * (1 + _GAP), limits)
    return axes.figure  # pyright: ignore[reportReturnType]


def samples(
    model: LatentVariableModel,
    num_images: int = 64,
    seed: Seed = None,
    *,
    context: Any = None,
    mean: bool = True,
    columns: int | None = None,
    image_shape: Sequence[int] | None = None,
    node: str | None = None,
) -> Figure:
    """Shows new data of the model: z drawn from p(z), and then the mean of p(x|z) or a draw of it.

    Args:
        model: Any latent variable model of images.
        num_images: How many images to draw.
        seed: Int or pair of ints; None advances the model's seed generator.
        context: What each image is drawn for, `[num_images, ...]`, or `[1, ...]` for all, for a
            model of p(x|c).
        mean: Shows the means of p(x|z); False shows draws, which have the noise of the likelihood.
        columns: Images per row; by default as many as make the grid square.
        image_shape: See `reconstructions`.
        node: See `reconstructions`.

    Returns:
        Figure.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: The model's data is not image-shaped, a number is smaller than 1, there is no
            such node, or `context` does not fit.

    Example:
        >>> figure = tfvae.plots.samples(vae, 64, seed=0)
    """
    _check_counts(num_images=num_images)
    if columns is not None:
        _check_counts(columns=columns)
    if context is not None:
        context = _rows_of_context(np.asarray(context), num_images)
    drawn = model.generate(num_images, model.make_seed(seed), context)
    nodes = _observed_nodes(model)
    node = _chosen_node(node, {name: drawn[name].shape[1:] for name in nodes}, image_shape)
    shown = np.asarray(drawn[f"{node}_mean" if mean else node])
    return images(_as_images(shown, "sample", image_shape), columns=columns)


def latent_space(
    model: LatentVariableModel,
    x: Any,
    labels: Any = None,
    *,
    node: str | None = None,
) -> Figure:
    """Shows the posterior means of data in the plane, coloured by label.

    Two latents are shown as they are. Of more, the first two principal components of the posterior
    means are shown, with the part of their variance that each carries on its axis.

    Args:
        model: Any latent variable model with two latents or more.
        x: Data in any form that `fit` takes.
        labels: `[N]`: up to ten classes, each with its colour and marker, or real numbers, shown
            on a colour scale; None shows all points alike.
        node: Of a model of several latent nodes, or levels, which to show; by default all, as one
            vector.

    Returns:
        Figure.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: The model has one latent, the labels do not fit the data, or there is no such
            node.

    Example:
        >>> figure = tfvae.plots.latent_space(vae, data.x_test, data.y_test)
    """
    z = _posterior_centres(model, x, node)
    labels = None if labels is None else _check_labels(np.asarray(labels), len(z))
    points, names = _plane(z)
    figure = _figure(4.0, 3.4)
    axes = figure.add_subplot()
    # Many points are drawn smaller, so that they do not hide each other.
    size = float(np.clip(6000 / len(points), 2, 14))
    style: dict[str, Any] = {"s": size, "linewidths": 0.3, "edgecolors": "white"}
    if labels is None:
        axes.scatter(*points.T, c=_CURVE_COLOURS["distortion"], **style)
    elif np.issubdtype(labels.dtype, np.floating):
        drawn = axes.scatter(*points.T, c=labels, cmap="viridis", **style)
        bar = figure.colorbar(drawn, ax=axes, pad=0.02)
        bar.ax.tick_params(labelsize=_FONT_SIZE)
        bar.set_label("label", fontsize=_FONT_SIZE)
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    else:
        looks = zip(_CLASS_COLOURS, _CLASS_MARKERS.items(), strict=True)
        for label, (colour, (marker, scale)) in zip(np.unique(labels), looks, strict=False):
            axes.scatter(
                *points[labels == label].T,
                c=colour,
                marker=marker,
                label=str(label),
                **{**style, "s": size * scale},
            )
        axes.legend(
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
            frameon=False,
            fontsize=_FONT_SIZE,
            handletextpad=0.1,
            markerscale=1.4,
        )
    axes.set_xlabel(names[0], fontsize=_FONT_SIZE)
    axes.set_ylabel(names[1], fontsize=_FONT_SIZE)
    # One scale on both axes: distances, and the circle of the prior, keep their shape.
    axes.set_aspect("equal", adjustable="datalim")
    _open_frame(axes)
    return figure


def training_curves(history: Any) -> Figure:
    """Shows how the ELBO and its terms went over the epochs, in training and validation.

        elbo = -(distortion + rate),   rate = mutual information + marginal KL

    For a model that does not log these two, the rates of its levels, or latent nodes, stand in
    their place, where it has several.

    From twenty epochs on, the first twentieth of them does not set the scales: the curves enter
    from beyond the edge, and the later part can be read. The mutual information is estimated
    within batches, of M points each, and cannot exceed log M there.

    Args:
        history: What `fit` returned, or its dict `history`. Validation is shown where it is there.

    Returns:
        Figure.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: The history is empty, lacks a term, or has validation for some epochs only.

    Example:
        >>> history = vae.fit(x, validation_data=(x_valid,), verbose=0)
        >>> figure = tfvae.plots.training_curves(history)
    """
    values = _check_history(getattr(history, "history", history))
    parts_of_rate = _parts_of_rate(values)
    colours = {
        **_CURVE_COLOURS,
        **dict(zip(parts_of_rate, itertools.cycle(_LEVEL_COLOURS), strict=False)),
    }
    figure = _figure(6.8, 2.5)
    epochs = np.arange(1, len(values["elbo"]) + 1)
    style: dict[str, Any] = {"marker": "o" if len(epochs) == 1 else None, "markersize": 3}
    parts = {"": {"label": "training", "linewidth": 0.9, "linestyle": (0, (3, 1.5)), **style}}
    if "val_elbo" in values:
        parts["val_"] = {"label": "validation", "linewidth": 1.4, "linestyle": "solid", **style}
    panels = {
        "ELBO": ("elbo",),
        "distortion": ("distortion",),
        "rate": ("rate", *parts_of_rate),
    }
    all_axes = figure.subplots(1, len(panels))
    for axes, (title, names) in zip(all_axes, panels.items(), strict=True):
        curves = {(name, prefix): values[prefix + name] for name in names for prefix in parts}
        for (name, prefix), curve in curves.items():
            axes.plot(epochs, curve, color=colours[name], **parts[prefix])
        axes.set_ylim(*_range([curve[len(epochs) // 20 :] for curve in curves.values()]))
        axes.set_title(title, fontsize=_FONT_SIZE + 1, loc="left")
        axes.set_xlabel("epoch", fontsize=_FONT_SIZE)
        axes.xaxis.get_major_locator().set_params(integer=True)
        _open_frame(axes)
    all_axes[0].set_ylabel("nats per data point", fontsize=_FONT_SIZE)
    # Below the panels, where no curve can run into it: first the parts of the data, then the terms.
    lines = list(all_axes[0].get_lines())
    lines += all_axes[-1].get_lines()[:: -len(parts)][::-1]
    texts = [str(line.get_label()) for line in lines[: len(parts)]]
    texts += ["rate", *parts_of_rate.values()]
    figure.legend(
        lines,
        texts,
        loc="outside lower center",
        ncols=min(len(lines), 5),
        frameon=False,
        fontsize=_FONT_SIZE,
        handlelength=1.8,
        columnspacing=1.5,
    )
    return figure


def _first_rows(model: LatentVariableModel, x: Any, number: int) -> dict[str, np.ndarray]:
    """Returns the first so many rows of data, as parts by name."""
    if isinstance(x, Mapping) or hasattr(x, "__array__"):
        return {name: np.asarray(part)[:number] for name, part in model.data.named(x).items()}
    chunks: list[dict[str, Any]] = []
    for batch, count in Stream(model, x, number):
        chunks.append({n: np.asarray(p)[:count] for n, p in model.data.as_parts(batch).items()})
        number -= count
        if number <= 0:
            break
    rows = len(next(iter(chunks[-1].values()))) + min(number, 0)
    chunks[-1] = {name: part[:rows] for name, part in chunks[-1].items()}
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def _observed_nodes(model: LatentVariableModel) -> tuple[str, ...]:
    return model.observed if isinstance(model, DirectedModel) else ("x",)


def _chosen_node(
    node: str | None, shapes: Mapping[str, Any], image_shape: Sequence[int] | None
) -> str:
    """Returns the observed node to show: the given one, or the only one that is image-shaped."""
    fitting = [n for n, shape in shapes.items() if _fitting_shape(shape, image_shape) is not None]
    if node is None:
        node = (fitting if len(fitting) == 1 else list(shapes))[0]
        if len(fitting) != 1 and len(shapes) > 1:
            raise ValueError(
                "It is not clear which node to show. Expected one that is image-shaped. Received: "
                + ", ".join(f"{name} of shape {tuple(shape)}" for name, shape in shapes.items())
                + ". Name one: `node=...`, and where its images are flat, `image_shape=(H, W)`."
            )
    if node not in shapes:
        raise ValueError(
            f"`node` must be an observed node of the model. Expected: {', '.join(shapes)}. "
            f"Received: node={node!r}"
        )
    return node


def _rows_of_context(context: np.ndarray, number: int) -> np.ndarray:
    if context.ndim == 0 or len(context) not in (1, number):
        raise ValueError(
            "`context` must have one row per image, or one row for all. Received: "
            f"num_images={number}, context of shape {list(context.shape)}"
        )
    return np.broadcast_to(context, (number, *context.shape[1:]))


def _posterior_centres(model: LatentVariableModel, x: Any, node: str | None) -> np.ndarray:
    """Returns the means of q(z|x) of all data, or of one node of z, `[N, K]`."""
    chunks = []
    for batch, count in Stream(model, x, batch_size=1000):
        z = centre(model.encode(**batch))[:count]
        if node is not None:
            parts = model.split(z) if isinstance(model, (DirectedModel, HierarchicalVAE)) else {}
            if node not in parts:
                raise ValueError(
                    "`node` must be a latent node, or level, of the model. Expected: "
                    f"{', '.join(parts) or 'none, for this model has but one'}. "
                    f"Received: node={node!r}"
                )
            z = parts[node]
        chunks.append(np.asarray(z, np.float64).reshape(count, -1))
    return np.concatenate(chunks)


def _plane(z: np.ndarray) -> tuple[np.ndarray, tuple[str, str]]:
    """Returns points `[N, 2]` and the names of the axes, of latents `[N, K]`."""
    if min(z.shape) < 2:
        raise ValueError(
            "There is no plane to show. Expected a model with two latents or more, and two data "
            f"points or more. Received: posterior means of shape {z.shape}."
        )
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


def _figure(width: float, height: float) -> Figure:
    """Returns an empty figure of a size in inches; the one place that imports matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "Figures are drawn by matplotlib, which cannot be imported. "
            'Run `pip install "tfvae[examples]"`.'
        ) from error
    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def _image_axes(width: float, height: float, left: float = 0.0) -> Axes:
    """Returns axes whose unit is one image, `height` pointing down, with room for text left."""
    inches = _INCH_PER_IMAGE
    across = width + (width - 1) * _GAP
    figure = _figure(across * inches + left, height * inches)
    figure.set_layout_engine("none")
    share = left / (across * inches + left)
    axes = figure.add_axes((share, 0.0, 1.0 - share, 1.0))
    margin = 0.02  # for the outer half of the frames
    axes.set_xlim(-margin, across + margin)
    axes.set_ylim(height + margin, -margin)
    axes.set_axis_off()
    return axes


def _draw_image(
    axes: Axes, image: np.ndarray, column: int, top: float, limits: tuple[float, float]
) -> None:
    left = column * (1 + _GAP)
    extent = (left, left + 1, top + 1, top)
    if np.isnan(image).any():
        _fill_in(axes, extent)
    # Nothing is smoothed, so that every pixel can be seen.
    style: dict[str, Any] = {"extent": extent, "interpolation": "nearest"}
    if image.shape[-1] == 1:
        # Ink on paper; what is NaN stays clear.
        low, high = limits
        axes.imshow(image[..., 0], cmap="gray_r", vmin=low, vmax=high, **style)
    else:
        scaled = np.clip((image - limits[0]) / max(limits[1] - limits[0], 1e-12), 0.0, 1.0)
        there = ~np.isnan(scaled).any(axis=-1, keepdims=True)
        if not there.all():  # clear where a channel is missing
            scaled = np.concatenate([np.where(there, scaled, 0.0), there], axis=-1)
        axes.imshow(scaled, **style)
    right, bottom = left + 1, top + 1
    axes.plot(
        [left, right, right, left, left],
        [top, top, bottom, bottom, top],
        color=_FRAME,
        linewidth=0.5,
    )


def _fill_in(axes: Axes, extent: tuple[float, float, float, float]) -> None:
    """Tints the ground of an image, where its missing pixels let it be seen."""
    left, right, bottom, top = extent
    across, down = [left, right, right, left], [top, top, bottom, bottom]
    axes.fill(across, down, color=_TINT, linewidth=0, zorder=-1)


def _open_frame(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=_FONT_SIZE, color=_INK, width=0.6)
    axes.spines[["left", "bottom"]].set_linewidth(0.6)


def _limits(images: np.ndarray) -> tuple[float, float]:
    """Returns the values of white and black ink: [0, 1] for data that lies within."""
    there = images[np.isfinite(images)]
    low, high = (float(there.min()), float(there.max())) if there.size else (0.0, 1.0)
    return (0.0, 1.0) if low >= 0.0 and high <= 1.0 else (low, high)


def _range(curves: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Returns limits with a margin around all finite values."""
    values = np.asarray(curves, dtype=float)
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if values.size else (0.0, 0.0)
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin


def _as_images(x: np.ndarray, name: str, image_shape: Sequence[int] | None) -> np.ndarray:
    """Returns `[N, H, W, C]` of images `[N, H, W]`, `[N, H, W, C]`, or of vectors `[N, D]`."""
    if len(x) == 0:
        raise ValueError(f"There is no image to show. Received: `{name}` of shape {x.shape}.")
    shape = _fitting_shape(x.shape[1:], image_shape)
    if shape is None:
        raise ValueError(
            f"`{name}` is not image-shaped. Expected [N, H, W] or [N, H, W, C] with 1 or 3 "
            f"channels. Received: shape={x.shape}, image_shape={image_shape}. For a model of flat "
            "vectors pass `image_shape=(H, W)` with H * W values."
        )
    return x.reshape(-1, *shape)


def _fitting_shape(
    event_shape: Sequence[int], image_shape: Sequence[int] | None
) -> tuple[int, ...] | None:
    """Returns `(H, W, C)` of one example as an image, None where it is none."""
    shape = tuple(event_shape) if image_shape is None else tuple(np.atleast_1d(image_shape))
    if len(shape) == 2:
        shape = (*shape, 1)
    if len(shape) != 3 or shape[-1] not in (1, 3) or np.prod(shape) != np.prod(event_shape):
        return None
    return shape


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        check_count(name, count)


def _check_labels(labels: np.ndarray, size: int) -> np.ndarray:
    if labels.shape != (size,):
        raise ValueError(
            f"`labels` must hold one label per data point. Expected shape ({size},). "
            f"Received: {labels.shape}."
        )
    if not np.issubdtype(labels.dtype, np.floating):
        classes = np.unique(labels)
        if len(classes) > len(_CLASS_COLOURS):
            raise ValueError(
                f"`labels` hold more classes than there are colours that can be told apart. "
                f"Expected at most {len(_CLASS_COLOURS)}. Received: {len(classes)}. Pass floats "
                "for a colour scale, or fewer classes."
            )
    return labels


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


def _check_history(history: Any) -> Mapping[str, Sequence[float]]:
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
