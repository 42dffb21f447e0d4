"""Rows of a table as the input of an encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae._shapes import with_event
from tfvae._typing import Distribution, Shape, Tensor, register
from tfvae.distributions.support import support_of
from tfvae.layers.base import DistributionLayer, inspected
from tfvae.layers.heterogeneous import columns_of

__all__ = ["DataEncoder"]

_TRANSFORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "real": tf.identity,
    "log": tf.math.log,
    "log1p": tf.math.log1p,
}


@register
class DataEncoder(keras.layers.Layer):
    """Turns rows of a table into features of one scale, with no NaN: the start of an encoder.

    | column | features |
    |---|---|
    | real values, and values between two bounds | `(x - mean) / scale` |
    | positive values | `(log(x) - mean) / scale` |
    | counts | `(log(1 + x) - mean) / scale` |
    | L categories | one-hot, L features |
    | missing entry | zeros for all these |

    After the features of all columns comes, for each column, 1.0 where it is missing and 0.0
    elsewhere. `adapt` finds mean and scale; before, they are 0 and 1.

    Args:
        columns: The description that `Heterogeneous` takes, from name to distribution layer. In
            place of a layer may stand what is to become of one column: "real", "log", "log1p", or
            the number of categories; or a pair of that and a number of columns.
        indicators: Adds the indicators of missing entries.
        **kwargs: `name`, `dtype` and the other arguments of `keras.layers.Layer`.

    Call arguments:
        x: `[..., D]`, of any type; NaN where an entry is missing.

    Returns:
        Features `[..., F]`.

    Raises:
        ValueError: `columns` describes no columns, or `x` has another number of them.

    Example:
        >>> encoder = tfvae.layers.DataEncoder({
        ...     "age": tfvae.layers.IndependentNormal(),
        ...     "colour": tfvae.layers.IndependentCategorical((), levels=3),
        ... })
        >>> encoder.adapt(np.array([[30.0, 0.0], [50.0, 1.0], [np.nan, 2.0]]))
        >>> encoder(tf.constant([[60.0, 2.0], [np.nan, np.nan]])).numpy()
        array([[2., 0., 0., 1., 0., 0.],
               [0., 0., 0., 0., 1., 1.]], dtype=float32)

    Reference: Handling incomplete heterogeneous data using VAEs (Nazabal et al., 2020),
    https://arxiv.org/abs/1807.03653
    """

    def __init__(
        self,
        columns: Mapping[str, Any] | Sequence[tuple[str, Any]],
        indicators: bool = True,
        **kwargs: Any,
    ) -> None:
        # Rows come as they are: half precision has no place for a number such as 100,000.
        super().__init__(**{**kwargs, "autocast": False})
        self.columns: list[tuple[str, Any, int]] = [
            (name, *_encoding(name, given)) for name, given in columns_of(columns)
        ]
        self.indicators = indicators
        self.num_columns = sum(width for *_, width in self.columns)
        shape = (sum(width for _, kind, width in self.columns if kind in _TRANSFORMS),)
        options: Any = {"dtype": "float32", "trainable": False, "autocast": False}
        self.mean = self.add_weight(shape, "zeros", name="mean", **options)
        self.scale = self.add_weight(shape, "ones", name="scale", **options)
        self.built = True

    def adapt(self, data: Any, batch_size: int = 10_000) -> None:
        """Sets mean and scale to those of the observed entries of `data`.

        A column without observed entries keeps mean 0, one without spread the scale 1.

        Args:
            data: Array `[N, D]`, or batches of rows such as a `tf.data.Dataset`; of tuples
                `(x, y)`, `x` is read.
            batch_size: Rows of an array that are read at once.

        Raises:
            ValueError: The data is empty, has another number of columns, or infinite values.
        """
        count = np.zeros(self.mean.shape)
        mean, squares = np.zeros_like(count), np.zeros_like(count)
        num_rows = 0
        for batch in _batches(data, batch_size):
            x = self._checked(batch, rank=2)
            num_rows += len(x)
            values = np.asarray(self._numbers(x, transformed=True), "float64")
            missing = np.isnan(self._numbers(x, transformed=False))
            if not np.isfinite(values[~missing]).all():
                raise ValueError(
                    "`data` holds infinite values, or values of a column that are too small for "
                    "its logarithm. Remove them, or set them to NaN where they mean a missing "
                    "entry."
                )
            # Chan's update: sums of squares would cancel.
            new = np.sum(~missing, axis=0)
            total = np.maximum(count + new, 1)
            own = np.where(missing, 0.0, values).sum(axis=0) / np.maximum(new, 1)
            step = np.where(new > 0, own - mean, 0.0)
            squares += np.where(missing, 0.0, np.square(values - own)).sum(axis=0)
            squares += np.square(step) * count * new / total
            mean += step * new / total
            count += new
        if num_rows == 0:
            raise ValueError("`data` is empty. Expected at least one row.")
        scale = np.sqrt(squares / np.maximum(count, 1))
        self.mean.assign(mean)
        self.scale.assign(np.where(scale > 0.0, scale, 1.0))

    def call(self, x: Tensor) -> Tensor:
        x = self._checked(x)
        mean, scale = tf.cast(self.mean, x.dtype), tf.cast(self.scale, x.dtype)
        observed = self._numbers(x, transformed=True)
        # To the mean, and so to zero: with no NaN in what the gradient of the scale reads.
        numbers: Any = (tf.where(tf.math.is_nan(observed), mean, observed) - mean) / scale
        features, done = [], 0
        for kind, part in self._parts(x):
            width = part.shape[-1]
            if kind in _TRANSFORMS:
                features.append(numbers[..., done : done + width])
                done += width
                continue
            # NaN becomes no number among the categories, and so a row of zeros.
            index = tf.where(tf.math.is_nan(part), -tf.ones_like(part), part)
            one_hot = tf.one_hot(tf.cast(index, tf.int32), kind, dtype=x.dtype)  # [..., width, L]
            features.append(with_event(one_hot, [width * kind], axes=2))
        if self.indicators:
            features.append(tf.cast(tf.math.is_nan(x), x.dtype))
        encoded = tf.concat(features, axis=-1)
        encoded = tf.ensure_shape(encoded, self.compute_output_shape(x.shape))
        return tf.cast(encoded, self.compute_dtype)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        self._check_shape(input_shape)
        sizes = (width * (1 if kind in _TRANSFORMS else kind) for _, kind, width in self.columns)
        size = sum(sizes) + (self.num_columns if self.indicators else 0)
        return (*tuple(input_shape)[:-1], size)

    def get_config(self) -> dict[str, Any]:
        columns = [[name, [kind, width]] for name, kind, width in self.columns]
        return {**super().get_config(), "columns": columns, "indicators": self.indicators}

    def _checked(self, x: Any, rank: int | None = None) -> Tensor:
        """Returns `x` in single precision at least, once it has the right number of columns."""
        x = tf.convert_to_tensor(x)
        self._check_shape(x.shape, rank)
        return x if x.dtype in (tf.float32, tf.float64) else tf.cast(x, tf.float32)

    def _check_shape(self, shape: Any, rank: int | None = None) -> None:
        shape = tuple(shape)
        if len(shape) != (rank or len(shape) or 1) or shape[-1] != self.num_columns:
            raise ValueError(
                f"Layer '{self.name}' reads rows of {self.num_columns} columns. "
                f"Received: shape={shape}."
            )

    def _parts(self, x: Tensor) -> Iterator[tuple[Any, Tensor]]:
        start = 0
        for _, kind, width in self.columns:
            yield kind, x[..., start : start + width]
            start += width

    def _numbers(self, x: Tensor, *, transformed: bool) -> Tensor:
        """Returns all columns that are no categories, side by side."""
        parts = [x[..., :0]]
        for kind, part in self._parts(x):
            if kind in _TRANSFORMS:
                parts.append(_TRANSFORMS[kind](part) if transformed else part)
        return tf.concat(parts, axis=-1)


def _encoding(name: str, given: Any) -> tuple[str | int, int]:
    """Returns what becomes of a column, and how many columns it stands for."""
    if isinstance(given, DistributionLayer):
        return inspected(given, _natural_encoding, f"Column '{name}'")
    kind, width = given if isinstance(given, (tuple, list)) else (given, 1)
    known = kind in _TRANSFORMS or (isinstance(kind, int) and kind >= 1)
    if known and isinstance(width, int) and width >= 1:
        return kind, width
    raise ValueError(
        f"Column '{name}' must be given as a distribution layer, a number of categories, or one "
        f"of {', '.join(map(repr, _TRANSFORMS))}. Received: {given!r}"
    )


def _natural_encoding(distribution: Distribution) -> tuple[str | int, int]:
    support, width = support_of(distribution), int(distribution.event_shape.num_elements() or 1)
    if support.categories is not None:
        return support.categories, width
    if support.lower != 0.0 or support.upper is not None:
        return "real", width
    return "log" if support.exclusive else "log1p", width


def _batches(data: Any, batch_size: int) -> Iterator[Any]:
    if not hasattr(data, "__array__"):
        for batch in data:
            yield keras.utils.unpack_x_y_sample_weight(batch)[0]
        return
    for start in range(0, len(data), batch_size):
        yield np.asarray(data[start : start + batch_size])
