"""The look that all figures share, and the one place that imports matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "BLUE",
    "FONT_SIZE",
    "GREEN",
    "GREY",
    "ORANGE",
    "PURPLE",
    "new_figure",
    "open_frame",
    "plain_text",
]

FONT_SIZE = 8  # points: that of a caption, since the figures are as wide as a page or a column
_INK = "#262626"
# Of Okabe and Ito's colours; the first for what stands alone.
BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
GREY = "#999999"


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


def plain_text(text: object) -> str:
    r"""Returns text of a user as it is to be given to matplotlib: a dollar sign begins no formula.

    Example:
        >>> from tfvae.plots.style import plain_text
        >>> print(plain_text("5$"))
        5\$
    """
    return str(text).replace("$", r"\$")
