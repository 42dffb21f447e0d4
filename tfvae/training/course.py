"""The course of a `fit`: where it stands, and how much of it an earlier run has done."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfvae.data.source import Source
from tfvae.training.streams import Stream

__all__ = [
    "CountedCallbacks",
    "Course",
    "CourseCallbacks",
    "Keeper",
    "Position",
    "check_order",
    "keeper_among",
    "with_callbacks",
]


class Position(NamedTuple):
    """A place in the course of a `fit`, at which everything up to it is done.

    Attributes:
        epoch: Epochs that are done, counted from 0 as Keras counts them.
        step: Batches of the next epoch that are done.
        order: Seed of the order of rows in that epoch, where it is drawn and `step` is not 0.
        stopped: Whether training was told to stop here.
    """

    epoch: int = 0
    step: int = 0
    order: tuple[int, int] | None = None
    stopped: bool = False


class Keeper(keras.callbacks.Callback):
    """Abstract callback that keeps where a `fit` stands, and knows where an earlier run stood.

    `fit` itself asks and tells it, when all other callbacks have heard.

    Attributes:
        hears_calls: It acts after calls of several steps as well as after single ones.
        reads_again: Whether batches of a stream that were trained on in epochs before are read
            again, so that the stream comes to stand where it stood.
        keeps_stream: Whether the place in a stream is kept, so that nothing is read again.
        stream: What `fit` is over, where its place is kept.
    """

    hears_calls = True
    reads_again = True
    keeps_stream = False
    stream: Stream | None = None

    def found(self, data: Mapping[str, Any]) -> Position | None:
        """Returns where an earlier run stood, None where there was none.

        Args:
            data: What is known of the data, the same in the run that goes on.
        """
        raise NotImplementedError

    def restore(self, callbacks: Iterable[Any]) -> None:
        """Has model and callbacks be what they were there."""
        raise NotImplementedError

    def keep(self, position: Position, callbacks: Iterable[Any], *, is_begun: bool = True) -> None:
        """Is told where training stands; may keep it."""
        raise NotImplementedError

    def running(self) -> contextlib.AbstractContextManager[Any]:
        """Returns what `fit` runs within."""
        return contextlib.nullcontext()


class Course:
    """Where a `fit` stands, and which of its batches are done and only read.

    Args:
        keeper: Told where training stands.
        start: Where an earlier run stood; None begins anew.
        order: Returns the seed of the order of rows in this epoch, None where there is none.
        prepare: Makes the variables of the training that are not there yet.
        forget: Is called when the state of an earlier run takes the place of the model's.
    """

    def __init__(
        self,
        keeper: Keeper,
        start: Position | None,
        order: Callable[[], tuple[int, int] | None],
        prepare: Callable[[], None],
        forget: Callable[[], None],
    ) -> None:
        self.keeper, self.start = keeper, start
        self._order, self._prepare, self._forget = order, prepare, forget
        self._epoch = self._step = 0

    @property
    def first_order(self) -> tuple[int, int] | None:
        """The seed of the order of rows that the earlier run was in, None where it was in none."""
        is_there = self.start is not None and self._epoch == self.start.epoch
        return self.start.order if is_there and self.start is not None else None

    @property
    def only_reads(self) -> bool:
        """Whether this epoch was done before."""
        return self.start is not None and self._epoch < self.start.epoch

    def is_done(self, step: int) -> bool:
        """Whether a batch of this epoch was done before."""
        start = self.start
        return start is not None and (
            self.only_reads or (self._epoch == start.epoch and step < start.step)
        )

    def take(self, kind: str, steps: int) -> int:
        """Moves on by some batches and returns how many of them, the first ones, were done before.

        Args:
            kind: "train" or "test".
            steps: How many batches a call is for.
        """
        if kind != "train":
            return steps if self.only_reads else 0
        first, self._step = self._step, self._step + steps
        return sum(self.is_done(step) for step in range(first, self._step))

    def enter(self, epoch: int) -> None:
        """Begins an epoch."""
        self._epoch, self._step = epoch, 0

    def begin(self, epoch: int, callbacks: Iterable[Any]) -> None:
        """Goes back to where an earlier run stood, or keeps where this one begins."""
        self._prepare()
        if self.start is None:
            self.keeper.keep(Position(epoch), callbacks, is_begun=False)
        else:
            self.restore(callbacks)

    def restore(self, callbacks: Iterable[Any]) -> None:
        """Has model and callbacks be what they were."""
        self.keeper.restore(callbacks)
        self._forget()

    def done(self, callbacks: Iterable[Any]) -> None:
        """Tells that the batches that were taken are done."""
        self.keeper.keep(Position(self._epoch, self._step, self._order()), callbacks)

    def ended(self, stopped: bool, callbacks: Iterable[Any]) -> None:
        """Tells that this epoch is done, with its validation."""
        self.keeper.keep(Position(self._epoch + 1, stopped=stopped), callbacks)


class CountedCallbacks(keras.callbacks.CallbackList):
    """Callbacks that hear of no step beyond the last: Keras counts in whole calls.

    Args:
        callbacks: As in `keras.callbacks.CallbackList`.
        num_train: Steps of a pass of training, None where they are not known.
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


class CourseCallbacks(CountedCallbacks):
    """Callbacks that hear of nothing that an earlier run has done.

    Args:
        callbacks: As in `keras.callbacks.CallbackList`.
        course: Is told where training stands, after all callbacks.
        first_epoch: That of the run if it begins anew.
        **kwargs: As in `CountedCallbacks`.
    """

    def __init__(
        self, callbacks: Any, *, course: Course, first_epoch: int = 0, **kwargs: Any
    ) -> None:
        self._course, self._first_epoch = course, first_epoch
        super().__init__(callbacks, **kwargs)

    def on_train_begin(self, logs: Any = None) -> None:
        """See `keras.callbacks.Callback`."""
        super().on_train_begin(logs)
        self._course.begin(self._first_epoch, self.callbacks)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Goes to where the earlier run stood: Keras has reset the sums of what is logged."""
        course, start = self._course, self._course.start
        course.enter(epoch)
        if course.only_reads:
            return
        resumes = start is not None and epoch == start.epoch
        if resumes and start is not None and not start.step:
            course.restore(self.callbacks)
        super().on_epoch_begin(epoch, logs)
        if resumes and start is not None and start.step:
            # They have heard of this epoch before: what they changed then is part of the state.
            course.restore(self.callbacks)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """See `keras.callbacks.Callback`."""
        if self._course.only_reads:
            return
        super().on_epoch_end(epoch, logs)
        model: Any = self.model
        self._course.ended(bool(model.stop_training), self.callbacks)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """See `keras.callbacks.Callback`."""
        if not self._course.is_done(batch):
            super().on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """See `keras.callbacks.Callback`."""
        last = _at_most(batch, self._num_train)
        if self._course.is_done(last):
            return
        super().on_train_batch_end(batch, logs)
        self._flush_futures()
        self._course.done(self.callbacks)

    def on_test_begin(self, logs: Any = None) -> None:
        """See `keras.callbacks.Callback`."""
        if not self._course.only_reads:
            super().on_test_begin(logs)

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        """See `keras.callbacks.Callback`."""
        if not self._course.only_reads:
            super().on_test_batch_begin(batch, logs)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """See `keras.callbacks.Callback`."""
        if not self._course.only_reads:
            super().on_test_batch_end(batch, logs)

    def on_test_end(self, logs: Any = None) -> None:
        """See `keras.callbacks.Callback`."""
        if not self._course.only_reads:
            super().on_test_end(logs)


def keeper_among(callbacks: Any) -> Keeper | None:
    """Returns the keeper among the callbacks given to `fit`, None where there is none.

    Raises:
        ValueError: There are several, or it is in a list that Keras has made already.
    """
    is_made = isinstance(callbacks, keras.callbacks.CallbackList)
    found = [x for x in _flat(callbacks.callbacks if is_made else callbacks) if _is_keeper(x)]
    if len(found) > 1 or (found and is_made):
        raise ValueError(
            f"`callbacks` must hold one `{type(found[0]).__name__}` at most, in a plain list. "
            f"Received: {len(found)} of them in a {type(callbacks).__name__}."
        )
    return found[0] if found else None


def with_callbacks(callbacks: Any, more: list[Any]) -> Any:
    """Returns the callbacks given to `fit` with others after them."""
    if not more:
        return callbacks
    if isinstance(callbacks, keras.callbacks.CallbackList):
        before = [x for x in callbacks.callbacks if not isinstance(x, tuple(map(type, more)))]
        callbacks.callbacks = before + more
        return callbacks
    return [*(() if callbacks is None else _flat(callbacks)), *more]


def check_order(source: Source, given: Mapping[str, Any]) -> None:
    """Checks that data that Keras reads comes in an order that another run can repeat.

    Raises:
        ValueError: It does not.
    """
    if isinstance(source.x, tf.data.Dataset) or given.get("shuffle") is False:
        return
    kept = source.is_in_memory or isinstance(source.x, keras.utils.PyDataset)
    if kept:
        raise ValueError(
            "Keras draws the order of this data from generators that cannot be kept, so that no "
            "other run could go on with it. Received: "
            f"{type(source.x).__name__} with shuffle={given.get('shuffle', True)}. Pass arrays "
            "without `steps_per_epoch` and `class_weight`, a `tf.data.Dataset` whose shuffles "
            "have a seed, or `shuffle=False`."
        )


def _flat(callbacks: Any) -> Iterator[Any]:
    for callback in callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]:
        if isinstance(callback, (list, tuple)):
            yield from _flat(callback)
        else:
            yield callback


def _is_keeper(callback: Any) -> bool:
    return isinstance(callback, Keeper)


def _at_most(step: int, num_steps: int | None) -> int:
    return step if num_steps is None else min(step, num_steps - 1)
