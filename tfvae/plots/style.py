"""The look that all figures share, and the one place that imports matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["BLUE", "FONT_SIZE", "new_figure", "open_frame"]

FONT_SIZE = 8  # points: that of a caption, since the figures are as wide as a page or a column
_INK = "#262626"
BLUE = "#0072b2"  # of Okabe and Ito's colours, for what stands alone


def new_figure(width: float, height: float) -> Figure:
    """Returns an empty figure of a size in inches; the one place that imports matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "Figures are drawn by matplotlib, which cannot be imported. "
            'Run `pip install "tfvae[examples]"`.'
        ) from error
    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def open_frame(axes: Axes) -> None:
    """Leaves a panel its lower and left edge, drawn thinly."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=FONT_SIZE, color=_INK, width=0.6)
    axes.spines[["left", "bottom"]].set_linewidth(0.6)
