"""Elements between known bounds, as a network sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["checked_range", "scaled"]


def checked_range(input_range: Sequence[float] | None) -> tuple[float, float] | None:
    """Returns a range as two floats, None as it is."""
    if input_range is None:
        return None
    low, high = input_range
    if not low < high:
        raise ValueError(
            "`input_range` must be a least and a greatest value. "
            f"Received: input_range={tuple(input_range)}"
        )
    return float(low), float(high)


def scaled(x: Any, input_range: tuple[float, float] | None) -> Any:
    """Returns `x` with the ends of the range at -1 and 1."""
    if input_range is None:
        return x
    low, high = input_range
    return (x - low) * (2.0 / (high - low)) - 1.0
