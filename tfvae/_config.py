"""Frozen dataclasses as Keras objects: what a part was made from is what it is stored as."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import keras
import numpy as np

from tfvae._typing import whole_number

__all__ = ["NUMBERS", "Configured", "check_amount", "check_count", "keep_counts"]

NUMBERS = (int, float, np.integer, np.floating)


class Configured:
    """Mixin of frozen dataclasses: `get_config` and `from_config` over the dataclass fields.

    Fields are plain data or other `Configured` parts. Subclasses also take `register`.
    """

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain data."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return {
            field.name: keras.saving.serialize_keras_object(getattr(self, field.name))
            for field in fields
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Makes the part again from the output of `get_config`."""
        return cls(**{name: _deserialized(value) for name, value in config.items()})


def _deserialized(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(_deserialized(part) for part in value)
    return keras.saving.deserialize_keras_object(value) if isinstance(value, dict) else value


def check_count(name: str, value: Any) -> int:
    """Returns an argument that is a whole number of at least one, as an int.

    Raises:
        ValueError: It is not.
    """
    return whole_number(name, value)


def keep_counts(part: Any, *names: str) -> None:
    """Makes ints of fields of a frozen dataclass that are whole numbers of at least one.

    Raises:
        ValueError: One is not.
    """
    for name in names:
        object.__setattr__(part, name, check_count(name, getattr(part, name)))


def check_amount(
    name: str,
    value: Any,
    schedule: type | None = None,
    *,
    positive: bool = False,
    negative: bool = False,
) -> None:
    """Checks that an argument is a finite number of at least zero.

    Args:
        name: That of the argument.
        value: What came.
        schedule: A class whose objects will do too.
        positive: Whether zero is refused.
        negative: Whether negative numbers will do.

    Raises:
        ValueError: It is not.
    """
    if schedule is not None and isinstance(value, schedule):
        return
    number = isinstance(value, NUMBERS) and math.isfinite(value)
    if number and (negative or value > 0.0 or (value == 0.0 and not positive)):
        return
    kind = "a finite number" if negative else f"a number {'>' if positive else '>='} 0"
    other = "" if schedule is None else " or a schedule"
    raise ValueError(f"`{name}` must be {kind}{other}. Received: {name}={value!r}")
