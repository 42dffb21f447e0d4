"""Batches of a stream: those of one shape go through the loops that data in memory goes through."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfvae._tracing import noting_graphs
from tfvae._typing import Tensor
from tfvae.data.row_checks import weighed_rows
from tfvae.training.rows import held_at_once, loop_of_at_least

__all__ = ["Batches"]

# So many sizes of batches have loops of their own; those of others go through one of any size.
_MOST_SIZES = 5

_Batch = tuple[dict[str, Tensor], Tensor | None]


class Batches:
    """Takes the steps of a call with batches that are read of a stream one by one.

    Those of one size that follow each other are checked, and go through one loop together. Where
    one of them cannot be read, or is not what it should be, those before it have been taken, and
    no other.

    Args:
        model: Checks batches; its `steps_per_execution` are taken.
        kind: "train" or "test".
        loop_of: From the kind and the shape `[K, B]` of some batches, B None for any, to a function
            of these, of their sample weights and of how many of the K there are.
    """

    def __init__(
        self,
        model: Any,
        kind: str,
        loop_of: Callable[[str, tuple[int | None, ...]], Callable[..., Any]],
    ) -> None:
        self._model, self._kind, self._loop_of = model, kind, loop_of
        # Of which numbers of batches there are loops, by their size.
        self._loops: dict[int, set[int]] = {}
        self._check = tf.function(
            noting_graphs(self._checked, []), autograph=False, reduce_retracing=True
        )

    def __call__(self, iterator: Any) -> Any:
        """Takes the steps, and returns what is logged of the pass so far.

        Raises:
            StopIteration: There is no batch left.
        """
        logs = None
        for some, most in self._groups(iterator):
            logs = self._taken(some, most)
        if logs is None:
            raise StopIteration
        return logs

    def _groups(self, iterator: Any) -> Iterator[tuple[list[_Batch], int]]:
        """Yields batches of one form that may be held at once, and how many of them may be."""
        held: list[_Batch] = []
        form, most = None, 1
        try:
            for element in itertools.islice(iterator, self._model.steps_per_execution):
                batch = self._parts(element)
                own = _form(batch)
                if held and (own != form or len(held) == most):
                    some, held = held, []
                    yield some, most
                form, most = own, held_at_once(part.shape for part in batch[0].values())
                held.append(batch)
        except Exception:
            if held:
                yield held, most
            raise
        if held:
            yield held, most

    def _parts(self, element: Any) -> _Batch:
        x, _, weight = keras.utils.unpack_x_y_sample_weight(element)
        named = self._model.data.named(x).items()
        parts = {name: tf.convert_to_tensor(part) for name, part in named}
        for name, part in parts.items():
            if part.shape.rank == 0:
                raise ValueError(
                    f"`{name}` must come in batches. Expected: [batch, ...]. Received: one number "
                    "at a time. Put them together: `dataset.batch(100)`."
                )
        self._model._build_from(parts)
        return parts, None if weight is None else tf.convert_to_tensor(weight)

    def _taken(self, some: Sequence[_Batch], most: int) -> Any:
        """Takes the steps of some batches of one form, of which so many may be held at once."""
        size = next(iter(some[0][0].values())).shape[0]
        is_own = size in self._loops or len(self._loops) < _MOST_SIZES
        if len(some) > 1 and not is_own:
            return [self._taken([one], 1) for one in some][-1]
        length = self._length(len(some), size, most) if is_own else 1
        full = [*some, *[some[-1]] * (length - len(some))]  # the last one repeated
        try:
            batches, weights = self._check(*_stacked(full))
        except (tf.errors.InvalidArgumentError, ValueError):
            for one in some:
                self._check(*_stacked([one]))  # and says what came
                logs = self._taken([one], 1)
            return logs
        if is_own:
            self._loops.setdefault(size, set()).add(length)
        loop = self._loop_of(self._kind, (length, size if is_own else None))
        return loop(batches, weights, tf.constant(len(some)))

    def _length(self, number: int, size: int, most: int) -> int:
        """Returns for how many batches the loop is that takes some: one that is there, if any."""
        asked = loop_of_at_least(min(self._model.steps_per_execution, most), most)
        there = [n for n in self._loops.get(size, ()) if number <= n <= asked]
        return min(there, default=loop_of_at_least(number, most))

    def _checked(
        self, parts: dict[str, Tensor], weights: Tensor | None
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Returns batches `[K, B, ...]` of parts that are what they should be."""
        shape: Any = tf.shape(next(iter(parts.values())))[:2]
        flat = {name: _joined(part) for name, part in parts.items()}
        batch, checks = self._model.data.checked_batch(flat)
        flat_weights = None if weights is None else _joined(weights)
        with tf.control_dependencies([*checks, *weighed_rows(batch["x"], flat_weights)]):
            found = {name: _apart(tf.convert_to_tensor(x), shape) for name, x in batch.items()}
            return found, None if weights is None else _apart(flat_weights, [shape[0], -1])


def _stacked(batches: Sequence[_Batch]) -> _Batch:
    """Returns batches of one form as one `[K, B, ...]`."""
    (first, weight), *_ = batches
    parts = {name: tf.stack([each[name] for each, _ in batches]) for name in first}
    return parts, None if weight is None else tf.stack([each for _, each in batches])


def _form(batch: _Batch) -> tuple[Any, ...]:
    """Returns what batches have to have in common to go through a loop together."""
    parts, weight = batch
    tensors = [*parts.values(), *([] if weight is None else [weight])]
    return tuple(parts), weight is None, tuple((tuple(x.shape), x.dtype) for x in tensors)


def _joined(part: Tensor) -> Tensor:
    """Returns rows `[K * B, ...]` of batches `[K, B, ...]`."""
    return tf.reshape(part, tf.concat([[-1], tf.shape(part)[2:]], axis=0))


def _apart(part: Tensor, shape: Any) -> Tensor:
    """Returns batches of so many rows."""
    return tf.reshape(part, tf.concat([shape, tf.shape(part)[1:]], axis=0))
