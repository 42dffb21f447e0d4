"""Training that does not go on with numbers that are not finite, with the weights of before."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae._tracing import noting_graphs
from tfvae._typing import Tensor
from tfvae._words import some_of
from tfvae.learning import Best, GoBack, Raise, Remedy, Skip
from tfvae.training.passes import tell_lost_in_training
from tfvae.training.placement import strategy_of
from tfvae.training.states import Kept, kept, put_back, variables_of

__all__ = [
    "Guard",
    "check_agreement",
    "check_finite",
    "check_half",
    "not_finite",
    "not_finite_weights",
]

# Updates from one state that is kept to the next: beside them, keeping it costs nothing.
_EVERY = 200

_LARGEST_HALF = float(np.finfo("float16").max)

_ADVICE = (
    "Lower the learning rate, limit gradients (`global_clipnorm` of the optimizer), or look for "
    "values in the data that are far from all others."
)


class Guard:
    """Keeps the last state of a model in which all weights were finite, and goes back to it.

    It does so within `with`. A loss that is not finite is met by the remedies in their order, and
    in the end by a sentence. Weights, slots of the optimizer, seeds and states are then those of at
    most 200 updates before, or of before the call that makes more at once.

    Args:
        model: The model that is trained.
        remedy: What follows where numbers are not finite.
    """

    def __init__(self, model: Any, remedy: Remedy | None = None) -> None:
        self._model = model
        self._remedies = list((remedy or Raise()).chain())
        self._used = [0] * len(self._remedies)
        self._kept: Kept = []
        self._best: Kept = []
        self._best_value: float | None = None
        self._kept_at = self._depth = self._skipped = 0
        self._exempt: set[str] = set()

    def __enter__(self) -> Guard:
        if not self._depth:
            # Such as pseudo-inputs that lack entries: no step has made them so.
            self._exempt = set(not_finite(self._model))
            self._used = [0] * len(self._remedies)
            self._skipped = self._model._step.skips.count()
        self._depth += 1
        return self

    def __exit__(self, error: Any, *_: Any) -> None:
        self._depth -= 1
        try:
            if error is None:
                self.check_weights()
                tell_lost_in_training(self._model)
        finally:
            self.forget()

    @property
    def callbacks(self) -> list[Any]:
        """Callbacks that `fit` needs for the remedies."""
        tos = [remedy.to for remedy in self._remedies if isinstance(remedy, GoBack)]
        return [_Keeping(self, to) for to in tos if isinstance(to, Best)][:1]

    def watched(self, run: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        """Returns the logs of some updates.

        Args:
            run: Makes updates and returns what is logged of the pass so far.

        Raises:
            FloatingPointError: The loss is not finite, or a weight, and no other remedy is left.
        """
        if not self._depth:
            return run()
        to_come = self._model.steps_per_execution
        if not self._kept or self._updates() + to_come - self._kept_at > _EVERY:
            self.check_weights()
            check_agreement(self._model)
            self._kept_at, self._kept = self._updates(), self._state()
        before = kept(variables_of(self._model)["metrics"])
        logs = run()
        self._look_at_skipped()
        # A step of the user's own may log what it likes.
        if np.isfinite(float(logs.get("loss", 0.0))):
            return logs
        self._meet(_bad_logs(logs), self._model._reader.place())
        put_back(before)
        return self._model.get_metrics_result()

    def forget(self) -> None:
        """Drops the states that are kept: that of the model was put in by others."""
        self._kept, self._best, self._best_value = [], [], None

    def check_weights(self) -> None:
        """Checks the weights as they are, but for those that were not finite at the beginning.

        Raises:
            FloatingPointError: One is not finite, and no other remedy is left.
        """
        names = [name for name in not_finite(self._model) if name not in self._exempt]
        if names:
            self._meet(f"the weights {some_of(names)}")

    def keep_best(self, to: Best, logs: Mapping[str, Any]) -> None:
        """Keeps the state after an epoch, if it is the best so far."""
        value = logs.get(to.monitor)
        if value is None:
            raise ValueError(
                f"`Best` watches `{to.monitor}`, which this `fit` does not log. "
                f"Received: {', '.join(logs)}."
            )
        if np.isfinite(value) and to.gains(float(value), self._best_value):
            self.check_weights()
            self._best_value, self._best = float(value), self._state()

    def _updates(self) -> int:
        return int(np.asarray(self._model.optimizer.iterations))

    def _state(self) -> Kept:
        found = variables_of(self._model)
        return kept([*found["model"], *found["optimizer"]])

    def _look_at_skipped(self) -> None:
        """Warns of batches that steps have skipped, and stops where there were too many."""
        skips = self._model._step.skips
        new = skips.count() - self._skipped
        if new <= 0:
            return
        self._skipped += new
        place = next(i for i, remedy in enumerate(self._remedies) if isinstance(remedy, Skip))
        self._used[place] += new
        what = f"{skips.terms()}, the last time in batch {skips.batch()} since `compile`"
        if self._used[place] > self._remedies[place].times:
            return self._meet(what)
        warnings.warn(
            f"Skipped {new} batch{'es' if new > 1 else ''}: not finite were {what}. The weights "
            f"are as they were before. {_ADVICE}",
            UserWarning,
            stacklevel=2,
        )

    def _meet(self, what: str, where: str = "") -> None:
        """Takes the next remedy that is left."""
        for i, remedy in enumerate(self._remedies):
            if isinstance(remedy, GoBack) and self._used[i] < remedy.times and self._kept:
                self._used[i] += 1
                return self._go_back(remedy, what, where)
        self._give_up(what, where)

    def _go_back(self, remedy: GoBack, what: str, where: str) -> None:
        optimizer = getattr(self._model.optimizer, "inner_optimizer", self._model.optimizer)
        updates, rate = self._updates(), float(np.asarray(optimizer.learning_rate))
        state = self._best if isinstance(remedy.to, Best) and self._best else self._kept
        put_back(state)
        self._skipped = self._model._step.skips.count()
        if remedy.factor < 1.0:
            optimizer.learning_rate = rate * remedy.factor
        warnings.warn(
            f"After {updates} updates not finite were {what}.{where} Training goes on from the "
            f"state after {self._updates()} updates, with the learning rate "
            f"{rate * remedy.factor:g}.",
            UserWarning,
            stacklevel=2,
        )

    def _give_up(self, what: str, where: str) -> None:
        updates, state = self._updates(), "The weights are what they were given as."
        if self._kept:
            put_back(self._kept)
            state = f"Weights and optimizer are back in their state after {self._kept_at} updates."
        self.forget()
        if self._exempt:
            state += f" Not finite from the beginning were {some_of(sorted(self._exempt))}."
        raise FloatingPointError(
            f"Training stopped after {updates} updates: not finite are {what}.{where} {state} "
            f"{_ADVICE}"
        )


class _Keeping(keras.callbacks.Callback):
    """Keeps the state after the best epoch."""

    def __init__(self, guard: Guard, to: Best) -> None:
        super().__init__()
        self._guard, self._to = guard, to

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Keeps it where it is the best so far."""
        self._guard.keep_best(self._to, logs or {})


def check_agreement(model: Any) -> None:
    """Checks that all workers have the same weights, seeds and states, where there are several.

    Raises:
        ValueError: They have not: what they would learn together is nothing.
    """
    strategy: Any = strategy_of(model)
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return

    def summed(own: Tensor) -> Tensor:
        return strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(lambda: own), axis=None)

    variables = model.variables
    make = functools.partial(tf.function, noting_graphs(summed, []), autograph=False)
    add_up = model.functions.known("agreement", make)
    own = np.array([np.sum(np.asarray(v), dtype="float64") for v in variables])
    mean = add_up(own).numpy() / strategy.num_replicas_in_sync
    differing = ~np.isclose(own, mean, rtol=1e-12, atol=1e-300, equal_nan=True)
    if differing.any():
        names = [v.path for v, differs in zip(variables, differing, strict=True) if differs]
        raise ValueError(
            "Workers train one model together, and this one has other numbers than the rest. "
            f"Received: other values of {some_of(names)}. Have all workers make the model by the "
            "same program, read the same data in the same order, and load or go on from the same "
            "files."
        )


def check_half(model: Any, parts: Mapping[str, np.ndarray], name: str) -> None:
    """Checks that the encoder can compute with data beyond what 16 bits hold, where it does so.

    Args:
        model: A built model.
        parts: Its data by name.
        name: What messages call it.

    Raises:
        ValueError: The posterior of the largest number is not finite.
    """
    layers = model._flatten_layers(include_self=False)
    half = [x for x in layers if getattr(x, "compute_dtype", "") == "float16"]
    if not half or not model.graph.latents:
        return
    for part in parts.values():
        sizes = np.abs(np.nan_to_num(np.asarray(part, "float64"))).reshape(len(part), -1)
        largest, row = sizes.max(initial=0.0), int(np.argmax(sizes.max(axis=1, initial=0.0)))
        if largest <= _LARGEST_HALF:
            continue
        one = {key: tf.convert_to_tensor(np.asarray(x)[row : row + 1]) for key, x in parts.items()}
        if not _encodes_in_numbers(model, one):
            raise ValueError(
                f"`{name}` holds numbers beyond what 16 bits hold, 65504, and the encoder computes "
                f"in them. Received: numbers up to {largest:g}, and layers of float16, "
                f"'{half[0].name}' among them. Scale the data, let the encoder begin with "
                "`tfvae.layers.DataEncoder(...)`, which scales in 32 bits, or take the policy "
                '"mixed_bfloat16".'
            )


def _encodes_in_numbers(model: Any, rows: Mapping[str, Tensor]) -> bool:
    """Whether posteriors of rows are finite, and their gradients in the weights."""
    batch, _ = model.data.checked_batch(rows)
    with tf.GradientTape() as tape:
        found = tf.nest.flatten(model.encode(**batch), expand_composites=True)
        numbers = [x for x in found if tf.is_tensor(x) and x.dtype.is_floating]
    # What a bounded activation makes of infinity is finite, and its gradient is not.
    slopes = tape.gradient(numbers, [weight.value for weight in model.trainable_weights])
    known = [*numbers, *(tf.convert_to_tensor(each) for each in slopes if each is not None)]
    return all(bool(tf.reduce_all(tf.math.is_finite(each))) for each in known)


def not_finite(model: Any) -> list[str]:
    """Returns the paths of the trainable weights of a model that are not finite.

    Where data may lack entries, NaN in what is made like data means the same.
    """
    return [w.path for w in model.trainable_weights if _is_bad(w)]


def check_finite(model: Any, what: str) -> None:
    """Checks that all weights of a model are finite.

    Args:
        model: A built model.
        what: What is to be made of it, as the subject of the message.

    Raises:
        ValueError: One is not.
    """
    names = not_finite(model)
    if names:
        raise ValueError(not_finite_weights(names, f"{what} of this model would mean nothing"))


def not_finite_weights(names: list[str], consequence: str) -> str:
    """Returns what is said of weights that are not finite."""
    return (
        f"{consequence}: its weights {some_of(names)} hold NaN or infinite values. Load weights "
        "from before they did, or make the model anew and train it with a lower learning rate."
    )


def _is_bad(weight: Any) -> bool:
    value = np.asarray(weight)
    bad = np.isinf(value) if getattr(weight, "may_lack_entries", False) else ~np.isfinite(value)
    return bool(bad.any())


def _bad_logs(logs: Mapping[str, Any]) -> str:
    return ", ".join(name for name, value in logs.items() if not np.all(np.isfinite(value)))
