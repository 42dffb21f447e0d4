"""Data in memory: which rows make which batch, and many batches in one compiled loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae._typing import Tensor

__all__ = ["CountedCallbacks", "Loop", "Rows", "can_be_kept"]

# Batches of a call where it is long beside what a call costs, and where it is not: products of a
# weight by a row up to which it is not, and bytes of data that it may hold.
_FEW, _MANY = 10, 50
_SMALL_WORK = 1e8
_CALL_BYTES = 2**26

# Where there is an accelerator, data of more bytes is not kept in its memory.
_DEVICE_BYTES = 2**30


class Rows:
    """Passes over arrays, a few batches at a time.

    Args:
        batch: The data as one batch of N rows, checked.
        sample_weight: `[N]`, or None.
        batch_size: Rows of each batch but the last, B.
        draw_seed: Returns an int32 pair, by which rows are put into a new order at the beginning of
            each pass; None leaves them in theirs.
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
        self._taken = self.num_batches
        self._order = np.arange(self._num_rows, dtype=np.int32)

    @property
    def steps(self) -> tf.data.Dataset:
        """What Keras counts the batches of a pass by."""
        return tf.data.Dataset.range(self.num_batches)

    def batches_in_a_call(self, weights: list[Any]) -> int:
        """Returns how many batches to take at once of a model of these weights."""
        numbers = sum(int(np.prod(part.shape)) for part in self._batch.values())
        most = _CALL_BYTES // (4 * numbers // self._num_rows * self._batch_size + 1)
        size = sum(int(np.prod(weight.shape)) for weight in weights)
        if most >= _MANY <= self.num_batches and size * self._batch_size <= _SMALL_WORK:
            return _MANY
        return int(np.clip(most, 1, _FEW))

    def next(self, num_batches: int) -> Iterator[tuple[dict[str, Tensor], Tensor | None, Tensor]]:
        """Yields the next batches, those of one size together; a pass that is over begins anew.

        Args:
            num_batches: How many to take, K; fewer where the pass ends before.

        Yields:
            The batches `[K, B, ...]`, their sample weights `[K, B]` or None, and how many of the K
            there are: the rest is there for the shape. The last batch of a pass, where it is short,
            comes alone, `[1, B', ...]`.
        """
        if self._taken == self.num_batches:
            self._taken = 0
            if self._draw_seed is not None:
                seed = np.asarray(self._draw_seed()).astype(np.uint32)
                order = np.random.Generator(np.random.Philox(key=seed)).permutation(self._num_rows)
                self._order = order.astype(np.int32)
        size, first = self._batch_size, self._taken
        self._taken = min(first + num_batches, self.num_batches)
        whole = min(self._taken, self._num_rows // size) - first
        if whole > 0:
            rows = np.zeros([num_batches, size], np.int32)
            rows[:whole] = self._order[first * size : (first + whole) * size].reshape(whole, size)
            yield self._at(rows, whole)
        if self._taken > first + whole:
            yield self._at(self._order[None, (first + whole) * size :], 1)

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
    """

    def __init__(
        self,
        step: Callable[[dict[str, Tensor], Tensor | None, Tensor], Tensor],
        begin: Callable[[], Tensor],
        end: Callable[[Tensor], Any],
    ) -> None:
        self._step, self._begin, self._end = step, begin, end
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
        _, carried = tf.while_loop(lambda i, _: i < count, body, start, parallel_iterations=1)
        return self._end(carried)

    def once(self, batch: dict[str, Tensor], sample_weight: Tensor | None) -> Any:
        """Takes the step of one batch `[B, ...]`."""
        return self._end(self._step(batch, sample_weight, self._begin()))


def can_be_kept(parts: Mapping[str, np.ndarray]) -> bool:
    """Whether arrays fit beside a model."""
    if not tf.config.list_logical_devices("GPU"):
        return True
    return sum(part.nbytes for part in parts.values()) <= _DEVICE_BYTES


class CountedCallbacks(keras.callbacks.CallbackList):
    """Callbacks that hear of no step beyond the last: Keras counts in whole calls.

    Args:
        callbacks: As in `keras.callbacks.CallbackList`.
        num_train: Steps of a pass of training.
        num_test: Steps of a pass of validation or evaluation.
        **kwargs: As in `keras.callbacks.CallbackList`.
    """

    def __init__(
        self,
        callbacks: Any,
        *,
        num_train: int | None = None,
        num_test: int | None = None,
        **kwargs: Any,
    ) -> None:
        self._num_train, self._num_test = num_train, num_test
        super().__init__(callbacks, **kwargs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """See `keras.callbacks.Callback`."""
        super().on_train_batch_end(_at_most(batch, self._num_train), logs)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """See `keras.callbacks.Callback`."""
        super().on_test_batch_end(_at_most(batch, self._num_test), logs)


def _at_most(step: int, num_steps: int | None) -> int:
    return step if num_steps is None else min(step, num_steps - 1)
