"""What `fit`, `evaluate` and `predict` are given, and how it is read: by rows, or by Keras."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae._config import check_count
from tfvae.data.source import Source
from tfvae.training.compilation import steps_at_once
from tfvae.training.rows import CountedCallbacks, Rows, can_be_kept

__all__ = ["Reader"]

# Of methods of Keras, the arguments that are not named one by one.
_DATA = {"self", "x", "y", "kwargs"}

# What Keras keeps of a number of steps.
_OF_CALLS = ("steps_per_execution", "train_function", "test_function", "predict_function")


class Reader:
    """Arguments of `fit`, `evaluate` and `predict` as Keras takes them, data in memory kept apart.

    Keras counts the batches of such data, and what it calls for them takes their rows from here.

    Args:
        model: The model that reads; its `check_data` is called.
        reads_rows: Whether the model takes steps of "train" and of "test" as it was made to.

    Attributes:
        chooses_steps: Whether the number of steps in a call is chosen here.
    """

    def __init__(self, model: Any, reads_rows: Mapping[str, bool]) -> None:
        self._model, self._reads_rows = model, dict(reads_rows)
        self._rows: dict[str, Rows | None] = {}
        self.chooses_steps = True

    @contextlib.contextmanager
    def fitting(
        self, x: Any, y: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """Yields the arguments of `keras.Model.fit`; within, rows of what is in memory are read.

        Args:
            x: As in `fit`.
            y: As in `fit`.
            args: The others by position.
            kwargs: The others by name.
        """
        given = _by_name(keras.Model.fit, args, kwargs)
        source = Source.of(x, y, given.pop("sample_weight", None))
        self._model.check_data(source.x, "x")
        held_out = given.pop("validation_data", None)
        if held_out is not None:
            held_out = Source.of(tuple(held_out) if isinstance(held_out, list) else held_out)
            self._model.check_data(held_out.x, "validation_data")
        elif given.get("validation_split") and source.is_in_memory:
            source, held_out = source.split(given.pop("validation_split"))

        given["x"], given["y"], given["sample_weight"] = source.for_keras()
        batch_size, train, test = given.get("batch_size"), None, None
        shuffle = given.get("shuffle", True)
        if isinstance(source.x, tf.data.Dataset):
            given.setdefault("shuffle", False)  # Keras warns that it cannot shuffle a dataset.
        elif shuffle in (True, False) and not (
            given.get("steps_per_epoch") or given.get("class_weight")
        ):
            train = self._rows_of(source, "train", batch_size, shuffle=shuffle)
        if train is not None:
            given |= {"x": train.steps, "y": None, "sample_weight": None, "shuffle": False}
            given.pop("batch_size", None)
        if held_out is not None:
            given.setdefault("validation_batch_size", batch_size)
            given["validation_data"] = held_out.for_keras()
            if not given.get("validation_steps"):
                size = given["validation_batch_size"] or batch_size
                test = self._rows_of(held_out, "test", size)
        if test is not None:
            given["validation_data"] = (test.steps,)
        limits = [given.get("steps_per_epoch"), given.get("validation_steps")]
        with self._reading(given.get("callbacks"), limits, train, train=train, test=test):
            numbers = {"num_train": _length(train), "num_test": _length(test)}
            self._count(given, train, numbers, add_history=True, epochs=given.get("epochs", 1))
            yield given

    @contextlib.contextmanager
    def evaluating(
        self, x: Any, y: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """Yields the arguments of `keras.Model.evaluate`; see `fitting`."""
        if kwargs.get("_use_cached_eval_dataset"):  # validation, which `fitting` has seen to
            yield {"x": x, "y": y, **kwargs}
            return
        given = _by_name(keras.Model.evaluate, args, kwargs)
        source = Source.of(x, y, given.pop("sample_weight", None))
        self._model.check_data(source.x, "x")
        given["x"], given["y"], given["sample_weight"] = source.for_keras()
        test = None
        if not given.get("steps"):
            test = self._rows_of(source, "test", given.get("batch_size"))
        if test is not None:
            given |= {"x": test.steps, "y": None, "sample_weight": None}
            given.pop("batch_size", None)
        with self._reading(given.get("callbacks"), [given.get("steps")], test, test=test):
            self._count(given, test, {"num_test": _length(test)}, epochs=1)
            yield given

    @contextlib.contextmanager
    def predicting(
        self, x: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """Yields the arguments of `keras.Model.predict`."""
        given = _by_name(keras.Model.predict, args, kwargs)
        source = Source.of(x)
        self._model.check_data(source.x, "x")
        with self._reading(given.get("callbacks"), [given.get("steps")], None):
            yield {"x": source.x, **given}

    def over_rows(
        self, kind: str, streamed: Callable[..., Any], loop_of: Callable[[str, Any], Any]
    ) -> Callable[..., Any]:
        """Returns what Keras is to call for some steps.

        Args:
            kind: "train" or "test".
            streamed: What Keras has made for data that comes batch by batch.
            loop_of: From the kind and the shape `[K, B]` of some batches to a function of what
                `Rows.next` yields.
        """

        def call(iterator: Any) -> Any:
            rows = self._rows.get(kind)
            if rows is None or not isinstance(iterator, tf.data.Iterator):
                return streamed(iterator)
            logs = None
            for batches, weights, count in rows.next(self._model.steps_per_execution):
                shape = tuple(batches["x"].shape[:2])
                logs = loop_of(kind, shape)(batches, weights, count)
            return logs

        return call

    def _rows_of(
        self, source: Source, kind: str, batch_size: Any, *, shuffle: bool = False
    ) -> Rows | None:
        """Returns passes over data in memory, None where Keras is to read it batch by batch."""
        model = self._model
        if (
            not (source.is_in_memory and model.compiled and self._reads_rows[kind])
            or model.distribute_strategy.num_replicas_in_sync > 1
        ):
            return None
        parts = {name: np.asarray(part) for name, part in model.data.named(source.x).items()}
        if not can_be_kept(parts):
            return None
        source.check_rows()
        weights = source.sample_weight
        if weights is not None:
            weights = tf.reshape(tf.cast(weights, keras.config.floatx()), [-1])
        size = 32 if batch_size is None else check_count("batch_size", batch_size)
        batch = model.data.whole_batch(parts)
        return Rows(batch, weights, size, model.make_seed if shuffle else None)

    def _set_steps(
        self, callbacks: Any, limits: list[int | None], rows: Rows | None = None
    ) -> None:
        model = self._model
        if not model.compiled or not self.chooses_steps:
            return
        steps = 1
        if not model.run_eagerly:
            most = {} if rows is None else {"most": rows.batches_in_a_call(model.trainable_weights)}
            steps = steps_at_once(callbacks, limits, **most)
        if steps != model.steps_per_execution:
            model.steps_per_execution = steps
            model.train_function = model.test_function = model.predict_function = None

    def _count(
        self,
        given: dict[str, Any],
        rows: Rows | None,
        numbers: Mapping[str, int | None],
        *,
        add_history: bool = False,
        epochs: int,
    ) -> None:
        """Has callbacks hear of as many steps as there are."""
        callbacks, verbose = given.get("callbacks"), given.get("verbose", "auto")
        if rows is None or isinstance(callbacks, keras.callbacks.CallbackList):
            return
        given["callbacks"] = CountedCallbacks(
            callbacks,
            **numbers,
            add_history=add_history,
            add_progbar=verbose != 0,
            verbose=verbose,
            epochs=epochs,
            steps=rows.num_batches,
            model=self._model,
        )

    @contextlib.contextmanager
    def _reading(
        self, callbacks: Any, limits: list[int | None], first: Rows | None, **rows: Rows | None
    ) -> Iterator[None]:
        """Sets what is read and how many steps a call takes; a callback may do so within `fit`."""
        model, rows_before = self._model, self._rows
        kept = {name: getattr(model, name) for name in _OF_CALLS if model.compiled}
        self._set_steps(callbacks, limits, first)
        self._rows = {**rows_before, **rows}
        try:
            yield
        finally:
            self._rows = rows_before
            if rows_before:
                for name, value in kept.items():
                    setattr(model, name, value)


def _length(rows: Rows | None) -> int | None:
    return None if rows is None else rows.num_batches


def _by_name(method: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns all arguments of a method of Keras by name, but for itself and the data."""
    names = [name for name in inspect.signature(method).parameters if name not in _DATA]
    if len(args) > len(names) or set(names[: len(args)]) & set(kwargs):
        raise TypeError(
            f"`{method.__name__}` takes its arguments as `keras.Model.{method.__name__}` does: "
            f"{', '.join(names)}, each once. Received: {len(args)} by position, and "
            f"{', '.join(kwargs) or 'none'} by name."
        )
    return {**dict(zip(names, args, strict=False)), **kwargs}
