"""What a pass over data takes: a turn of its own, batches, and weights that are not all zero."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae._words import some_of
from tfvae.data.source import is_endless

__all__ = [
    "batches_checked",
    "check_end",
    "check_passes",
    "check_scored",
    "count_of",
    "in_turn",
    "tell_lost_in_training",
]

# Seconds that a thread waits for its turn before it says so.
_LONG = 10.0
# Between what is warned of and the line that called, those of Keras and contexts among them.
_FRAMES_OF_TRAINING, _FRAMES_OF_EVALUATE, _FRAMES_OF_FIT = 4, 8, 11


def in_turn(
    method: Callable[..., Any],
) -> Callable[..., AbstractContextManager[dict[str, Any]]]:
    """Makes a context of a generator method, in which other threads wait for the object's `turn`.

    All passes of a model add up in the same metrics. Waiting long is told, since two threads that
    wait for each other would do so for ever.
    """
    manager = contextlib.contextmanager(method)

    @functools.wraps(method)
    @contextlib.contextmanager
    def waiting(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not self.turn.acquire(timeout=_LONG):
            _tell_waiting(method.__name__)
            self.turn.acquire()
        try:
            with manager(self, *args, **kwargs) as given:
                yield given
        finally:
            self.turn.release()

    return waiting


def _tell_waiting(use: str) -> None:
    warnings.warn(
        f"{use.capitalize()} this model waits, since `fit` or `evaluate` of it runs in another "
        "thread, and goes on when that has ended. If a callback there waits for this thread, it "
        "never ends: call `evaluate` in the callback itself.",
        UserWarning,
        stacklevel=6,
    )


def check_passes(x: Any, held_out: Any, given: Mapping[str, Any]) -> None:
    """Checks that data can be read as often as `fit` is to read it.

    Args:
        x: Data as `fit` is given it.
        held_out: That of its validation, or None.
        given: The other arguments by name.

    Raises:
        ValueError: It is a generator, and has to be read more than once, or is to be read after
            every 0 epochs, or it has no end.
    """
    passes = given.get("epochs", 1) - given.get("initial_epoch", 0)
    _check_readable(x, "x", passes, given.get("steps_per_epoch"))
    check_end(x, "x", "steps_per_epoch", given)
    if held_out is None:
        return
    every = given.get("validation_freq", 1)
    if isinstance(every, int) and every < 1:
        raise ValueError(
            "`validation_freq` must be 1 or more: after how many epochs the scores of "
            f"`validation_data` are found, or in which. Received: {every}."
        )
    passes = passes // every if isinstance(every, int) else len(every)
    _check_readable(held_out, "validation_data", passes, given.get("validation_steps"))
    check_end(held_out, "validation_data", "validation_steps", given)


def check_end(x: Any, name: str, steps: str, given: Mapping[str, Any]) -> None:
    """Checks that a pass over data comes to an end.

    Args:
        x: The data.
        name: What it is called.
        steps: The argument that says how many batches a pass has.
        given: Arguments by name.

    Raises:
        ValueError: The data has no end, and nobody says where a pass has one.
    """
    if not given.get(steps) and is_endless(x):
        raise ValueError(
            f"`{name}` has no end, and so has a pass over it. Received: a {type(x).__name__} that "
            f"gives batches for ever, and no `{steps}`. Say how many batches make a pass: "
            f"`{steps}=100`."
        )


def _check_readable(x: Any, name: str, passes: int, steps: int | None) -> None:
    if hasattr(x, "__next__") and passes > 1 and not steps:
        raise ValueError(
            f"`{name}` can be read once, and `fit` was to read all of it {passes} times. "
            f"Received: a {type(x).__name__}. Pass a `tf.data.Dataset` or a "
            "`keras.utils.PyDataset`; of a generator without end, say how many batches make an "
            "epoch by `steps_per_epoch` or `validation_steps`."
        )


@contextlib.contextmanager
def batches_checked(model: Any) -> Iterator[None]:
    """Checks, where data comes to its end within, that there was a batch in this pass.

    Args:
        model: Its metrics hold the sums; None checks nothing.

    Raises:
        ValueError: There was none, so that all means would be those of nothing.
    """
    try:
        yield
    except (StopIteration, tf.errors.OutOfRangeError):
        if model is not None:
            _check_batches(model)
        raise


def _check_batches(model: Any) -> None:
    if count_of(model, "loss") == 0.0:
        raise ValueError(
            "The data came to its end before this epoch, of which there is no batch. Received: a "
            "stream of fewer batches than `steps_per_epoch` or `validation_steps` times the number "
            "of epochs. Repeat it, or lower these."
        )


def check_scored(model: Any, prefix: str = "") -> None:
    """Checks that the means of a pass are those of something, and warns where one is no number.

    Args:
        model: Its metrics hold the sums.
        prefix: What the names of these means begin with where they are told: "val_" in `fit`.

    Raises:
        ValueError: There was no batch, or all weights were 0.
    """
    _check_batches(model)
    if count_of(model, "elbo") == 0.0:
        raise ValueError(
            "`sample_weight` must be above 0 for one row at least: means over none have no "
            "value. Received: weights that are all 0."
        )
    scores = {prefix + name: value for name, value in model.get_metrics_result().items()}
    _tell_lost(scores, _FRAMES_OF_FIT if prefix else _FRAMES_OF_EVALUATE)


def tell_lost_in_training(model: Any) -> None:
    """Warns where a mean that `fit` has logged is no number, as of terms that no loss has."""
    own = {metric.name for metric in model.metrics}  # Callbacks log what they like.
    logs = {name: v for name, v in model.history.history.items() if name in own}
    _tell_lost(logs, _FRAMES_OF_TRAINING)


def _tell_lost(logs: Mapping[str, Any], frames: int) -> None:
    lost = [name for name, value in logs.items() if not np.all(np.isfinite(value))]
    if lost:
        warnings.warn(
            f"Not finite are {some_of(lost)}: densities have no value in 32 bits, as of weights or "
            "values of the data that are too large.",
            UserWarning,
            stacklevel=frames + 1,
        )


def count_of(model: Any, name: str) -> float | None:
    """Returns what a mean that the model keeps is over, None where it keeps none of that name."""
    found = next((metric for metric in model.metrics if metric.name == name), None)
    return None if found is None else float(np.asarray(found.count))
