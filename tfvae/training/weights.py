"""Which weights a step updates: all that it reads, and what is said of the others."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf

from tfvae._words import some_of

__all__ = ["Weights"]


class Weights:
    """The weights of a model, as they were when it was compiled and as steps find them.

    Args:
        model: The model that is trained.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._trained = {id(weight) for weight in model.trainable_weights} if model.built else None
        self._said: set[str] = set()

    def check(self) -> None:
        """Checks that what can be trained is what could be when the model was compiled.

        Weights that were frozen since then are named once, and stay as they are.

        Raises:
            ValueError: The model has no weights that can be trained, or the optimizer does not know
                all of them.
        """
        model = self._model
        now = model.trainable_weights
        if not now:
            raise ValueError(
                "This model has no weights that can be trained: all of its parts are frozen, or "
                f"have none. Received: {type(model).__name__} '{model.name}' with "
                f"{len(model.weights)} weights. Set `trainable = True` on what is to learn, and "
                "call `compile` again."
            )
        before, self._trained = self._trained, {id(weight) for weight in now}
        if before is None or before == self._trained:
            return
        added = [weight.path for weight in now if id(weight) not in before]
        if added:
            self._trained = before
            raise ValueError(
                f"The weights {some_of(added)} were frozen when the model was compiled, and its "
                "optimizer does not know them. Call `compile` again."
            )
        frozen = [w.path for w in model.weights if id(w) in before - self._trained]
        self._warn(
            f"The weights {some_of(frozen)} were frozen since the model was compiled, and stay as "
            "they are."
        )
        model.functions.forget()

    def check_read(self, tape: tf.GradientTape) -> None:
        """Checks that a step reads no variables that can be trained but those of the model.

        Raises:
            ValueError: It does; they would never change.
        """
        own = {id(variable._value) for variable in self._model.variables}
        found = [v.name for v in tape.watched_variables() if id(v) not in own]
        if found:
            raise ValueError(
                "This model reads variables that Keras does not know, so that they would never be "
                f"trained nor stored: {some_of(found)}. Make them by `add_weight` in the layer or "
                "prior that reads them, or by `tf.Variable(..., trainable=False)` where they are "
                "to stay as they are."
            )

    def with_gradients(
        self, gradients: Iterable[Any], weights: Sequence[Any]
    ) -> tuple[list[Any], list[Any]]:
        """Returns the gradients that there are, and the weights that they are of.

        Weights without one are named once.

        Raises:
            ValueError: There are none.
        """
        pairs = list(zip(gradients, weights, strict=True))
        without = [weight.path for gradient, weight in pairs if gradient is None]
        if len(without) == len(pairs):
            raise ValueError(
                "No weight of this model gets a gradient: what the objective reads depends on none "
                f"of {some_of(without)}. Look for draws without gradients, roundings and "
                "`tf.stop_gradient`."
            )
        if without:
            self._warn(
                f"The weights {some_of(without)} get no gradient and stay as they are: nothing "
                "that the objective reads depends on them. Freeze them, by `trainable = False`, or "
                "remove them."
            )
        kept = [(gradient, weight) for gradient, weight in pairs if gradient is not None]
        return [gradient for gradient, _ in kept], [weight for _, weight in kept]

    def _warn(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            warnings.warn(text, UserWarning, stacklevel=2)
