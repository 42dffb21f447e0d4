"""The numbers that an objective changes from step to step, held for it by its model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from tfvae._typing import Tensor
from tfvae.objectives import Objective

__all__ = ["ObjectiveState"]

_PREFIX = "objective_"


class ObjectiveState:
    """Variables of what `Objective.initial_state` names; none for most objectives.

    They are no weights of the model: models of the same parts take each other's weights whatever
    they are trained by.

    Args:
        objective: None for a model without one.
    """

    def __init__(self, objective: Objective | None = None) -> None:
        initial = {} if objective is None else objective.initial_state()
        self._variables = {
            name: keras.Variable(
                value, trainable=False, dtype="float32", name=_PREFIX + name, aggregation="mean"
            )
            for name, value in initial.items()
        }

    def __iter__(self) -> Iterator[Any]:
        return iter(self._variables.values())

    def read(self) -> dict[str, Tensor]:
        """Returns the numbers as they are, by name."""
        return {name: tf.convert_to_tensor(value) for name, value in self._variables.items()}

    def assign(self, values: Mapping[str, Tensor]) -> None:
        """Sets the numbers, as constants to every gradient."""
        for name, variable in self._variables.items():
            variable.assign(tf.stop_gradient(values[name]))

    def save(self, store: dict[str, Any]) -> None:
        """Adds the numbers to what a model stores of its own."""
        for name, variable in self._variables.items():
            store[_PREFIX + name] = variable

    def load(self, store: dict[str, Any]) -> None:
        """Takes the numbers out of what `save` made; those of another objective are dropped."""
        for key in [key for key in store if key.startswith(_PREFIX)]:
            value, name = store.pop(key), key[len(_PREFIX) :]
            if name in self._variables:
                self._variables[name].assign(value)
