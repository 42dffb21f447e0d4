"""Batches that Keras reads of a stream: passed over where they were done, and where it stands."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

__all__ = ["Stream", "one_by_one", "put_back", "state_of", "take_steps"]

# What a function in a stream reads from outside, such as a file, is not TensorFlow's to keep.
_IGNORED = tf.data.experimental.ExternalStatePolicy.IGNORE.value

# Of what begins where a part of a stream is over TensorFlow keeps nothing before; and a snapshot it
# does not find again.
_WITHOUT = {
    "Repeat": "that repeats within a pass",
    "Concatenate": "that goes on with another",
    "Snapshot": "with a snapshot",
}


def state_of(iterator: Any) -> list[np.ndarray]:
    """Returns where an iterator of `tf.data` stands, as bytes: seeds, places, what shuffles hold.

    Raises:
        ValueError: TensorFlow cannot keep it.

    Example:
        >>> from tfvae.training.streams import put_back, state_of
        >>> numbers = tf.data.Dataset.range(9).shuffle(4, seed=0)
        >>> one, other = iter(numbers), iter(numbers)
        >>> _ = next(one), next(one)
        >>> put_back(other, state_of(one))
        >>> [int(number) for number in one] == [int(number) for number in other]
        True
    """
    try:
        (resource,) = tf.nest.flatten(iterator, expand_composites=True)
        state = tf.raw_ops.SerializeIterator(
            resource_handle=resource, external_state_policy=_IGNORED
        )
    except (tf.errors.OpError, TypeError, ValueError) as error:
        raise ValueError(
            "`keep_stream=True` needs a stream whose place TensorFlow can keep, which is not so of "
            f"all: not of `from_generator`, for one. Received: {str(error).splitlines()[0]:.200}. "
            "Leave it out, and the stream is read again from its beginning."
        ) from None
    parts = [tf.io.serialize_tensor(part).numpy() for part in tf.unstack(state)]
    return [np.frombuffer(part, np.uint8) for part in parts]


def put_back(iterator: Any, state: Sequence[np.ndarray]) -> None:
    """Has an iterator of the same stream stand where another one stood."""
    parts = [tf.io.parse_tensor(part.tobytes(), tf.variant) for part in state]
    (resource,) = tf.nest.flatten(iterator, expand_composites=True)
    tf.raw_ops.DeserializeIterator(resource_handle=resource, serialized=tf.stack(parts))


class Stream:
    """The stream that a `fit` is over, whose place is kept.

    A state is that of the iterator of a pass before anything was read of it, and, within a pass,
    that of where it stands. The first has what counts the passes of a `shuffle`; the other lacks
    it where that has come to its end already.

    Args:
        data: What `fit` was given.
        steps: Its `steps_per_epoch`.

    Raises:
        ValueError: It is no `tf.data.Dataset`, its passes are not epochs, or it is shuffled twice.
    """

    def __init__(self, data: Any, steps: int | None) -> None:
        if not isinstance(data, tf.data.Dataset):
            raise ValueError(
                "`keep_stream=True` keeps the place in a `tf.data.Dataset`. "
                f"Received: {type(data).__name__}. Leave it out, and batches are read again."
            )
        kinds = list(_kinds(data))
        found = [words for kind, words in _WITHOUT.items() if kind in kinds]
        if steps or found:
            raise ValueError(
                "`keep_stream=True` needs a stream whose passes are the epochs, made in one piece. "
                f"Received: one {f'with steps_per_epoch={steps}' if steps else found[0]}. Leave "
                "that out, or put it into a `tfvae.data.keyed_passes`."
            )
        counting = [kind for kind in kinds if kind in ("Random", "Shuffle")]
        if len(counting) > 1:
            # The one that comes first may be at its end, and gone, while the other is in use.
            raise ValueError(
                "`keep_stream=True` needs a stream that is shuffled in one place, since of several "
                "TensorFlow does not keep how many passes each has made. Received: "
                f"{len(counting)}, {', '.join(reversed(counting))}. Put all that is random about a "
                "pass into one `tfvae.data.keyed_passes`."
            )
        self._data = data
        self._iterator: Any = None
        self._is_checked = False
        self._start: list[np.ndarray] = []
        self._waiting: Mapping[str, Any] | None = None

    def state(self, *, is_within: bool) -> Mapping[str, Any]:
        """Returns where it stands.

        Args:
            is_within: Whether that is within a pass, and not between two.
        """
        if is_within:
            return {"start": self._start, "now": state_of(self._iterator)}
        # An iterator too many, which counts as a pass: the next one has to stand in its place.
        self._waiting = {"start": state_of(iter(self._data)), "now": None}
        return self._waiting

    def go_back(self, state: Mapping[str, Any]) -> None:
        """Has the next iterator stand where one stood."""
        self._waiting = state

    def see(self, iterator: Any) -> None:
        """Is shown what the next batch comes from."""
        if iterator is self._iterator:
            return
        self._iterator, waiting, self._waiting = iterator, self._waiting, None
        if waiting is None:
            self._start = state_of(iterator)
            return
        self._start = waiting["start"]
        if waiting["now"] is not None:
            put_back(iterator, waiting["now"])
            iterator = iter(self._data)  # For the counts of passes, which all iterators share.
        put_back(iterator, self._start)

    def check(self) -> None:
        """Checks, when the first batches were read, that where it stands can be kept."""
        if not self._is_checked:
            self._is_checked = True
            state_of(self._iterator)


def _kinds(data: Any) -> Iterator[str]:
    """Yields what a stream is made by, from its end: "Map", "Shuffle", "Range" and so on."""
    yield re.sub("^_|Dataset.*$", "", type(data).__name__)
    for source in data._inputs():
        yield from _kinds(source)


def take_steps(
    model: Any, call: Callable[..., Any], iterator: Any, done: int, stream: Stream | None
) -> Any:
    """Takes the steps of a call, but for the first ones, which were done before.

    Args:
        model: Its `steps_per_execution` are taken.
        call: Takes them all.
        iterator: What it is given.
        done: How many were done.
        stream: Stands behind these already; None has them read and no more.

    Returns:
        What the call returns, None where all were done.
    """
    if stream is not None:
        stream.see(iterator)
    if not done:
        result = call(iterator)
        if stream is not None:
            stream.check()
        return result
    steps, nothing = model.steps_per_execution, object()
    for index in range(done if stream is None else 0):
        if next(iterator, nothing) is not nothing:
            continue
        if index == 0:
            raise StopIteration
        return None
    if done == steps:
        return None
    model.steps_per_execution = steps - done
    try:
        return call(iterator)
    finally:
        model.steps_per_execution = steps


def one_by_one(model: Any, call: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function that takes the steps of a call each by itself.

    Keras takes several in a loop of branches, in which TensorFlow loses what goes from one device
    to another.

    Args:
        model: Its `steps_per_execution` are taken.
        call: Takes one.
    """

    def take(iterator: Any) -> Any:
        steps = model.steps_per_execution
        model.steps_per_execution = 1
        try:
            result = call(iterator)
            for _ in range(steps - 1):
                with contextlib.suppress(StopIteration, tf.errors.OutOfRangeError):
                    result = call(iterator)
        finally:
            model.steps_per_execution = steps
        return result

    return take
