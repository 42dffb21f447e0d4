"""What users hand over as data: `x`, labels that nobody reads, and weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np

__all__ = ["Source"]


class Source(NamedTuple):
    """Data in any form that `fit` takes.

    Attributes:
        x: Array `[N, ...]`, a dict of arrays by name, or what gives batches one by one.
        y: Labels of the same rows, which a latent variable model does not read.
        sample_weight: Weights of the rows, `[N]`.
    """

    x: Any
    y: Any = None
    sample_weight: Any = None

    @classmethod
    def of(cls, x: Any, y: Any = None, sample_weight: Any = None) -> Source:
        """Returns data as a source; `x` may be a tuple `(x, y, sample_weight)` or shorter.

        Arrays become those of NumPy, and their real numbers those of Keras's type.
        """
        if isinstance(x, tuple):
            x, y, own = keras.utils.unpack_x_y_sample_weight(x)
            sample_weight = sample_weight if own is None else own
        if isinstance(x, Mapping):
            x = {name: _array(part) for name, part in x.items()}
        elif hasattr(x, "__array__"):
            x = _array(x)
        y = np.asarray(y) if hasattr(y, "__array__") else y
        weighs = sample_weight is not None and isinstance(x, (np.ndarray, Mapping))
        return cls(x, y, _array(sample_weight) if weighs else sample_weight)

    @property
    def is_in_memory(self) -> bool:
        """Whether all rows are there."""
        return isinstance(self.x, (np.ndarray, Mapping))

    @property
    def num_rows(self) -> int:
        """The number of rows of data in memory, N."""
        return len(next(iter(self.x.values())) if isinstance(self.x, Mapping) else self.x)

    def check_rows(self) -> None:
        """Checks that labels in an array, and weights, have the rows of data in memory.

        Raises:
            ValueError: They have not, or weights are not finite.
        """
        if isinstance(self.y, np.ndarray) and len(self.y) != self.num_rows:
            raise ValueError(
                "`y` must have one row for each of `x`. "
                f"Received: {len(self.y)} rows for {self.num_rows} of `x`."
            )
        weights = self.sample_weight
        if weights is None:
            return
        if weights.shape not in ((self.num_rows,), (self.num_rows, 1)):
            raise ValueError(
                "`sample_weight` must have one number for each row of `x`. "
                f"Expected: [{self.num_rows}]. Received: {list(weights.shape)}."
            )
        if weights.dtype.kind not in "fiub" or not np.all(np.isfinite(weights)):
            raise ValueError(
                "`sample_weight` must hold finite numbers. Remove the rows of others, or give "
                "them the weight 0."
            )

    def split(self, share: float) -> tuple[Source, Source]:
        """Returns the first rows, and the last ones, which are a share of all, of data in memory.

        Raises:
            ValueError: The share is not within (0, 1), or leaves one side without rows.
        """
        first = math.floor(self.num_rows * (1.0 - share)) if 0.0 < share < 1.0 else 0
        if not 0 < first < self.num_rows:
            raise ValueError(
                "`validation_split` must leave rows on both sides. Expected: a number between 0 "
                f"and 1. Received: validation_split={share} of {self.num_rows} rows."
            )

        def part(rows: slice) -> Source:
            x = self.x
            x = {name: p[rows] for name, p in x.items()} if isinstance(x, Mapping) else x[rows]
            # Labels that are no array belong to no row.
            return Source(x, *(p[rows] if isinstance(p, np.ndarray) else None for p in self[1:]))

        return part(slice(first)), part(slice(first, None))

    def for_keras(self) -> tuple[Any, Any, Any]:
        """Returns `x`, `y` and `sample_weight` as Keras reads them.

        It drops weights without labels in silence, so that zeros stand in for missing labels.
        """
        y = self.y
        if y is None and self.sample_weight is not None:
            y = np.zeros(self.num_rows, "int8")
        return self.x, y, self.sample_weight


def _array(values: Any) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind != "f":
        return array
    with np.errstate(over="ignore"):  # Infinity, then, is told.
        return array.astype(keras.config.floatx(), copy=False)
