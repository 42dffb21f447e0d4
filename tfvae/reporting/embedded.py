"""Pictures as text within a page: figures as SVG that follows its colours, images as PNG."""

from __future__ import annotations

import base64
import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["as_png", "as_svg", "default_look"]

# What is drawn in ink on paper takes the colours of the page, light or dark.
_OF_PAGE = {
    "#000000": "currentColor",
    "#262626": "currentColor",
    "#ffffff": "var(--paper)",
    "#0072b2": "var(--blue)",
    "#332288": "var(--indigo)",
    "#117733": "var(--forest)",
    "#882255": "var(--wine)",
}
_DPI = 200  # of images within figures
# Nor versions: the same numbers give the same bytes.
_NO_DATES: Any = {"Software": None}


def as_svg(figure: Figure, title: str) -> str:
    """Returns a figure as an `svg` element with real text; the same figure gives the same bytes.

    Example:
        >>> from tfvae.reporting.embedded import as_svg
        >>> as_svg(tfvae.plots.images(np.zeros([1, 2, 2])), "Nothing")[:4]
        '<svg'
    """
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "tfvae"}):
        settings = {"format": "svg", "dpi": _DPI, "transparent": True}
        figure.savefig(buffer, metadata={"Date": None}, **settings)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)  # would be for all
    for ink, own in _OF_PAGE.items():
        text = text.replace(ink, own)
    name = title.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return text.replace("<svg", f'<svg role="img" aria-label="{name}"', 1)


def as_png(pixels: np.ndarray) -> str:
    """Returns bytes `[H, W, 3]` as the address of an embedded image.

    Example:
        >>> from tfvae.reporting.embedded import as_png
        >>> as_png(np.zeros([2, 3, 3], np.uint8))[:22]
        'data:image/png;base64,'
    """
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, np.ascontiguousarray(pixels), format="png", metadata=_NO_DATES)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def default_look() -> dict[Any, Any]:
    """Returns matplotlib's own settings, whatever the program that asks has changed."""
    from matplotlib import rcParamsDefault

    return {key: value for key, value in rcParamsDefault.items() if "backend" not in key}
