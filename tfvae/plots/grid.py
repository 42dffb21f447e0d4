"""Images side by side: axes whose unit is one image, and what is drawn on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfvae.plots.style import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "GAP",
    "TINT",
    "as_images",
    "draw_image",
    "fitting_shape",
    "image_axes",
    "limits_of",
    "strip",
]

_INCH_PER_IMAGE = 0.55
GAP = 0.12  # between images, as a part of their width
_FRAME = "#c8c8c8"
TINT = "#f4d9c6"  # of what is missing


def image_axes(width: float, height: float, left: float = 0.0) -> Axes:
    """Returns axes whose unit is one image, `height` pointing down, with room for text left."""
    inches = _INCH_PER_IMAGE
    across = width + (width - 1) * GAP
    figure = new_figure(across * inches + left, height * inches)
    figure.set_layout_engine("none")
    share = left / (across * inches + left)
    axes = figure.add_axes((share, 0.0, 1.0 - share, 1.0))
    margin = 0.02  # for the outer half of the frames
    axes.set_xlim(-margin, across + margin)
    axes.set_ylim(height + margin, -margin)
    axes.set_axis_off()
    return axes


def draw_image(
    axes: Axes, image: np.ndarray, column: int, top: float, limits: tuple[float, float]
) -> None:
    """Draws `[H, W, C]` in a column, below `top`; `limits` are the values of white and black."""
    left = column * (1 + GAP)
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


def strip(images: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Returns images `[N, H, W, C]` side by side as bytes `[H, N W, 3]`, as `draw_image` has them.

    Example:
        >>> from tfvae.plots.grid import strip
        >>> strip(np.zeros([5, 2, 3, 1]), (0.0, 1.0)).shape
        (2, 15, 3)
    """
    low, high = limits
    scaled = np.clip((images - low) / max(high - low, 1e-12), 0.0, 1.0)
    if images.shape[-1] == 1:
        scaled = np.repeat(1.0 - scaled, 3, axis=-1)
    tint = np.array([int(TINT[index : index + 2], 16) for index in (1, 3, 5)])
    there = ~np.isnan(scaled).any(axis=-1, keepdims=True)
    colours = np.where(there, 255.0 * np.where(there, scaled, 0.0), tint).round().astype(np.uint8)
    return np.concatenate(list(colours), axis=1)


def _fill_in(axes: Axes, extent: tuple[float, float, float, float]) -> None:
    """Tints the ground of an image, where its missing pixels let it be seen."""
    left, right, bottom, top = extent
    across, down = [left, right, right, left], [top, top, bottom, bottom]
    axes.fill(across, down, color=TINT, linewidth=0, zorder=-1)


def limits_of(images: np.ndarray) -> tuple[float, float]:
    """Returns the values of white and black ink: [0, 1] for data that lies within."""
    there = images[np.isfinite(images)]
    low, high = (float(there.min()), float(there.max())) if there.size else (0.0, 1.0)
    return (0.0, 1.0) if low >= 0.0 and high <= 1.0 else (low, high)


def as_images(x: np.ndarray, name: str, image_shape: Sequence[int] | None) -> np.ndarray:
    """Returns `[N, H, W, C]` of images `[N, H, W]`, `[N, H, W, C]`, or of vectors `[N, D]`."""
    if len(x) == 0:
        raise ValueError(f"There is no image to show. Received: `{name}` of shape {x.shape}.")
    shape = fitting_shape(x.shape[1:], image_shape)
    if shape is None:
        raise ValueError(
            f"`{name}` is not image-shaped. Expected [N, H, W] or [N, H, W, C] with 1 or 3 "
            f"channels; of one image, `image[None]`. Received: shape={x.shape}, "
            f"image_shape={image_shape}. For a model of flat vectors pass `image_shape=(H, W)` "
            "with H * W values."
        )
    return x.reshape(-1, *shape)


def fitting_shape(
    event_shape: Sequence[int], image_shape: Sequence[int] | None
) -> tuple[int, ...] | None:
    """Returns `(H, W, C)` of one example as an image, None where it is none, such as a line."""
    if image_shape is None and len(event_shape) == 2 and event_shape[1] == 1:
        return None
    shape = tuple(event_shape) if image_shape is None else tuple(np.atleast_1d(image_shape))
    if len(shape) == 2:
        shape = (*shape, 1)
    if len(shape) != 3 or shape[-1] not in (1, 3) or np.prod(shape) != np.prod(event_shape):
        return None
    return shape
