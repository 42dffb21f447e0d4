"""Training that stops where numbers cease to be finite, with the weights of before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae.training.states import variables_of

__all__ = ["Guard"]

# Updates from one state that is kept to the next: beside them, keeping it costs nothing.
_EVERY = 200


class Guard:
    """Keeps the last state of a model in which all weights were finite, and goes back to it.

    It does so within `with`. A loss that is not finite ends training with the sentence that says
    so. Weights, slots of the optimizer, seeds and states are then those of at most 200 updates
    before, or of before the call that makes more at once.

    Args:
        model: The model that is trained.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._kept: list[tuple[Any, Any]] = []
        self._kept_at = self._depth = 0
        self._exempt: set[str] = set()

    def __enter__(self) -> Guard:
        if not self._depth:
            # Such as pseudo-inputs that lack entries: no step has made them so.
            self._exempt = set(self._not_finite())
        self._depth += 1
        return self

    def __exit__(self, error: Any, *_: Any) -> None:
        self._depth -= 1
        try:
            if error is None:
                self.check_weights()
        finally:
            self._kept = []

    def watched(self, run: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        """Returns the logs of some updates.

        Args:
            run: Makes updates and returns what is logged of the pass so far.

        Raises:
            FloatingPointError: The loss is not finite, or a weight.
        """
        if not self._depth:
            return run()
        if not self._kept or self._updates() - self._kept_at >= _EVERY:
            self.check_weights()
            self._keep()
        logs = run()
        # A step of the user's own may log what it likes.
        if not np.isfinite(float(logs.get("loss", 0.0))):
            self._give_up(_bad_logs(logs))
        return logs

    def forget(self) -> None:
        """Drops the state that is kept: that of the model was put in by others."""
        self._kept = []

    def check_weights(self) -> None:
        """Checks the weights as they are, but for those that were not finite at the beginning.

        Raises:
            FloatingPointError: One is not finite.
        """
        names = [name for name in self._not_finite() if name not in self._exempt]
        if names:
            shown = ", ".join(names[:3]) + (" and others" if len(names) > 3 else "")
            self._give_up(f"the weights {shown}")

    def _not_finite(self) -> list[str]:
        return [w.path for w in self._model.trainable_weights if not np.all(np.isfinite(w))]

    def _updates(self) -> int:
        return int(self._model.optimizer.iterations)

    def _keep(self) -> None:
        self._kept_at = self._updates()
        self._kept = [
            (variable, tf.identity(variable))
            for name, variables in variables_of(self._model).items()
            for variable in variables
            if name != "metrics"
        ]

    def _give_up(self, what: str) -> None:
        updates = self._updates()
        where, state = f"after {updates} updates", "The weights are what they were given as."
        if self._kept:
            for variable, value in self._kept:
                variable.assign(value)
            state = f"Weights and optimizer are back in their state after {self._kept_at} updates."
        self._kept = []
        if self._exempt:
            state += f" Not finite from the beginning were {', '.join(sorted(self._exempt)[:3])}."
        raise FloatingPointError(
            f"Training stopped {where}: not finite are {what}. {state} Lower the learning rate, "
            "limit gradients (`global_clipnorm` of the optimizer), or look for values in the data "
            "that are far from all others."
        )


def _bad_logs(logs: Mapping[str, Any]) -> str:
    return ", ".join(name for name, value in logs.items() if not np.all(np.isfinite(value)))
