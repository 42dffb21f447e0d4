"""What users hand over as data: `x`, labels that nobody reads, and weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfvae.data.digits import tell_lost_digits
from tfvae.data.row_checks import NOT_FINITE_WEIGHTS

__all__ = ["Source", "check_form", "is_endless"]

_READABLE = "an array, a dict of arrays, a `tf.data.Dataset` or a `keras.utils.PyDataset`"
_DENSE = "Make it dense: `.to_tensor()`, `tf.sparse.to_dense(...)` or `.toarray()`."


def check_form(data: Any, name: str) -> None:
    """Checks that data is of a form whose values can be read, all of them and no others.

    Args:
        data: In any form that `fit` or an evaluation is given, perhaps `(x, y, ...)`.
        name: What messages call it.

    Raises:
        TypeError: It is no data, but what makes some, or text.
        ValueError: It is sparse or ragged, hides values behind a mask, or has columns that are no
            numbers.
    """
    if isinstance(data, tuple):
        data = data[0] if data else None
    if isinstance(data, Mapping):
        for key, part in data.items():
            check_form(part, f'{name}["{key}"]')
        return
    if isinstance(data, (type, str, bytes)) or (callable(data) and not hasattr(data, "__array__")):
        what = f"the {type(data).__name__} {getattr(data, '__name__', data)!r:.40}"
        raise TypeError(f"`{name}` must be {_READABLE}. Received: {what}.")
    specs = data.element_spec if isinstance(data, tf.data.Dataset) else data
    for part in tf.nest.flatten(specs) if isinstance(data, tf.data.Dataset) else [specs]:
        if isinstance(part, _UNEVEN) or type(part).__module__.startswith("scipy.sparse"):
            raise ValueError(
                f"`{name}` must hold a number in each place of each example. "
                f"Received: {type(part).__name__}. {_DENSE}"
            )
    hidden = int(np.sum(np.ma.getmaskarray(data))) if isinstance(data, np.ma.MaskedArray) else 0
    if hidden:
        raise ValueError(
            f"`{name}` is a masked array, whose hidden values would be read as if they were "
            f"data. Received: {hidden} of {data.size} hidden. Use `{name}.filled(numpy.nan)` and "
            "wrap the likelihood in `tfvae.layers.Masked`, which takes NaN as missing."
        )
    if hasattr(data, "columns") and hasattr(data, "__array__"):
        _check_columns(data, name)


_UNEVEN = (tf.RaggedTensor, tf.SparseTensor, tf.RaggedTensorSpec, tf.SparseTensorSpec)


def _check_columns(table: Any, name: str) -> None:
    """Checks that a table, such as one of pandas, holds numbers alone."""
    if np.asarray(table).dtype.kind in "fiub":
        return
    dtypes = {str(column): table[column].dtype for column in table.columns}
    # Types that are not NumPy's, such as whole numbers that may be missing, make one of objects.
    found = [
        f"{column} ({dtype})"
        for column, dtype in dtypes.items()
        if not (isinstance(dtype, np.dtype) and dtype.kind in "fiub")
    ]
    raise ValueError(
        f"`{name}` must hold numbers of NumPy in all columns. Received: {', '.join(found)}. "
        "Encode categories as numbers; numbers that may be missing become NaN by "
        '`.astype("float32")`.'
    )


def is_endless(data: Any) -> bool:
    """Whether data is known to give batches for ever.

    Example:
        >>> from tfvae.data.source import is_endless
        >>> is_endless(tf.data.Dataset.range(3).repeat()), is_endless(np.zeros([3, 2]))
        (True, False)
    """
    if isinstance(data, tf.data.Dataset):
        return int(data.cardinality()) == tf.data.INFINITE_CARDINALITY
    return isinstance(data, keras.utils.PyDataset) and data.num_batches is None


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
    def of(cls, x: Any, y: Any = None, sample_weight: Any = None, *, name: str = "x") -> Source:
        """Returns data as a source; `x` may be a tuple `(x, y, sample_weight)` or shorter.

        Arrays become those of NumPy, and their real numbers those of Keras's type.

        Raises:
            TypeError: It is no data; see `check_form`.
            ValueError: Its values cannot be read.
        """
        check_form(x, name)
        if isinstance(x, tuple):
            x, y, own = keras.utils.unpack_x_y_sample_weight(x)
            sample_weight = sample_weight if own is None else own
        if isinstance(x, Mapping):
            x = {key: _array(part, f'{name}["{key}"]') for key, part in x.items()}
        elif hasattr(x, "__array__"):
            x = _array(x, name)
        y = np.asarray(y) if hasattr(y, "__array__") else y
        weighs = sample_weight is not None and isinstance(x, (np.ndarray, Mapping))
        return cls(x, y, _array(sample_weight, "") if weighs else sample_weight)

    @property
    def is_in_memory(self) -> bool:
        """Whether all rows are there."""
        return isinstance(self.x, (np.ndarray, Mapping))

    @property
    def num_rows(self) -> int:
        """The number of rows of data in memory, N."""
        return len(next(iter(self.x.values())) if isinstance(self.x, Mapping) else self.x)

    def check_rows(self, name: str = "") -> None:
        """Checks that labels in an array, and weights, have the rows of data in memory.

        Args:
            name: What set these rows apart, for messages.

        Raises:
            ValueError: They have not, or weights are not finite, negative, or all zero.
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
        is_number = weights.dtype.kind in "fiub"
        if not is_number or not np.all(np.isfinite(weights)) or np.any(weights < 0):
            raise ValueError(NOT_FINITE_WEIGHTS)
        if not np.any(weights):
            raise ValueError(
                "`sample_weight` must be above 0 for one row at least: means over none have no "
                f"value. Received: {len(weights)} weights, all of them 0"
                f"{f', of the rows of `{name}`' if name else ''}."
            )

    def check_labels(self, class_weight: Any) -> None:
        """Checks that there are labels where weights go by their classes.

        Raises:
            ValueError: There are none, as far as is known.
        """
        spec = self.x.element_spec if isinstance(self.x, tf.data.Dataset) else None
        unlabelled = self.is_in_memory if spec is None else not isinstance(spec, tuple)
        if class_weight and self.y is None and unlabelled:
            raise ValueError(
                "`class_weight` weighs rows by their labels. Expected: labels `y` beside the data. "
                "Received: none. Weigh rows by `sample_weight`."
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


def _array(values: Any, name: str) -> np.ndarray:
    """Returns real numbers in Keras's type, after a word on digits that are lost, if named."""
    array = np.asarray(values)
    if name:
        tell_lost_digits(array, name, getattr(values, "columns", ()))
    if array.dtype.kind != "f":
        return array
    with np.errstate(over="ignore"):  # Infinity, then, is told.
        return array.astype(keras.config.floatx(), copy=False)
