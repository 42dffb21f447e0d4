"""The step: compile, fit, evaluate and predict of every model, on top of its `terms`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae._random import next_seed, stateless_seed
from tfvae._typing import Seed, Tensor
from tfvae.data.checks import translated_errors
from tfvae.data.row_checks import weighed_rows
from tfvae.data.spec import DataSpec
from tfvae.graph.description import describe
from tfvae.learning import Remedy, Scheme
from tfvae.objectives import Objective
from tfvae.terms import Terms
from tfvae.training.arguments import Arguments, shown_as
from tfvae.training.averages import averaged_weights
from tfvae.training.compilation import Functions
from tfvae.training.guard import Guard, check_finite, check_half
from tfvae.training.logs import Mean
from tfvae.training.placement import Placed, check_placement, in_scope
from tfvae.training.reading import Reader
from tfvae.training.replicas import check_rows
from tfvae.training.rows import Loop
from tfvae.training.step import INFORMATION, TERMS, Step

__all__ = ["Trainer"]


class Trainer(Placed):
    """Abstract Keras model that is trained by an objective of its `terms`.

    It reads what it is given (`Reader`) and takes a `Step` of each batch in compiled functions. Of
    the model it asks for `data`, `graph`, `encode`, `decode` and `terms`.

    Args:
        seed: See `LatentVariableModel`.
        **kwargs: See `LatentVariableModel`.

    Attributes:
        guard: Watches that all stays finite.
    """

    data: DataSpec
    graph: Any
    objective: Objective
    scheme: Scheme

    def __init__(self, *, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.functions = Functions(self)
        self._step = Step(self)
        self.guard = Guard(self)
        self._reader = Reader(
            self,
            # What a subclass of the user's own does in a step, it does batch by batch.
            {
                "train": type(self).train_step is Trainer.train_step,
                "test": type(self).test_step is Trainer.test_step,
            },
        )
        self._track(*TERMS, *INFORMATION)

    # What a model has to say.

    def encode(self, x: Tensor, context: Tensor | None = None, *, training: bool = False) -> Any:
        """Returns q(z|x), batch shape `[B]`."""
        raise NotImplementedError

    def terms(self, x: Tensor, num_samples: int = 1, seed: Seed = None, **settings: Any) -> Terms:
        """Returns the scores of `x` at draws of z."""
        raise NotImplementedError

    def decode(self, z: Tensor, context: Tensor | None = None, *, training: bool = False) -> Any:
        """Returns p(x|z), batch shape `[B]`."""
        raise NotImplementedError

    def _check_objective(self, objective: Objective) -> None:
        """Checks that gradients of an objective can come to the encoder."""
        raise NotImplementedError

    def _build_from(self, parts: Mapping[str, Any]) -> None:
        """Builds the model, where that had to wait for data."""
        raise NotImplementedError

    def _track(self, *names: str) -> None:
        for name in names:
            setattr(self, f"_{name}_tracker", Mean(name=name))

    @property
    def objective_state(self) -> dict[str, Tensor]:
        """What the objective changes from step to step, such as a multiplier, by name."""
        return self._step.objective_state.read()

    @property
    def scheme_state(self) -> dict[str, Tensor]:
        """What the learning scheme changes from step to step, by name."""
        return self._step.scheme_state.read()

    @property
    def variables(self) -> list[Any]:
        """All variables: weights, seeds, and what objective, scheme and guard count."""
        step = self._step
        return [*super().variables, *step.objective_state, *step.scheme_state, *step.skips]

    @property
    def metrics(self) -> list[Any]:
        """The trackers of all that is logged."""
        left_out = () if self.graph.compares_pairs else INFORMATION
        own = [metric for metric in super().metrics if metric.name not in left_out]
        return [*own, *self._step.scheme_state.trackers.values()]

    def make_seed(self, seed: Seed = None) -> Tensor:
        """Returns `seed` as an int32 pair; None advances the model's seed generator."""
        return next_seed(self.seed_generator) if seed is None else stateless_seed(seed)

    # Training.

    @in_scope
    def compile(
        self,
        optimizer: Any = "adam",
        objective: Objective | None = None,
        *,
        scheme: Scheme | None = None,
        when_not_finite: Remedy | None = None,
        run_eagerly: bool = False,
        steps_per_execution: int | str = "auto",
        jit_compile: bool | str = "auto",
        auto_scale_loss: bool = True,
        **unsupported: Any,
    ) -> None:
        """Sets optimizer, objective and learning scheme.

        Args:
            optimizer: Keras optimizer, by name or as an object. One with `use_ema=True` keeps
                moving averages of the weights, which `evaluate` and validation score and `fit`
                leaves in their place at its end.
            objective: What is maximised; by default `tfvae.objectives.ELBO()`.
            scheme: Which weights a batch updates, and by what; by default all, by the objective:
                `tfvae.learning.Joint()`.
            when_not_finite: What follows where a loss, a gradient or a weight is not finite: by
                default training ends, `tfvae.learning.Raise()`; see `Skip` and `GoBack`.
            run_eagerly: Runs steps without `tf.function`, for debugging.
            steps_per_execution: Updates per call of the compiled function: callbacks for batches
                run between such calls. "auto" makes several at once, which takes less time, where
                no callback asks for batches.
            jit_compile: True compiles the steps with XLA, False does not, "auto" from the
                call of `fit` on whose steps, with those of calls before, are so many that it pays,
                where all parts allow it; it warns once where one does not.
            auto_scale_loss: As in `keras.Model.compile`.
            **unsupported: Caught, to explain what to pass instead.

        Raises:
            TypeError: `objective` is no objective, `scheme` no scheme, `when_not_finite` no remedy,
                or an argument such as `loss` is not for this kind of model.
            ValueError: An argument is none that can be taken, the model cannot be trained on the
                devices that it was made for, the gradients of `objective` cannot come to the
                parameters of the posterior, or `scheme` cannot train this model; of one that is not
                built yet the first step says so.
        """
        # All that can fail comes before all that changes: a model stays as it was compiled before.
        given = Arguments.of(
            optimizer,
            objective,
            scheme,
            when_not_finite,
            unsupported,
            steps_per_execution,
            jit_compile,
        )
        optimizer, objective, scheme, remedy = given
        check_placement(self, optimizer, scheme, jit_compile)
        if self.built:
            self._check_objective(objective)
            scheme.check(self, objective)
            check_rows(self, objective)
            if not optimizer.built:
                # A file of a model not fitted yet has to hold what a loaded one expects.
                optimizer.build(self.trainable_variables)
        # Not by Keras: checks of data have to run outside of XLA, which drops assertions.
        super().compile(
            optimizer=optimizer,
            run_eagerly=run_eagerly,
            steps_per_execution=1 if steps_per_execution == "auto" else steps_per_execution,
            jit_compile=False,
            auto_scale_loss=auto_scale_loss,
        )
        self.objective, self.scheme = objective, scheme
        self._reader.asked, self._reader.fitted = objective, None
        self._step = Step(self, objective, scheme, scheme_is_checked=self.built, skips=given.skips)
        self.guard = Guard(self, remedy)
        self._compile_arguments = {
            "when_not_finite": keras.saving.serialize_keras_object(remedy),
            "run_eagerly": run_eagerly,
            "steps_per_execution": steps_per_execution,
            "jit_compile": jit_compile,
            "auto_scale_loss": auto_scale_loss,
        }
        self._reader.chooses_steps = steps_per_execution == "auto"
        self.functions = Functions(self, jit_compile, run_eagerly)
        self.functions.forget()
        if self.built and not self.optimizer.built:  # Keras has put one that scales around it
            self.optimizer.build(self.trainable_variables)

    def get_compile_config(self) -> dict[str, Any]:
        """Returns the arguments of `compile` as plain data."""
        if not self.compiled:
            return {}
        optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        return {
            "optimizer": keras.saving.serialize_keras_object(optimizer),
            "objective": keras.saving.serialize_keras_object(self._reader.asked),
            "scheme": keras.saving.serialize_keras_object(self.scheme),
            **self._compile_arguments,
            "xla_pays": [self.functions.pays, self.functions.steps],
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles with the output of `get_compile_config`; training goes on as it was."""
        config = dict(config)
        pays, steps = config.pop("xla_pays", (None, 0))
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.functions.pays, self.functions.steps = pays, steps

    @shown_as(keras.Model.fit)
    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Trains as `keras.Model.fit` does, on `x` alone: labels in `(x, y)` are ignored.

        Args:
            x: Array `[N, ...]`, `{"x": x, "context": c}` for a model of p(x|c), a tuple
                `(x, y, sample_weight)` or shorter, `tf.data.Dataset` or `keras.utils.PyDataset`.
            y: Ignored.
            *args: As in `keras.Model.fit`.
            **kwargs: As in `keras.Model.fit`; `validation_data` may be `(x,)`.

        Returns:
            `keras.callbacks.History`.

        Raises:
            ValueError: The data is empty, of a wrong shape, NaN or infinite, or outside of the
                likelihood's support; no weight has changed by the batch that holds it. Or the
                model has nothing to train.
            FloatingPointError: The loss is not finite, or a weight, and `when_not_finite` has no
                other remedy; the weights are those of at most 200 updates before, or of the call
                that makes more at once.
        """
        with translated_errors(), self._reader.fitting(x, y, args, kwargs) as given:
            if self.built and self.compiled:
                self._step.prepare()
            with self.guard:
                return super().fit(**given)

    @shown_as(keras.Model.evaluate)
    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Returns the logged values on data, as `keras.Model.evaluate` does.

        Every call draws the same noise, from the model's `seed`. Where the optimizer keeps moving
        averages of the weights (`use_ema=True`), they stand in for these, in validation too.

        Raises:
            ValueError: The data is not what the model is for, or a weight is not finite.
        """
        averaged = averaged_weights(getattr(self, "optimizer", None))
        with translated_errors(), self._reader.evaluating(x, y, args, kwargs) as given, averaged:
            if self.built and "_use_cached_eval_dataset" not in kwargs:
                check_finite(self, "Scores")
            return super().evaluate(**given)

    @shown_as(keras.Model.predict)
    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Returns arrays `[N, ...]` by name, see `tfvae.graph.description.describe`."""
        with translated_errors(), self._reader.predicting(x, args, kwargs) as given:
            return super().predict(**given)

    def make_train_function(self, force: bool = False) -> None:
        """Has Keras call a loop over rows where data is in memory, and watches what it returns."""
        if self.train_function is None or force:
            make = self._made_by(super().make_train_function, "train_function")
            steps = self._reader.over_rows("train", make, self._loop, self._logged)
            self.train_function = lambda iterator: self.guard.watched(lambda: steps(iterator))

    def make_test_function(self, force: bool = False) -> None:
        """Has Keras call a loop over rows where data is in memory."""
        if self.test_function is None or force:
            make = self._made_by(super().make_test_function, "test_function")
            self.test_function = self._reader.over_rows("test", make, self._loop, self._logged)

    def make_predict_function(self, force: bool = False) -> None:
        """Has Keras make one function for each number of steps in a call."""
        if self.predict_function is None or force:
            make = self._made_by(super().make_predict_function, "predict_function")
            self.predict_function = self._reader.by_steps(make)

    def train_step(self, data: Any) -> dict[str, Tensor]:
        """Checks one batch, then updates the weights by it; returns what is logged."""
        return self._run_checked(self.functions("train", lambda: self._loop_of("train").once), data)

    def test_step(self, data: Any) -> dict[str, Tensor]:
        """Checks and scores one batch; returns what is logged."""
        return self._run_checked(self.functions("test", lambda: self._loop_of("test").once), data)

    def predict_step(self, data: Any) -> dict[str, Tensor]:
        """Checks one batch and describes its posteriors; draws nothing at random."""
        return self._run_checked(lambda batch, _: describe(self, batch), data)

    def save_own_variables(self, store: dict[str, Any]) -> None:
        """Stores the state of seed generators, objective and scheme, to go on from there."""
        super().save_own_variables(store)
        for index, state in enumerate(self._seed_states()):
            store[f"seed_generator_{index}"] = state
        self._step.objective_state.save(store)
        self._step.scheme_state.save(store)

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Restores what `save_own_variables` stored."""
        store = {name: store[name] for name in store.keys()}  # noqa: SIM118  no plain mapping
        for index, state in enumerate(self._seed_states()):
            state.assign(store.pop(f"seed_generator_{index}"))
        self._step.objective_state.load(store)
        self._step.scheme_state.load(store)
        super().load_own_variables(store)

    def check_data(self, x: Any, name: str) -> None:
        """Checks an array as a whole; datasets pass, whose batches are checked as they come.

        Raises:
            ValueError: `x` is missing, empty, of a wrong shape, not numeric, holds NaN or infinite
                values, or values that the likelihood cannot produce.
        """
        if x is None:
            raise ValueError(f"`{name}` is missing. Expected an array or a dataset.")
        if isinstance(x, list):
            raise ValueError(
                f"`{name}` must be an array or a dataset. Received: a list of {len(x)}. "
                "Make an array of it: `numpy.asarray(...)`."
            )
        if isinstance(x, tf.data.Dataset) and int(x.cardinality()) == 0:
            raise ValueError(f"`{name}` is empty. Expected a dataset of at least one batch.")
        if not isinstance(x, Mapping) and not hasattr(x, "__array__"):
            return
        parts = {key: np.asarray(part) for key, part in self.data.named(x).items()}
        self._build_from(parts)
        self.data.check_arrays(parts, name)
        check_half(self, parts, name)

    def _made_by(self, make: Callable[..., None], name: str) -> Callable[[], Callable[..., Any]]:
        """Returns what Keras sets as an attribute, without setting it."""

        def made() -> Callable[..., Any]:
            before = getattr(self, name)
            make(force=True)
            found = getattr(self, name)
            setattr(self, name, before)
            return found

        return made

    def _loop(self, kind: str, shape: tuple[int | None, ...]) -> Callable[..., Any]:
        """Returns the function of some batches `[K, B]`: one for each shape, all sizes known."""
        return self.functions((kind, shape), lambda: self._loop_of(kind))

    def _loop_of(self, kind: str) -> Loop:
        step = self._step
        if kind == "train":
            return Loop(step.update, step.logs.begin, self._results, step.logs.are_finite)
        return Loop(step.score, step.logs.begin, self._test_results)

    def _results(self, sums: Tensor) -> dict[str, Tensor]:
        """Returns what is logged of the pass so far."""
        self._step.logs.end(sums)
        return self._logged()

    def _logged(self) -> dict[str, Tensor]:
        return {**self.get_metrics_result(), **self._step.state_logs}

    def _test_results(self, sums: Tensor) -> dict[str, Tensor]:
        trackers = self._step.scheme_state.trackers
        return {name: v for name, v in self._results(sums).items() if name not in trackers}

    def _seed_states(self) -> list[Any]:
        # Keras stores neither those of a model nor those of dropout layers within it.
        return [variable for variable in self.variables if variable.name == "seed_generator_state"]

    def _run_checked(self, step: Callable[[dict[str, Tensor], Any], Any], data: Any) -> Any:
        """Calls `step(batch, sample_weight)`, nothing of which runs before its data is checked."""
        x, _, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        parts = {name: tf.convert_to_tensor(part) for name, part in self.data.named(x).items()}
        self._build_from(parts)
        batch, checks = self.data.checked_batch(parts)
        # Not only what reads `x` has to wait: weight decay and counters change without it.
        with tf.control_dependencies([*checks, *weighed_rows(batch["x"], sample_weight)]):
            return step(batch, sample_weight)
