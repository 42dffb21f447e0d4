"""Training that nothing is lost of: a run that ends is gone on with, equal to the bit."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

import numpy as np
import tensorflow as tf

from tfvae._config import check_count
from tfvae.callbacks.files import CheckedFile
from tfvae.callbacks.states import restore_states, states_of
from tfvae.models import LatentVariableModel
from tfvae.training.course import Keeper, Position
from tfvae.training.placement import strategy_of
from tfvae.training.states import variables_of

__all__ = ["Checkpoint"]


class Checkpoint(Keeper):
    """Keeps all that training needs in one file, from which the same program goes on.

    In the file are weights, slots and averages of the optimizer, seeds, what schedules, objective,
    scheme and callbacks have come to, the epoch, the batch in it, and the order of the data. A
    program that is started again, makes the same model and calls `fit` with the same arguments goes
    on from there. What it ends with is equal to the bit to what one that was never interrupted ends
    with, on one machine by one way of compiling.

    The file is written beside its place, brought to the disk and put there in one step. The one
    before it stays as `<path>.previous`, and is used with a warning where the checksum says that
    the other is damaged. A process may be killed at any moment.

    Data in memory has to be the same; its order is kept. Of a stream the same batches have to come
    in the same order each time the program runs: give a seed to each `shuffle`, and one to
    `interleave` and `map` by `deterministic=True`. It is read from its beginning, without training,
    to where it stood, unless `keep_stream` has the place in it kept.

    Callbacks offer what they keep by `get_state()` and `set_state(state)`; those of Keras are
    known. Their `on_train_begin` is called again, and of what was done they hear no second time.

    Args:
        path: Of the file. A folder for it is made.
        epochs: Epochs from one time that it is written to the next.
        updates: Further times, within epochs: after so many updates, or with the call that makes
            more at once.
        read_again: Whether the batches of epochs that are done are read, as they have to be of a
            stream that shuffles anew in each epoch. One that is the same in all may do without.
        keep_stream: Whether the place in a `tf.data.Dataset` is in the file, so that nothing is
            read again, however long the run: seeds, places in files, and the rows that `shuffle`,
            `prefetch` and `cache` hold, whose bytes are those of the file. Its passes have to be
            the epochs, without `repeat`; and validation data comes in one order.
        must_save: Whether training stops where the file cannot be written: on a full disk, say.
            Otherwise it warns and goes on, and the last file stays.
        exit_at_sigterm: Whether SIGTERM, by which machines are taken away and jobs ended, has the
            state written after the present call and the process exit, by `SystemExit(143)`. During
            validation this waits for its end. Works in the main thread.
        file: Where the line goes that says from where training goes on; standard error by default.

    Raises:
        ValueError: A number is smaller than 1. When training begins: what is at `path` is no
            checkpoint and there is none before it, or it is one of another model or other data; or
            the order of the data cannot be kept.
        TypeError: When training begins: the model is none of `tfvae`.
        OSError: `must_save` is set, and nothing can be written.

    Example:
        >>> import sys
        >>> from tfvae.demo import vae, x
        >>> kept = tfvae.callbacks.Checkpoint("run.tfvae", file=sys.stdout)
        >>> history = vae.fit(x, epochs=2, verbose=0, callbacks=[kept])
        >>> history = vae.fit(x, epochs=3, verbose=0, callbacks=[kept])
        Training goes on from ...run.tfvae: 2 epochs are done.
        >>> history.epoch
        [0, 1, 2]

    Reference: CheckFreq: Frequent, Fine-Grained DNN Checkpointing (Mohan et al., 2021),
    https://www.usenix.org/conference/fast21/presentation/mohan
    """

    def __init__(
        self,
        path: Any,
        *,
        epochs: int = 1,
        updates: int | None = None,
        read_again: bool = True,
        keep_stream: bool = False,
        must_save: bool = False,
        exit_at_sigterm: bool = False,
        file: IO[str] | None = None,
    ) -> None:
        super().__init__()
        epochs = check_count("epochs", epochs)
        updates = None if updates is None else check_count("updates", updates)
        self._stored = CheckedFile(path)
        self._epochs, self._every = epochs, updates
        self.reads_again, self.keeps_stream = read_again and not keep_stream, keep_stream
        self._must_save, self._exits = must_save, exit_at_sigterm
        self._file = file
        self._data: Mapping[str, Any] = {}
        self._found: dict[str, Any] | None = None
        self._last = Position()
        self._updates_of_last = 0
        self._is_failing = self._is_asked_to_end = False

    def set_model(self, model: Any) -> None:
        """Checks the model."""
        if not isinstance(model, LatentVariableModel):
            raise TypeError(
                "`Checkpoint` is for models of `tfvae`, such as a `tfvae.VAE`. "
                f"Received: {type(model).__name__}"
            )
        super().set_model(model)

    def found(self, data: Mapping[str, Any]) -> Position | None:
        """Reads the file, and checks that the data is that of the run that wrote it."""
        self._data, self._found = dict(data), self._stored.read()
        if self._found is None:
            return None
        if self._found["data"] != self._data:
            differing = [
                f"{name}={self._found['data'].get(name)!r} there and {self._data.get(name)!r} here"
                for name in sorted({*self._data, *self._found["data"]})
                if self._found["data"].get(name) != self._data.get(name)
            ]
            raise ValueError(
                f"The checkpoint {self._stored.path} is of a run over other data: "
                f"{', '.join(differing)}. Give another path to begin anew."
            )
        epoch, step, order, stopped = self._found["position"]
        return Position(epoch, step, None if order is None else (order[0], order[1]), stopped)

    def restore(self, callbacks: Iterable[Any]) -> None:
        """Gives model and callbacks what was read."""
        model: Any = self.model
        found = self._found or {}
        there = variables_of(model)
        for whose, variables in there.items():
            _check_same(self._stored.path, whose, variables, found[whose])
        if not Position(*found["position"]).step:
            del there["metrics"]  # Those of the pass before: a new one begins.
        for whose, variables in there.items():
            for variable, value in zip(variables, found[whose], strict=True):
                variable.assign(value)
        restore_states(callbacks, found["callbacks"])
        if self.stream is not None:
            self.stream.go_back(found["stream"])
        self._note(Position(*found["position"]))

    def keep(self, position: Position, callbacks: Iterable[Any], *, is_begun: bool = True) -> None:
        """Writes the file where it is time to."""
        if not is_begun:
            self._is_failing = False
            self._write(position, callbacks)
            return
        ends_epoch = position.step == 0
        if ends_epoch:
            last = position.epoch == (self.params or {}).get("epochs") or position.stopped
            is_due = last or position.epoch - self._last.epoch >= self._epochs
        else:
            is_due = self._every is not None and self._updates() - self._updates_of_last >= (
                self._every
            )
        if is_due or self._is_asked_to_end:
            self._write(position, callbacks)
        if self._is_asked_to_end:
            raise SystemExit(128 + signal.SIGTERM)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Says from where training goes on, and hears SIGTERM while it runs."""
        self._is_asked_to_end = False
        if self._found is not None:
            epoch, step, *_ = self._found["position"]
            print(
                f"Training goes on from {self._stored.path}: {epoch} epochs are done"
                f"{f' and {step} batches of the next' if step else ''}.",
                file=self._file or sys.stderr,
            )
        hears = self._exits and threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGTERM, self._hear) if hears else None
        try:
            yield
        finally:
            if hears:
                signal.signal(signal.SIGTERM, before)
            self._found = None

    def _hear(self, number: int, _: Any) -> None:
        self._is_asked_to_end = True
        signal.signal(number, signal.SIG_DFL)  # Who asks twice does not want to wait.

    def _updates(self) -> int:
        model: Any = self.model
        return int(np.asarray(model.optimizer.iterations))

    def _note(self, position: Position) -> None:
        self._last, self._updates_of_last = position, self._updates()

    def _write(self, position: Position, callbacks: Iterable[Any]) -> None:
        """Writes the state of the model, once it is known to be one to go back to."""
        model: Any = self.model
        model.guard.check_weights()
        strategy = strategy_of(model)
        if strategy is not None and not strategy.extended.should_checkpoint:
            self._note(position)  # One of several workers writes.
            return
        content = {
            "position": list(position),
            "data": self._data,
            "callbacks": states_of(callbacks),
            "stream": self.stream and self.stream.state(is_within=position.step > 0),
            **{
                whose: [np.asarray(variable) for variable in variables]
                for whose, variables in variables_of(model).items()
            },
        }
        self._note(position)
        try:
            self._stored.write(content)
        except OSError as error:
            if self._must_save:
                raise
            if not self._is_failing:
                warnings.warn(
                    f"A checkpoint could not be written, and training goes on: {error}. What a run "
                    "would go on from is the last one that could, if any.",
                    UserWarning,
                    stacklevel=2,
                )
            self._is_failing = True
        else:
            self._is_failing = False


def _check_same(path: Any, whose: str, variables: list[Any], values: list[np.ndarray]) -> None:
    """Checks that variables can take values.

    Raises:
        ValueError: They are others.
    """
    here = [(tuple(v.shape), tf.as_dtype(v.dtype).name) for v in variables]
    there = [(value.shape, value.dtype.name) for value in values]
    if here == there:
        return
    index = next((i for i, (a, b) in enumerate(zip(here, there, strict=False)) if a != b), None)
    what = f"{len(there)} variables there and {len(here)} here"
    if index is not None:
        name = getattr(variables[index], "path", variables[index].name)
        what = f"`{name}` is {here[index]}, and {there[index]} there"
    raise ValueError(
        f"The checkpoint {path} is of a run with another {whose}: {what}. Make the model as it was "
        "made then, and compile it with the same optimizer, objective and scheme; or give another "
        "path to begin anew."
    )
