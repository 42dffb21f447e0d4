"""Figures of images: as they are, made again, and made anew by a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfvae._config import check_count
from tfvae._typing import Seed
from tfvae.data.spec import with_context
from tfvae.distributions.statistics import centre
from tfvae.evaluation.streaming import first_rows
from tfvae.latents.traversals import Traversal
from tfvae.models import DirectedModel, LatentVariableModel
from tfvae.plots.grid import GAP, as_images, draw_image, fitting_shape, image_axes, limits_of
from tfvae.plots.style import FONT_SIZE, plain_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["images", "reconstructions", "samples", "traversals"]


def reconstructions(
    model: LatentVariableModel,
    x: Any,
    *,
    context: Any = None,
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
        context: `[N, ...]`, where `x` is no dict that holds it.
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
        >>> from tfvae.demo import data, vae
        >>> figure = tfvae.plots.reconstructions(vae, data.x_test)
        >>> figure.savefig("reconstructions.png", dpi=200)
    """
    num_images, columns = check_count("num_images", num_images), check_count("columns", columns)
    parts = first_rows(model, with_context(x, context), num_images)
    shapes = {name: parts[name].shape[1:] for name in _observed_nodes(model)}
    node = _chosen_node(node, shapes, image_shape)
    data = as_images(parts[node], node, image_shape)
    batch = model.data.as_batch(parts)
    p_x = model.decode(centre(model.encode(**batch)), batch.get("context"))
    found = np.asarray(model.data.observed_parts(centre(p_x))[node])
    output = as_images(found, "reconstruction", image_shape)
    limits = limits_of(data)
    columns = min(columns, len(data))
    rows = -(-len(data) // columns)
    pair = 2 + GAP / 2  # height of a row of images and of their reconstructions below
    axes = image_axes(columns, rows * (pair + 2 * GAP) - 2 * GAP, left=0.9)
    for index in range(len(data)):
        row, column = divmod(index, columns)
        top = row * (pair + 2 * GAP)
        draw_image(axes, data[index], column, top, limits)
        draw_image(axes, output[index], column, top + pair - 1, limits)
    for row in range(rows):
        top = row * (pair + 2 * GAP)
        style: dict[str, Any] = {"ha": "right", "va": "center", "fontsize": FONT_SIZE}
        axes.text(-GAP, top + 0.5, "data", **style)
        axes.text(-GAP, top + pair - 0.5, "reconstructed", **style)
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
    shown = as_images(np.asarray(x), "x", image_shape)
    columns = int(np.ceil(np.sqrt(len(shown)))) if columns is None else columns
    columns = check_count("columns", columns)
    limits = limits_of(shown)
    columns = min(columns, len(shown))
    rows = -(-len(shown) // columns)
    axes = image_axes(columns, rows * (1 + GAP) - GAP)
    for index, image in enumerate(shown):
        row, column = divmod(index, columns)
        draw_image(axes, image, column, row * (1 + GAP), limits)
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
        >>> from tfvae.demo import vae
        >>> figure = tfvae.plots.samples(vae, 64, seed=0)
    """
    num_images = check_count("num_images", num_images)
    columns = None if columns is None else check_count("columns", columns)
    if context is not None:
        context = _rows_of_context(np.asarray(context), num_images)
    drawn = model.generate(num_images, model.make_seed(seed), context)
    nodes = _observed_nodes(model)
    node = _chosen_node(node, {name: drawn[name].shape[1:] for name in nodes}, image_shape)
    shown = np.asarray(drawn[f"{node}_mean" if mean else node])
    return images(as_images(shown, "sample", image_shape), columns=columns)


def traversals(
    ways: Traversal | Sequence[Traversal],
    *,
    image_shape: Sequence[int] | None = None,
    node: str | None = None,
) -> Figure:
    """Shows what moves in images with each dimension of z: a row for each, from end to end.

    Args:
        ways: What `tfvae.latents.traversals` returned, or one of them.
        image_shape: See `reconstructions`.
        node: See `reconstructions`.

    Returns:
        Figure.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: There are no ways, they are not image-shaped, or there is no such node.

    Example:
        >>> from tfvae.demo import data, vae
        >>> ways = tfvae.latents.traversals(vae, data.x_test)
        >>> figure = tfvae.plots.traversals(ways)
    """
    ways = [ways] if isinstance(ways, Traversal) else ways
    if not ways:
        raise ValueError("There is nothing to show: no dimension of z is active.")
    shapes = {name: part.shape[1:] for name, part in ways[0].means.items()}
    node = _chosen_node(node, shapes, image_shape)
    shown = [as_images(way.means[node], node, image_shape) for way in ways]
    limits = limits_of(np.concatenate(shown))
    columns = max(map(len, shown))
    axes = image_axes(columns, len(ways) * (1 + GAP) - GAP, left=0.9)
    for row, (way, images) in enumerate(zip(ways, shown, strict=True)):
        top = row * (1 + GAP)
        for column, image in enumerate(images):
            draw_image(axes, image, column, top, limits)
        style: dict[str, Any] = {"ha": "right", "va": "center", "fontsize": FONT_SIZE}
        axes.text(-GAP, top + 0.5, plain_text(way.name), **style)
    return axes.figure  # pyright: ignore[reportReturnType]


def _observed_nodes(model: LatentVariableModel) -> tuple[str, ...]:
    return model.observed if isinstance(model, DirectedModel) else ("x",)


def _chosen_node(
    node: str | None, shapes: Mapping[str, Any], image_shape: Sequence[int] | None
) -> str:
    """Returns the observed node to show: the given one, or the only one that is image-shaped."""
    fitting = [n for n, shape in shapes.items() if fitting_shape(shape, image_shape) is not None]
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
