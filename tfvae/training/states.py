"""The numbers that objective and scheme change from step to step, held for them by a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae._typing import Tensor
from tfvae.learning import Scheme
from tfvae.objectives import Objective
from tfvae.objectives.base import initial_state_of
from tfvae.training.logs import Mean

__all__ = ["Kept", "ObjectiveState", "SchemeState", "Skips", "kept", "put_back", "variables_of"]

Kept = list[tuple[Any, Tensor]]


def variables_of(model: Any) -> dict[str, list[Any]]:
    """Returns all variables that the training of a model reads and changes, by whose they are.

    Args:
        model: A compiled model: "model" are weights, seed generators and the states of objective
            and scheme, "optimizer" its slots, counters and averages, "metrics" the sums of what is
            logged of the pass so far.
    """
    metrics = [variable for metric in model.metrics for variable in metric.variables]
    own = {id(variable) for variable in metrics}
    return {
        "model": [variable for variable in model.variables if id(variable) not in own],
        "optimizer": list(model.optimizer.variables),
        "metrics": metrics,
    }


def kept(variables: Iterable[Any]) -> Kept:
    """Returns variables with copies of what they hold now, for `put_back`.

    Example:
        >>> from tfvae.training.states import kept, put_back
        >>> count = keras.Variable(1.0)
        >>> before = kept([count])
        >>> _ = count.assign(2.0)
        >>> put_back(before)
        >>> float(count)
        1.0
    """
    # Of Keras's the values: within layers of half precision the variables give rounded ones.
    return [(v, tf.identity(v.value if isinstance(v, keras.Variable) else v)) for v in variables]


def put_back(before: Kept) -> None:
    """Gives variables what they held when they were `kept`."""
    for variable, value in before:
        variable.assign(value)


class _State:
    """Variables by name, which are no weights of a model.

    Models of the same parts take each other's weights whatever they are trained by.

    Args:
        initial: The numbers as they begin.
        prefix: What their names begin with where they are stored.
    """

    def __init__(self, initial: Mapping[str, float], prefix: str) -> None:
        self._prefix = prefix
        self._variables = {
            name: keras.Variable(
                value, trainable=False, dtype="float32", name=prefix + name, aggregation="mean"
            )
            for name, value in initial.items()
        }

    def __iter__(self) -> Iterator[Any]:
        return iter(self._variables.values())

    def read(self) -> dict[str, Tensor]:
        """Returns the numbers as they are, by name."""
        return {name: tf.convert_to_tensor(value) for name, value in self._variables.items()}

    def logged(self) -> dict[str, Tensor]:
        """Returns those numbers that say something to the user."""
        return {
            name: value
            for name, value in self.read().items()
            if not name.startswith("_") and "__" not in name
        }

    def assign(self, values: Mapping[str, Tensor]) -> None:
        """Sets the numbers, as constants to every gradient."""
        for name, variable in self._variables.items():
            variable.assign(tf.stop_gradient(values[name]))

    def save(self, store: dict[str, Any]) -> None:
        """Adds the numbers to what a model stores of its own."""
        for name, variable in self._variables.items():
            store[self._prefix + name] = variable

    def load(self, store: dict[str, Any]) -> None:
        """Takes the numbers out of what `save` made; those of others are dropped."""
        for key in [key for key in store if key.startswith(self._prefix)]:
            value, name = store.pop(key), key[len(self._prefix) :]
            if name in self._variables:
                self._variables[name].assign(value)


class ObjectiveState(_State):
    """Variables of what `Objective.initial_state` names; none for most objectives.

    Args:
        objective: None for a model without one.
    """

    def __init__(self, objective: Objective | None = None) -> None:
        super().__init__({} if objective is None else initial_state_of(objective), "objective_")


class SchemeState(_State):
    """Variables of what `Scheme.initial_state` names, and trackers of what a scheme logs.

    Args:
        scheme: None for a model without one.

    Attributes:
        trackers: A `keras.metrics.Mean` for each of `Scheme.names`.
    """

    def __init__(self, scheme: Scheme | None = None) -> None:
        super().__init__({} if scheme is None else scheme.initial_state(), "scheme_")
        names = () if scheme is None else scheme.names
        self.trackers = {name: Mean(name=name) for name in names}


class Skips(_State):
    """How many batches were left out because numbers were not finite, and of the last one which.

    Args:
        counts: Whether any are; there are no variables otherwise.
    """

    def __init__(self, counts: bool = False) -> None:
        initial = {"skipped": 0.0, "_skipped_terms": 0.0, "_skipped_at": 0.0}
        super().__init__(initial if counts else {}, "guard_")
        self._names: tuple[str, ...] = ()

    def noted(
        self, is_fine: Tensor, values: Mapping[str, Tensor], updates: Tensor
    ) -> dict[str, Tensor]:
        """Returns the numbers after a batch.

        Args:
            is_fine: Whether the batch was taken.
            values: What was to be logged of it, `[B]` by name.
            updates: How many updates there were with it.
        """
        self._names = tuple(sorted(values))[:23]  # what a float32 can tell apart
        bad = [~tf.reduce_all(tf.math.is_finite(values[name])) for name in self._names]
        terms = tf.add_n([2.0**i * tf.cast(x, tf.float32) for i, x in enumerate(bad)])
        now = self.read()
        count = now["skipped"] + tf.cast(~is_fine, tf.float32)
        batch = tf.cast(updates, tf.float32) + count
        return {
            "skipped": count,
            "_skipped_terms": tf.where(is_fine, now["_skipped_terms"], terms),
            "_skipped_at": tf.where(is_fine, now["_skipped_at"], batch),
        }

    def count(self) -> int:
        """Returns how many batches were left out."""
        return int(np.asarray(self._variables["skipped"])) if self._variables else 0

    def batch(self) -> int:
        """Returns the number of the last of them, from 1."""
        return int(np.asarray(self._variables["_skipped_at"]))

    def terms(self) -> str:
        """Returns what was not finite of the last of them."""
        bits = int(np.asarray(self._variables["_skipped_terms"]))
        found = [name for i, name in enumerate(self._names) if bits >> i & 1]
        return ", ".join(["the loss or its gradients", *found])
