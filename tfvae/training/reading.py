"""What `fit`, `evaluate` and `predict` are given, and how it is read: by rows, or by Keras."""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae._config import check_count
from tfvae.data.checks import translated_errors
from tfvae.data.source import Source
from tfvae.training.arguments import by_name
from tfvae.training.batches import Batches
from tfvae.training.compilation import steps_at_once
from tfvae.training.course import (
    CountedCallbacks,
    Course,
    CourseCallbacks,
    Keeper,
    check_order,
    keeper_among,
    with_callbacks,
)
from tfvae.training.directions import know_directions
from tfvae.training.passes import (
    batches_checked,
    check_end,
    check_passes,
    check_scored,
    count_of,
    in_turn,
)
from tfvae.training.placement import NO_STRATEGY, device_of, strategy_of
from tfvae.training.rows import Rows, counted_by_keras, num_batches, number_of
from tfvae.training.streams import Stream, one_by_one, take_steps

__all__ = ["Reader"]

# Beside what counts the batches of data in memory.
_IN_ROWS = {"y": None, "sample_weight": None, "batch_size": None}

# Where there is an accelerator, data of more bytes is not kept in its memory.
_DEVICE_BYTES = 2**30


class Reader:
    """Arguments of `fit`, `evaluate` and `predict` as Keras takes them, data in memory kept apart.

    Keras counts the batches of such data, and what it calls for them takes their rows from here.

    Args:
        model: The model that reads; its `check_data` is called.
        reads_rows: Whether the model takes steps of "train" and of "test" as it was made to.

    Attributes:
        chooses_steps: Whether the number of steps in a call is chosen here.
        asked: The objective that `compile` was given; that of the model may follow the data.
        fitted: The one that `fit` was called with last.
        turn: Held by the thread that trains or evaluates.
    """

    def __init__(self, model: Any, reads_rows: Mapping[str, bool]) -> None:
        self._model, self._reads_rows = model, dict(reads_rows)
        self._course: Course | None = None
        self._latest: list[Any] = [None, None]
        self._rows: dict[int, Rows] = {}
        self._by_rows = False
        self._numbers = itertools.count()
        self.chooses_steps = True
        self.turn = threading.RLock()
        self.asked: Any = None
        self.fitted: Any = None

    @in_turn
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
        given = by_name(keras.Model.fit, args, kwargs)
        source = Source.of(x, y, given.pop("sample_weight", None))
        self._check(source, "x", given.get("class_weight"))
        held_out = given.pop("validation_data", None)
        if held_out is not None:
            held_out = tuple(held_out) if isinstance(held_out, list) else held_out
            held_out = Source.of(held_out, name="validation_data")
            self._check(held_out, "validation_data")
        elif given.get("validation_split") and source.is_in_memory:
            source, held_out = source.split(given.pop("validation_split"))
            source.check_rows()
            held_out.check_rows("validation_split")
        check_passes(source.x, None if held_out is None else held_out.x, given)
        self._know_points(source)
        self.fitted = self.asked
        know_directions(given.get("callbacks"))
        self._know_steps(source, held_out, given)
        given["callbacks"] = with_callbacks(given.get("callbacks"), self._model.guard.callbacks)
        batch_size, shuffle = given.get("batch_size"), given.get("shuffle", True)
        as_asked = shuffle in (True, False) and not given.get("class_weight")
        train = test = None
        if as_asked and not given.get("steps_per_epoch"):
            train = self._rows_of(source, "train", batch_size, shuffle=shuffle)
        if held_out is not None:
            size = given["validation_batch_size"] = given.get("validation_batch_size") or batch_size
            if not given.get("validation_steps"):
                test = self._rows_of(held_out, "test", size)
        limits = [given.get("steps_per_epoch"), given.get("validation_steps")]
        num_train = num_batches(source, train, limits[0])
        num_test = None if held_out is None else num_batches(held_out, test, limits[1])
        with self._in_calls_of(given.get("callbacks"), limits, train), contextlib.ExitStack() as on:
            on.enter_context(device_of(self._model))
            given["x"], given["y"], given["sample_weight"] = source.for_keras()
            if train is not None:
                given |= {"x": on.enter_context(self._counted(train)), **_IN_ROWS}
            if train is not None or isinstance(source.x, tf.data.Dataset):
                given["shuffle"] = False  # Keras warns that it cannot shuffle a dataset.
            if held_out is not None:
                given["validation_data"] = held_out.for_keras()
            if test is not None:
                given["validation_data"] = (on.enter_context(self._counted(test)),)
            course = on.enter_context(self._on_course(given, source, train))
            self._have_counted(
                given, num_train, num_test, num_train, add_history=True, course=course
            )
            yield given

    @in_turn
    def evaluating(
        self, x: Any, y: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """Yields the arguments of `keras.Model.evaluate`; see `fitting`."""
        if kwargs.get("_use_cached_eval_dataset"):  # validation, which `fitting` has seen to
            yield {"x": x, "y": y, **kwargs}
            self._check_scored("val_")
            return
        given = by_name(keras.Model.evaluate, args, kwargs)
        source = Source.of(x, y, given.pop("sample_weight", None))
        self._check(source, "x")
        self._know_points(source, keeps=self.fitted is self.asked)
        check_end(source.x, "x", "steps", given)
        steps = given.get("steps")
        test = None if steps else self._rows_of(source, "test", given.get("batch_size"))
        with self._in_calls_of(given.get("callbacks"), [steps], test), contextlib.ExitStack() as on:
            on.enter_context(device_of(self._model))
            given["x"], given["y"], given["sample_weight"] = source.for_keras()
            if test is not None:
                given |= {"x": on.enter_context(self._counted(test)), **_IN_ROWS}
            counted = num_batches(source, test, steps)
            self._have_counted(given, None, counted, counted)
            yield given
            self._check_scored("")

    @contextlib.contextmanager
    def predicting(
        self, x: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """Yields the arguments of `keras.Model.predict`."""
        given, source = by_name(keras.Model.predict, args, kwargs), Source.of(x)
        self._check(source, "x")
        limits = [given.get("steps")]
        with self._in_calls_of(given.get("callbacks"), limits, None), device_of(self._model):
            yield {"x": source.x, **given}

    def over_rows(
        self,
        kind: str,
        make: Callable[[], Callable[..., Any]],
        loop_of: Callable[[str, tuple[int | None, ...]], Callable[..., Any]],
        logged: Callable[[], Mapping[str, Any]],
    ) -> Callable[..., Any]:
        """Returns what Keras is to call for some steps.

        Args:
            kind: "train" or "test".
            make: Has Keras make a function of data that comes batch by batch, for as many steps in
                a call as the model takes now.
            loop_of: From the kind and the shape `[K, B]` of some batches to a function of what
                `Rows.next` yields.
            logged: Returns what is logged of the pass so far.
        """
        streamed, alone = self.by_steps(make), self._model.distribute_strategy is NO_STRATEGY
        if alone and self._reads_rows[kind]:
            streamed = Batches(self._model, kind, loop_of)
        elif kind == "train" and strategy_of(self._model) is not None:
            streamed = one_by_one(self._model, streamed)
        latest: list[Any] = [None, None]
        if kind == "train":
            self._latest = latest

        @translated_errors()  # also where Keras takes a single batch
        def call(iterator: Any) -> Any:
            number, course = number_of(iterator), self._course
            if kind == "train":
                self._by_rows = number is not None
            done = 0 if course is None else course.take(kind, self._model.steps_per_execution)
            if number is None:
                stream = None if course is None or kind != "train" else course.keeper.stream
                is_new = kind == "train" and alone and not (course and course.only_reads)
                with batches_checked(self._model if is_new else None):
                    logs = take_steps(self._model, streamed, iterator, done, stream)
                return logged() if logs is None else logs
            if latest[0] is not iterator:  # a new pass
                rows = self._rows[number]
                rows.begin(None if course is None or kind != "train" else course.first_order)
                latest[:] = iterator, rows
            logs = None
            for batches, weights, count in latest[1].next(done):
                logs = loop_of(kind, tuple(batches["x"].shape[:2]))(batches, weights, count)
            return logged() if logs is None else logs

        return call

    def place(self) -> str:
        """Returns a sentence on the last batch of data in memory that was trained on, or none."""
        rows, count = self._latest[1], count_of(self._model, "loss")
        if rows is None or count is None or not self._by_rows:
            return ""
        batch = rows.batch_of(int(count))
        found = rows.rows_of(batch)
        shown = ", ".join(map(str, found[:5])) + (", ..." if len(found) > 5 else "")
        return f" It was batch {batch + 1} of the pass, of rows {shown}."

    def by_steps(self, make: Callable[[], Callable[..., Any]]) -> Callable[..., Any]:
        """Returns what `make` has Keras make, once for each number of steps that calls take."""
        made: dict[int, Callable[..., Any]] = {}

        @translated_errors()
        def call(data: Any) -> Any:
            steps = self._model.steps_per_execution
            if steps not in made:
                made[steps] = make()
            return made[steps](data)

        return call

    @contextlib.contextmanager
    def _on_course(
        self, given: dict[str, Any], source: Source, train: Rows | None
    ) -> Iterator[Course | None]:
        """Yields the course of a `fit` that is kept, which goes on from where an earlier stood."""
        keeper = keeper_among(given.get("callbacks"))
        if keeper is None:
            yield None
            return
        if train is None:
            check_order(source, given)
        keeper.stream = None
        if train is None and keeper.keeps_stream:
            keeper.stream = Stream(source.x, given.get("steps_per_epoch"))
        start = keeper.found(self._stream(given, keeper) if train is None else train.description)
        epochs = given.get("epochs", 1)
        if start is not None and (start.stopped or start.epoch >= epochs):
            given["initial_epoch"] = epochs
        elif start is not None and not (train is None and keeper.reads_again):
            given["initial_epoch"] = start.epoch
        order = (lambda: None) if train is None else (lambda: train.order_seed)
        model, before = self._model, self._course
        self._course = Course(keeper, start, order, model._step.prepare, model.guard.forget)
        try:
            with keeper.running():
                yield self._course
        finally:
            self._course = before

    def _stream(self, given: Mapping[str, Any], keeper: Keeper) -> dict[str, Any]:
        """What is known of data that Keras reads, as `Rows.description` says it of others."""
        asked, steps = given.get("steps_per_epoch"), self._model.steps_per_execution
        kept = {"keep_stream": True} if keeper.stream is not None else {}
        # Keras runs past a limit that is no multiple of the steps of a call.
        return {"stream": True, "steps_of_an_epoch": asked and -(-asked // steps) * steps, **kept}

    def _check(self, source: Source, name: str, class_weight: Any = None) -> None:
        self._model.check_data(source.x, name)
        source.check_labels(class_weight)
        if source.is_in_memory:
            source.check_rows()

    def _check_scored(self, prefix: str) -> None:
        old = self._course is not None and self._course.only_reads
        if self._reads_rows["test"] and not old and self._model.distribute_strategy is NO_STRATEGY:
            check_scored(self._model, prefix)

    def _know_points(self, source: Source, *, keeps: bool = False) -> None:
        """Has the model take its objective for data of so many points, or keep what knows some."""
        model = self._model
        if not model.compiled or (keeps and model.objective != self.asked):
            return
        found = self.asked.of_points(source.num_rows) if source.is_in_memory else self.asked
        if found != model.objective:
            model.objective = found
            model._step.follow(found)
            model.functions.forget()

    def _know_steps(self, source: Source, tests: Source | None, given: Mapping[str, Any]) -> None:
        """Has functions know whether there is so much to do that XLA pays, where that is known."""
        model, size = self._model, int(given.get("batch_size") or 32)
        rows = source.num_rows if source.is_in_memory else None
        steps = given.get("steps_per_epoch") or (None if rows is None else -(-rows // size))
        steps = steps or num_batches(source, None, None)
        if steps is None or not model.compiled or not model.built:
            return
        numbers = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
        steps *= int(given.get("epochs", 1))  # Not those that are left: resumed, it goes on alike.
        model.functions.expect(steps, numbers * size, tests is not None)

    def _rows_of(
        self, source: Source, kind: str, batch_size: Any, *, shuffle: bool = False
    ) -> Rows | None:
        """Returns passes over data in memory, None where Keras is to read it batch by batch."""
        model = self._model
        if (
            not (source.is_in_memory and model.compiled and self._reads_rows[kind])
            or model.distribute_strategy is not NO_STRATEGY
            or keras.config.max_steps_per_epoch()
        ):
            return None
        batch = model.data.whole_batch(model.data.named(source.x))
        size = sum(int(np.prod(part.shape)) * part.dtype.size for part in batch.values())
        if tf.config.list_logical_devices("GPU") and size > _DEVICE_BYTES:
            return None
        given = source.sample_weight
        weights = None if given is None else tf.reshape(given, [-1])
        size = 32 if batch_size is None else check_count("batch_size", batch_size)
        return Rows(batch, weights, size, model.make_seed if shuffle else None)

    @contextlib.contextmanager
    def _counted(self, rows: Rows) -> Iterator[tf.data.Dataset]:
        """Yields what Keras counts the batches of a pass by, and asks for their rows with."""
        number = next(self._numbers)
        rows.take(self._model.steps_per_execution)
        self._rows[number] = rows
        try:
            yield counted_by_keras(number, rows.num_batches)
        finally:
            del self._rows[number]

    @contextlib.contextmanager
    def _in_calls_of(
        self, callbacks: Any, limits: list[int | None], rows: Rows | None
    ) -> Iterator[None]:
        """Sets how many steps a call takes, within a call of Keras that may be made in another."""
        model = self._model
        if not model.compiled or not self.chooses_steps:
            yield
            return
        before, steps = model.steps_per_execution, 1
        if not model.run_eagerly:
            most = {} if rows is None else {"most": rows.batches_in_a_call(model.trainable_weights)}
            steps = steps_at_once(callbacks, limits, **most)
        model.steps_per_execution = steps
        try:
            yield
        finally:
            model.steps_per_execution = before

    def _have_counted(
        self,
        given: dict[str, Any],
        num_train: int | None,
        num_test: int | None,
        steps: int | None,
        *,
        add_history: bool = False,
        course: Course | None = None,
    ) -> None:
        """Has callbacks hear of as many steps as there are, and of what is not done yet."""
        callbacks, verbose = given.get("callbacks"), given.get("verbose", "auto")
        if (steps is None and course is None) or isinstance(
            callbacks, keras.callbacks.CallbackList
        ):
            return
        make: Any = CountedCallbacks
        if course is not None:
            first = given.get("initial_epoch", 0)
            make = functools.partial(CourseCallbacks, course=course, first_epoch=first)
        given["callbacks"] = make(
            callbacks,
            num_train=num_train,
            num_test=num_test,
            add_history=add_history,
            add_progbar=verbose != 0,
            verbose=verbose,
            epochs=given.get("epochs", 1),
            steps=steps,
            model=self._model,
        )
