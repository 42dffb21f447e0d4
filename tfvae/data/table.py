"""Tables of pandas: a family for each column, numbers for models, and tables back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfvae import layers
from tfvae._words import kind_of, some_of
from tfvae.data.digits import tell_lost_digits

__all__ = ["Column", "Table"]

# Categories beyond which a column of text is rather a name or a number of something.
_MOST_LEVELS = 100
# Whole numbers from here on are amounts, not counts.
_LARGEST_COUNT = 1000
# Positive values whose largest is beyond so many medians: logarithms are Gaussian sooner.
_SPREAD = 10.0


@dataclass(frozen=True)
class Column:
    """What a column of a table is for a model.

    Attributes:
        name: Its name in the table.
        layer: Distribution layer of one value.
        reason: Why it is this one.
        dtype: Type in the table, of pandas.
        categories: Values that stand for 0, 1, ...; None of numbers.
    """

    name: Any
    layer: Any
    reason: str
    dtype: Any
    categories: tuple[Any, ...] | None = None

    def encode(self, series: Any) -> np.ndarray:
        """Returns a column as numbers `[N]`, float64, NaN where an entry is missing.

        Raises:
            ValueError: There are values that the column had not before, or that are no numbers.
        """
        missing = np.asarray(series.isna())
        if self.categories is None:
            try:
                return series.to_numpy(dtype="float64", na_value=np.nan)
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"Column '{self.name}' must hold numbers. Received: {series.dtype}."
                ) from error
        known = {value: code for code, value in enumerate(self.categories)}
        new = sorted({str(value) for value in series[~missing] if value not in known})
        if new:
            raise ValueError(
                f"Column '{self.name}' has categories that it had not before: "
                f"{', '.join(new[:5])}. Expected: {', '.join(map(str, self.categories[:10]))}."
            )
        codes = [np.nan if gone else known[v] for v, gone in zip(series, missing, strict=True)]
        return np.array(codes, np.float64)

    def decode(self, values: np.ndarray) -> Any:
        """Returns numbers `[N]` as a column: categories by name, whole numbers where all are."""
        import pandas as pd

        missing = np.isnan(values)
        if self.categories is not None:
            codes = np.where(missing, -1, np.round(np.nan_to_num(values))).astype(int)
            ordered = getattr(self.dtype, "ordered", False)
            kind = pd.CategoricalDtype(list(self.categories), ordered=ordered)
            named = pd.Series(pd.Categorical.from_codes(codes, dtype=kind), name=self.name)
            if isinstance(self.dtype, pd.CategoricalDtype):
                return named
            return named.astype("boolean" if self.is_bool and missing.any() else self.dtype)
        column = pd.Series(values, name=self.name)
        whole = bool(np.all(values[~missing] == np.round(values[~missing])))
        if not (pd.api.types.is_integer_dtype(self.dtype) and whole):
            return column
        return column.astype("Int64") if missing.any() else column.astype(self.dtype)

    @property
    def is_bool(self) -> bool:
        """Whether the column is of truth values."""
        return str(self.dtype) in ("bool", "boolean")


class Table:
    """The columns of a table of pandas, by a rule that `print` shows and you can overrule.

    | column | family |
    |---|---|
    | truth values, 0 and 1 | `IndependentBernoulli` |
    | text, categories | `IndependentCategorical`, up to 100 of them |
    | whole numbers from 0 to 1000 | `IndependentPoisson`, or negative binomial if they vary more |
    | strictly between 0 and 1 | `IndependentBeta` |
    | positive, the largest above ten medians | `IndependentLogNormal` |
    | other numbers | `IndependentNormal` |

    Dates, times and what else is no number are refused by name, and so is a column of one value.

    Args:
        frame: `pandas.DataFrame` to learn from; entries may be missing, in any of its ways.
        families: Name → distribution layer over one value, where the rule is not to decide.

    Attributes:
        columns: The `Column`s, in their order.

    Raises:
        TypeError: `frame` is no `DataFrame`, or a column is of a type without a family.
        ValueError: There are no rows or columns, a column tells nothing, or `families` names one
            that is not there.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"age": [31.5, 40.25, None], "colour": ["red", "blue", "red"]})
        >>> table = tfvae.data.Table(frame)
        >>> print(table)
        age     IndependentNormal       numbers
        colour  IndependentCategorical  2 categories
        >>> table.encode(frame)
        array([[31.5 ,  1.  ],
               [40.25,  0.  ],
               [  nan,  1.  ]], dtype=float32)
        >>> table.decode(table.encode(frame)).equals(frame)
        True

    Reference: Handling incomplete heterogeneous data using VAEs (Nazabal et al., 2020),
    https://arxiv.org/abs/1807.03653
    """

    def __init__(self, frame: Any, families: Mapping[Any, Any] | None = None) -> None:
        _check_frame(frame)
        families = dict(families or {})
        unknown = [str(name) for name in families if name not in frame.columns]
        if unknown:
            raise ValueError(
                f"`families` names columns that are not there: {', '.join(unknown)}. "
                f"Expected: some of {', '.join(map(str, frame.columns))}."
            )
        self.columns = [_column(frame[name], families.get(name)) for name in frame.columns]

    def __repr__(self) -> str:
        return f"Table({some_of(str(column.name) for column in self.columns)})"

    def __str__(self) -> str:
        rows = [(str(c.name), type(c.layer).__name__, c.reason) for c in self.columns]
        first, second = (max(len(row[k]) for row in rows) for k in (0, 1))
        return "\n".join(f"{a:<{first}}  {b:<{second}}  {c}" for a, b, c in rows)

    @property
    def families(self) -> dict[str, Any]:
        """Name → layer, as `Heterogeneous` and `DataEncoder` take them."""
        return {str(column.name): column.layer for column in self.columns}

    def encode(self, frame: Any) -> np.ndarray:
        """Returns rows `[N, D]`, float32, NaN where an entry is missing.

        Raises:
            TypeError: `frame` is no `DataFrame`.
            ValueError: A column is missing, or holds what it did not before.
        """
        if not hasattr(frame, "columns"):
            raise TypeError(
                "`frame` must be a `pandas.DataFrame` with the columns of the first. "
                f"Received: {kind_of(frame)}."
            )
        missing = [str(c.name) for c in self.columns if c.name not in frame.columns]
        if missing:
            raise ValueError(
                f"The table lacks columns: {', '.join(missing)}. "
                f"Received: {', '.join(map(str, frame.columns))}."
            )
        columns = [column.encode(frame[column.name]) for column in self.columns]
        x = np.stack(columns, axis=1)
        tell_lost_digits(x, "frame", [column.name for column in self.columns])
        return x.astype(np.float32)

    def decode(self, x: Any, index: Any = None) -> Any:
        """Returns rows `[N, D]` as a `pandas.DataFrame` with the columns of the first.

        Args:
            x: Draws, means or imputations.
            index: Of the rows.
        """
        import pandas as pd

        x = np.asarray(x, np.float64)
        decoded = [column.decode(x[:, k]) for k, column in enumerate(self.columns)]
        frame = pd.concat(decoded, axis=1)
        return frame if index is None else frame.set_axis(index, axis=0)


def _check_frame(frame: Any) -> None:
    if not (hasattr(frame, "columns") and hasattr(frame, "dtypes")):
        raise TypeError(
            f"`frame` must be a `pandas.DataFrame`. Received: {kind_of(frame)}. "
            "Arrays need no table: give them to `fit` as they are."
        )
    if not len(frame) or not len(frame.columns):
        raise ValueError(
            f"`frame` must have rows and columns. Received: {len(frame)} rows of "
            f"{len(frame.columns)} columns."
        )
    names = [str(name) for name in frame.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"Names of columns must differ. Received more than once: {twice}")


def _column(series: Any, given: Any) -> Column:
    import pandas as pd

    types, name, dtype = pd.api.types, series.name, series.dtype
    observed = series[~series.isna()]
    if not len(observed):
        raise ValueError(f"Column '{name}' has no entries. Leave it out.")
    named = isinstance(dtype, pd.CategoricalDtype) or types.is_object_dtype(dtype)
    if types.is_bool_dtype(dtype) or all(isinstance(value, (bool, np.bool_)) for value in observed):
        categories: tuple[Any, ...] | None = (False, True)
        chosen, reason = layers.IndependentBernoulli(), "truth values"
    elif named or types.is_string_dtype(dtype):
        categories = _categories(observed, name)
        chosen = layers.IndependentCategorical((), levels=len(categories))
        reason = f"{len(categories)} categories"
    elif types.is_numeric_dtype(dtype) and not types.is_complex_dtype(dtype):
        categories = None
        chosen, reason = _family_of_numbers(observed.to_numpy(dtype="float64"), name)
    else:
        raise TypeError(
            f"Column '{name}' is of type {dtype}, which has no family. Make numbers of it, such as "
            "days since a date, or leave it out."
        )
    if given is not None:
        chosen, reason = given, "as asked for"
    return Column(name, chosen, reason, dtype, categories)


def _categories(observed: Any, name: Any) -> tuple[Any, ...]:
    import pandas as pd

    if isinstance(observed.dtype, pd.CategoricalDtype):
        found = list(observed.dtype.categories)
    else:
        odd = {type(value).__name__ for value in observed if not isinstance(value, (str, bool))}
        if odd:
            raise TypeError(
                f"Column '{name}' is of objects, among them {', '.join(sorted(odd))}. Expected: "
                "text. Convert it: `.astype(float)` for numbers, `.astype(str)` for names."
            )
        found = sorted(set(observed))
    if not 2 <= len(found) <= _MOST_LEVELS:
        raise ValueError(
            f"Column '{name}' has {len(found)} categories. Expected: 2 to {_MOST_LEVELS}. A name "
            "or a number of each row tells a model nothing, nor does one value alone: leave it out."
        )
    return tuple(found)


def _family_of_numbers(values: np.ndarray, name: Any) -> tuple[Any, str]:
    """Returns the family of numbers by the rule of `Table`, and why it is this one."""
    if np.isinf(values).any():
        raise ValueError(f"Column '{name}' holds infinite values. Set them to missing.")
    low, high, whole = values.min(), values.max(), np.all(values == np.round(values))
    if low == high:
        raise ValueError(f"Column '{name}' has one value alone, {low:g}. Leave it out.")
    if whole and low == 0.0 and high == 1.0:
        return layers.IndependentBernoulli(), "zeros and ones"
    if whole and low >= 0.0 and high <= _LARGEST_COUNT:
        if values.var() <= 1.5 * values.mean():
            return layers.IndependentPoisson(), "counts"
        return layers.IndependentNegativeBinomial(), "counts with surplus variance"
    if low > 0.0 and high < 1.0:
        return layers.IndependentBeta(), "between 0 and 1"
    if low > 0.0 and high > _SPREAD * np.median(values):
        return layers.IndependentLogNormal(), "positive, over magnitudes"
    return layers.IndependentNormal(), "numbers"
