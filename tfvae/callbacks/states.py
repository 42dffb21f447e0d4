"""What callbacks keep in Python from one epoch to the next, as plain data."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import keras

__all__ = ["restore_states", "state_of", "states_of"]

# Callbacks of Keras have no method for it.
_FIELDS = {
    keras.callbacks.EarlyStopping: ("wait", "stopped_epoch", "best", "best_epoch", "best_weights"),
    keras.callbacks.History: ("epoch", "history"),
    keras.callbacks.ModelCheckpoint: ("best", "_batches_seen_since_last_saving"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
}


@functools.singledispatch
def state_of(callback: Any) -> dict[str, Any] | None:
    """Returns what a callback has to find again in a run that goes on, None for nothing.

    A callback offers it by two methods: `get_state()`, which returns a dict of numbers, text, lists
    and arrays, and `set_state(state)`. Those of Keras that keep something are known.
    """
    offered = getattr(callback, "get_state", None)
    return None if offered is None else offered()


def _fields_of(callback: Any) -> dict[str, Any]:
    names = next(names for kind, names in _FIELDS.items() if isinstance(callback, kind))
    return {name: getattr(callback, name) for name in names if hasattr(callback, name)}


for _kind in _FIELDS:
    state_of.register(_kind, _fields_of)


def states_of(callbacks: Iterable[Any]) -> list[list[Any]]:
    """Returns the states of those callbacks that have one, each with the name of its class."""
    found = ((type(callback).__name__, state_of(callback)) for callback in callbacks)
    return [[name, state] for name, state in found if state is not None]


def restore_states(callbacks: Iterable[Any], states: Iterable[Any]) -> None:
    """Gives callbacks their states again, of one class in their order; others stay as they are."""
    left = [list(entry) for entry in states]
    for callback in callbacks:
        entry = next((entry for entry in left if entry[0] == type(callback).__name__), None)
        if entry is None:
            continue
        left.remove(entry)
        if isinstance(callback, tuple(_FIELDS)):
            for name, value in entry[1].items():
                setattr(callback, name, value)
        else:
            callback.set_state(entry[1])
