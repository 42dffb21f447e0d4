"""Data in memory: which rows make which batch, and many batches in one compiled loop."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae._typing import Tensor
from tfvae.data.source import Source

__all__ = [
    "Loop",
    "Rows",
    "counted_by_keras",
    "held_at_once",
    "loop_of_at_least",
    "num_batches",
    "number_of",
]

# What a batch is called where the data is in memory, with the number of the data. The name says it
# all: nothing is read of such a dataset, since to begin and to end that takes longer than steps.
_ROWS = "rows of tfvae "

# How many batches calls hold, each a loop of its own, and how many where steps are long beside what
# a call costs: products of a weight by a row up to which they are not, and bytes of data in a call.
_SIZES = (1, 10, 50, 100)
_FEW, _MANY = 10, _SIZES[-1]
_SMALL_WORK = 1e8
_CALL_BYTES = 2**26


class Rows:
    """Passes over arrays, a few batches at a time.

    Args:
        batch: The data as one batch of N rows, checked.
        sample_weight: `[N]`, or None.
        batch_size: Rows of each batch but the last, B.
        draw_seed: Returns an int32 pair, by which rows are put into a new order at the beginning of
            each pass; None leaves them in theirs.

    Attributes:
        num_batches: Batches of a pass.
        order_seed: What the order of the pass was made from, None where it is that of the data.
    """

    def __init__(
        self,
        batch: Mapping[str, Tensor],
        sample_weight: Tensor | None,
        batch_size: int,
        draw_seed: Callable[[], Tensor] | None = None,
    ) -> None:
        self._batch, self._sample_weight = dict(batch), sample_weight
        self._num_rows = int(batch["x"].shape[0])
        self._batch_size = min(batch_size, self._num_rows)
        self._draw_seed = draw_seed
        self.num_batches = -(-self._num_rows // self._batch_size)
        self._taken, self._steps = self.num_batches, 1
        self._order = np.arange(self._num_rows, dtype=np.int32)
        self.order_seed: tuple[int, int] | None = None

    @property
    def description(self) -> dict[str, Any]:
        """What another run has to have in common with this one to go on with it, as plain data."""
        parts = dict(self._batch)
        if self._sample_weight is not None:
            parts["sample_weight"] = self._sample_weight
        values = {name: np.asarray(part) for name, part in parts.items()}
        return {
            "rows": self._num_rows,
            "batch_size": self._batch_size,
            "shuffle": self._draw_seed is not None,
            "checksums": {name: zlib.crc32(value.tobytes()) for name, value in values.items()},
        }

    def rows_of(self, batch: int) -> list[int]:
        """Returns the numbers of the rows of a batch of this pass, from 0."""
        size = self._batch_size
        return [int(row) for row in self._order[batch * size : (batch + 1) * size]]

    def batch_of(self, points: int) -> int:
        """Returns the batch of a pass, from 0, with which so many points have been read."""
        return max(-(-points // self._batch_size) - 1, 0)

    def take(self, num_batches: int) -> None:
        """Sets how many batches each call of `next` takes."""
        self._steps = num_batches

    def begin(self, order_seed: tuple[int, int] | None = None) -> None:
        """Begins a pass.

        Args:
            order_seed: That of its order, where the pass is one that was begun before.
        """
        self._taken = 0
        if self._draw_seed is not None:
            drawn = self._draw_seed() if order_seed is None else order_seed
            seed = np.asarray(drawn).astype(np.uint32)
            self.order_seed = (int(seed[0]), int(seed[1]))
            order = np.random.Generator(np.random.Philox(key=seed)).permutation(self._num_rows)
            self._order = order.astype(np.int32)

    def batches_in_a_call(self, weights: list[Any]) -> int:
        """Returns how many batches to take at once of a model of these weights."""
        size = sum(int(np.prod(weight.shape)) for weight in weights)
        small = size * self._batch_size <= _SMALL_WORK
        there = max(self.num_batches, _FEW) if small else _FEW
        return min(max(n for n in _SIZES if n <= there), self._most)

    @property
    def _most(self) -> int:
        """How many batches are held at once."""
        return held_at_once([self._batch_size, *part.shape[1:]] for part in self._batch.values())

    def next(self, done: int = 0) -> Iterator[tuple[dict[str, Tensor], Tensor | None, Tensor]]:
        """Yields the next batches, those of one size together; none where the pass is over.

        Args:
            done: How many of them, the first ones, are passed over.

        Yields:
            Batches `[K, B, ...]`, their sample weights `[K, B]` or None, and how many of the K
            there are: the rest is there for the shape, of which there are few. The last batch of a
            pass, where it is short, comes alone, `[1, B', ...]`.
        """
        size, first = self._batch_size, self._taken
        self._taken = end = min(first + self._steps, self.num_batches)
        first = min(first + done, end)
        whole = min(end, self._num_rows // size)
        asked = min(self._steps, self._most, self.num_batches)
        shape = loop_of_at_least(asked, self._most)
        for start in range(first, whole, shape):
            count = min(shape, whole - start)
            rows = np.zeros([shape, size], np.int32)
            rows[:count] = self._order[start * size : (start + count) * size].reshape(count, size)
            yield self._at(rows, count)
        if end > max(first, whole):
            yield self._at(self._order[None, max(first, whole) * size :], 1)

    def _at(self, rows: np.ndarray, count: int) -> tuple[dict[str, Tensor], Any, Tensor]:
        batches = {name: tf.gather(part, rows) for name, part in self._batch.items()}
        weights = self._sample_weight
        weights = None if weights is None else tf.gather(weights, rows)
        return batches, weights, tf.constant(count)


class Loop:
    """A function of what `Rows.next` yields, which takes a step for one batch after the other.

    One by one or many in a call, steps are the same: how many there are is no part of what is
    compiled.

    Args:
        step: From a batch, its sample weights, which may be None, and what it carries on.
        begin: Returns what the first step is given.
        end: Is given what the last step returns; its result is returned.
        goes_on: Whether another step may follow on what one has returned.
    """

    def __init__(
        self,
        step: Callable[[dict[str, Tensor], Tensor | None, Tensor], Tensor],
        begin: Callable[[], Tensor],
        end: Callable[[Tensor], Any],
        goes_on: Callable[[Tensor], Tensor | bool] = lambda carried: True,
    ) -> None:
        self._step, self._begin, self._end, self._goes_on = step, begin, end, goes_on
        self.__name__ = "loop"

    def __call__(
        self, batches: dict[str, Tensor], sample_weight: Tensor | None, count: Tensor
    ) -> Any:
        """Takes the steps of the first `count` batches of `[K, B, ...]`."""

        def body(i: Tensor, carried: Tensor) -> list[Tensor]:
            batch = {name: part[i] for name, part in batches.items()}
            weights = None if sample_weight is None else sample_weight[i]
            return [i + 1, self._step(batch, weights, carried)]

        start = [tf.constant(0), self._begin()]
        _, carried = tf.while_loop(
            lambda i, carried: (i < count) & self._goes_on(carried),
            body,
            start,
            parallel_iterations=1,
        )
        return self._end(carried)

    def once(self, batch: dict[str, Tensor], sample_weight: Tensor | None) -> Any:
        """Takes the step of one batch `[B, ...]`."""
        return self._end(self._step(batch, sample_weight, self._begin()))


def held_at_once(shapes: Iterable[Sequence[int]]) -> int:
    """Returns how many batches of parts of such shapes `[B, ...]` are held at once.

    Example:
        >>> from tfvae.training.rows import held_at_once
        >>> held_at_once([(2, 3)]), held_at_once([(1000, 3000)])
        (100, 5)
    """
    numbers = sum(math.prod(shape) for shape in shapes)
    return int(np.clip(_CALL_BYTES // (4 * numbers + 1), 1, _MANY))


def loop_of_at_least(number: int, most: int = _MANY) -> int:
    """Returns for how many batches the smallest loop is that takes so many.

    Args:
        number: How many batches are to be taken.
        most: How many may be held at once.

    Example:
        >>> from tfvae.training.rows import loop_of_at_least
        >>> [loop_of_at_least(number) for number in (1, 3, 11)], loop_of_at_least(2, most=5)
        ([1, 10, 50], 5)
    """
    return next((n for n in _SIZES if number <= n <= most), most)


def num_batches(source: Source, rows: Rows | None, limit: int | None) -> int | None:
    """Returns how many batches a pass has, None where nobody knows before its end."""
    if limit:
        return limit
    if rows is not None:
        return rows.num_batches
    if isinstance(source.x, tf.data.Dataset):
        count = int(source.x.cardinality())
        return count if count > 0 else None
    return None


def counted_by_keras(number: int, num_batches: int) -> tf.data.Dataset:
    """Returns what Keras counts the batches of a pass by, which names the data in memory."""
    return tf.data.Dataset.from_tensors({f"{_ROWS}{number}": 0}).repeat(num_batches)


def number_of(iterator: Any) -> int | None:
    """Returns which data in memory an iterator counts, None for one that has batches."""
    spec = getattr(iterator, "element_spec", None)
    names = [str(name) for name in spec] if isinstance(spec, dict) else []
    return next((int(n.removeprefix(_ROWS)) for n in names if n.startswith(_ROWS)), None)
