"""Which way is up for what models log."""

from __future__ import annotations

from typing import Any

import keras

__all__ = ["direction_of", "know_directions"]

# Of a rate neither way is better by itself: Keras then asks.
_DIRECTIONS = {
    "elbo": "max",
    "loss": "min",
    "distortion": "min",
    "mutual_information": "max",
    "active_units": "max",
    "shuffle_cost": "max",
    "gap": "min",
}


def direction_of(name: str) -> str | None:
    """Returns "max" or "min" for what is logged under a name, None where nothing says which.

    Example:
        >>> from tfvae.training.directions import direction_of
        >>> direction_of("val_elbo"), direction_of("distortion"), direction_of("rate")
        ('max', 'min', None)
    """
    return _DIRECTIONS.get(name.removeprefix("val_").removeprefix("held_out_"))


def know_directions(callbacks: Any) -> None:
    """Has callbacks that watch a number, and were not told which way is better, know it.

    Keras looks for the directions of compiled metrics alone, and refuses all other numbers.
    """
    found = getattr(callbacks, "callbacks", callbacks) or []
    for callback in found if isinstance(found, (list, tuple)) else [found]:
        watches = isinstance(callback, _WATCHING) and callback.mode == "auto"
        direction = direction_of(callback.monitor) if watches else None
        if direction is not None:
            callback.mode = direction


_WATCHING = (
    keras.callbacks.EarlyStopping,
    keras.callbacks.ModelCheckpoint,
    keras.callbacks.ReduceLROnPlateau,
)
