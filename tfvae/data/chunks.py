"""Data in chunks of one size, read as often as asked."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae._config import check_count
from tfvae._typing import Tensor
from tfvae._words import kind_of
from tfvae.data.digits import tell_lost_digits
from tfvae.data.source import check_form, is_endless

__all__ = ["Chunks", "filled"]


# 2**64 over the golden ratio: products with it spread what bits of rows have in common.
_ODD = np.uint64(0x9E3779B97F4A7C15)


class Chunks:
    """Reads data in chunks, as often as asked, never holding more than one.

    The last chunk is filled up with copies of its first point, so that compiled functions meet
    one shape only; what is computed from the surplus is to be cut off.

    Args:
        model: Checks the values of each chunk.
        data: Array `[N, ...]`, `tf.data.Dataset` or `keras.utils.PyDataset`; of tuples `(x, y)`,
            `x` is read. Each may be a dict of `x` and `context`. A dataset must give the same
            points each time it is read.
        batch_size: Points per chunk of an array; datasets bring batches of their own.
        name: What messages call the data.

    Raises:
        TypeError: `data` has none of these forms.
        ValueError: The data is empty, has no end or is not what the model is for, or `batch_size`
            is no whole number >= 1.
    """

    def __init__(self, model: Any, data: Any, batch_size: int, name: str = "data") -> None:
        self._batch_size = check_count("batch_size", batch_size)
        check_form(data, name)
        if isinstance(data, tuple):
            data = keras.utils.unpack_x_y_sample_weight(data)[0]
        model.check_data(data, name)
        self.model = model
        self._data, self._name = data, name
        self._is_array = isinstance(data, Mapping) or hasattr(data, "__array__")
        if not self._is_array:
            _check_batches(data, name)
        self.num_points: int | None = None
        self._seen: tuple[int, int] | None = None
        if self._is_array:
            parts = model.data.named(data)
            self.num_points = len(next(iter(parts.values())))
            for key, part in parts.items():
                title = f'{name}["{key}"]' if isinstance(data, Mapping) else name
                tell_lost_digits(np.asarray(part), title, getattr(part, "columns", ()))

    def __iter__(self) -> Iterator[tuple[dict[str, Tensor], int]]:
        """Yields `(batch, count)`: a full chunk, and how many of its points are data.

        A batch holds `x`, and `context` where the data has one.

        Raises:
            ValueError: The data is empty, or gives other points than when it was read before.
        """
        num_points, size, fingerprint = 0, 0, 0
        for chunk in self._chunks():
            count = len(chunk["x"])
            fingerprint += 0 if self._is_array else _fingerprint(chunk)
            num_points += count
            size = size or count
            yield {name: filled(part, size) for name, part in chunk.items()}, count
        if num_points == 0:
            raise ValueError(f"`{self._name}` is empty. Expected at least one batch.")
        found = num_points, fingerprint % 2**64
        if self._seen not in (None, found):
            before = (self._seen or found)[0]
            raise ValueError(
                f"`{self._name}` must give the same points each time it is read, in any order. "
                f"Received: {before} points before, {num_points} points now, not all of them the "
                "same. Keep what is drawn: `dataset.take(number).cache()`."
            )
        self._seen, self.num_points = found, num_points

    def check_order(self, why: str) -> None:
        """Checks that chunks are the same each time they are read, by reading them twice.

        Args:
            why: What it is needed for, as the end of a sentence.

        Raises:
            ValueError: They are not.
        """
        if self._is_array:
            return
        one, other = ([_checksum(chunk) for chunk in self._chunks()] for _ in range(2))
        if one != other:
            raise ValueError(
                f"`{self._name}` must give the same batches each time it is read, {why}. Received: "
                "others when it was read again. Leave out `shuffle`, or keep its order: "
                "`shuffle(..., reshuffle_each_iteration=False)`."
            )

    def count_points(self) -> int:
        """Returns the number of points; of data that does not tell, after reading it."""
        if self.num_points is None:
            for _ in self:
                pass
        return self.num_points or 0

    @property
    def likely_points(self) -> int | None:
        """Number of points as far as it is known before they are read, for progress bars."""
        if self.num_points is not None:
            return self.num_points
        if isinstance(self._data, tf.data.Dataset):
            sizes = [part.shape for part in tf.nest.flatten(self._data.element_spec)]
            batches, size = int(self._data.cardinality()), sizes[0][0] if sizes[0].rank else None
            return None if batches < 0 or size is None else batches * int(size)
        return None

    def _chunks(self) -> Iterator[dict[str, np.ndarray]]:
        if self._is_array:
            parts = self.model.data.named(self._data)
            for start in range(0, self.num_points or 0, self._batch_size):
                rows = slice(start, start + self._batch_size)
                yield self._as_batch({name: part[rows] for name, part in parts.items()})
            return
        if isinstance(self._data, tf.data.Dataset):
            batches = iter(self._data)
        else:
            batches = (self._data[index] for index in range(self._data.num_batches))
        for batch in batches:
            batch = keras.utils.unpack_x_y_sample_weight(batch)[0]
            self.model.check_data(batch, self._name)
            yield self._as_batch(self.model.data.named(batch))

    def _as_batch(self, parts: dict[str, Any]) -> dict[str, np.ndarray]:
        parts = {name: np.asarray(part) for name, part in parts.items()}
        return {name: np.asarray(part) for name, part in self.model.data.as_batch(parts).items()}


def _fingerprint(parts: Mapping[str, np.ndarray]) -> int:
    """Returns a number of rows `[B, ...]` that is the sum of those of each, in any order."""
    rows = np.zeros(len(parts["x"]), np.uint64)
    for name in sorted(parts):
        flat = np.ascontiguousarray(parts[name]).reshape(len(rows), -1)
        bits = flat.view(f"u{flat.itemsize}").astype(np.uint64, copy=False)
        numbers = np.random.default_rng(0).integers(2**63, size=bits.shape[1], dtype=np.uint64)
        rows = (rows ^ (rows >> np.uint64(31))) * _ODD + bits @ (2 * numbers + np.uint64(1))
    rows = (rows ^ (rows >> np.uint64(29))) * _ODD
    return int(np.sum(rows ^ (rows >> np.uint64(32)), dtype=np.uint64))


def _checksum(parts: Mapping[str, np.ndarray]) -> int:
    """Returns a number of rows `[B, ...]` in this order."""
    crc = 0
    for name in sorted(parts):
        crc = zlib.crc32(np.ascontiguousarray(parts[name]).data, crc)
    return crc


def filled(part: np.ndarray, size: int) -> Tensor:
    """Returns rows `[size, ...]`: the given ones, and copies of the first."""
    missing = size - len(part)
    if missing > 0:
        part = np.concatenate([part, np.repeat(part[:1], missing, axis=0)])
    return tf.convert_to_tensor(part)


def _check_batches(data: Any, name: str) -> None:
    """Checks that data can be read again and again, batch by batch, to an end."""
    if not isinstance(data, (tf.data.Dataset, keras.utils.PyDataset)):
        raise TypeError(
            f"`{name}` must be an array, a `tf.data.Dataset` or a `keras.utils.PyDataset`, which "
            f"can be read more than once. Received: {kind_of(data)}"
        )
    if is_endless(data):
        raise ValueError(
            f"`{name}` has no end: its points cannot all be read. Take as many batches of it as "
            "are to be evaluated: `dataset.take(number)`."
        )
