"""Whether data keeps its digits in the type that models compute in."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tfvae._words import level_of_the_user

__all__ = ["tell_lost_digits"]

# So many steps of a type within the range of a column are enough: rounding to them adds a variance
# of a millionth of that of numbers spread evenly.
_ENOUGH = 1000
# Of fewer rows nothing is said: two of them may well lie close together.
_FEWEST_ROWS = 10


def tell_lost_digits(x: np.ndarray, name: str, columns: Sequence[Any] = ()) -> None:
    """Warns where numbers lie so close together, so far from zero, that the type merges them.

    Seconds since 1970, of five minutes, become three numbers in 32 bits, and log p(x) of them is
    that of another distribution. Batches of streams are not looked at, which may be of one minute
    each while the stream is of a year.

    Args:
        x: `[N, ...]`, before it is made narrower; NaN where entries are missing.
        name: What messages call it.
        columns: Names of its columns, where they have some.

    Example:
        >>> from tfvae.data.digits import tell_lost_digits
        >>> tell_lost_digits(np.arange(300.0)[:, None] - 150.0, "x")
    """
    dtype = np.dtype(keras.config.floatx())
    narrow = x.dtype.itemsize <= (dtype.itemsize if x.dtype.kind == "f" else 2)
    if x.dtype.kind not in "fiu" or narrow or x.ndim < 1 or len(x) < _FEWEST_ROWS or not x.size:
        return
    flat = x.reshape(len(x), -1)
    low, high = (each.reduce(flat, axis=0).astype("float64") for each in (np.fmin, np.fmax))
    with np.errstate(over="ignore", invalid="ignore"):  # Infinite values have words of their own.
        size, spread = np.maximum(np.abs(low), np.abs(high)), high - low
    # In 64 bits too, numbers that should be equal differ in the last digits.
    is_spread = spread > 100.0 * np.finfo("float64").eps * size
    is_spread &= size <= float(np.finfo(dtype).max)
    close = is_spread & (spread < _ENOUGH * float(np.finfo(dtype).eps) * size)
    lost = [k for k in np.flatnonzero(close) if _is_rounded(flat[:, k], dtype)]
    if not lost:
        return
    k = int(lost[0])
    place = _place(k, x.shape[1:], columns)
    more = f", and {len(lost) - 1} more such" if len(lost) > 1 else ""
    step = float(np.spacing(size[k].astype(dtype)))
    warnings.warn(
        f"`{name}` loses digits in {dtype.name}{place}: numbers from {low[k]:.12g} to "
        f"{high[k]:.12g} become multiples of {step:.3g}{more}. Subtract an origin, such as the "
        "smallest one, in 64 bits before.",
        UserWarning,
        stacklevel=level_of_the_user(),
    )


def _is_rounded(column: np.ndarray, dtype: np.dtype[Any]) -> bool:
    return bool(np.any((column.astype(dtype) != column) & (column == column)))


def _place(index: int, shape: tuple[int, ...], columns: Sequence[Any]) -> str:
    if len(columns):
        return f" in column '{columns[index]}'"
    if len(shape) == 1 and shape[0] > 1:
        return f" in column {index}"
    return f" at {list(map(int, np.unravel_index(index, shape)))}" if len(shape) > 1 else ""
