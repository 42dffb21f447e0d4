"""The step: compile, fit, evaluate and predict of every model, on top of its `terms`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae._config import check_count
from tfvae._random import fold_in, next_seed, stateless_seed
from tfvae._typing import Seed, Tensor
from tfvae.data.checks import translated_errors, unpacked
from tfvae.data.spec import DataSpec
from tfvae.learning import Joint, Scheme, Update
from tfvae.objectives import ELBO, Objective
from tfvae.objectives.base import call_objective, next_state_of
from tfvae.terms import Terms
from tfvae.training.averages import averaged_weights
from tfvae.training.compilation import Compiler, steps_at_once, together
from tfvae.training.states import ObjectiveState, SchemeState

__all__ = ["Trainer"]

# What every model logs of a pass, and what only those log of which a batch can tell it.
_TERMS = ("elbo", "distortion", "rate")
_INFORMATION = ("mutual_information", "marginal_kl")


class Trainer(keras.Model):
    """Abstract Keras model that is trained by an objective of its `terms`.

    It holds the states of objective and scheme, the compiled functions and what is logged. Of the
    model it asks for `data`, `encode`, `terms` and `describe`, the names of its rates, and whether
    the posteriors of a batch can be compared.

    Args:
        seed: See `LatentVariableModel`.
        **kwargs: See `LatentVariableModel`.

    Attributes:
        data: What comes in.
        objective: The objective set by `compile`.
        scheme: The learning scheme set by `compile`.
        rate_names: Of a model of several latents, what the rates of each are logged as.
    """

    data: DataSpec
    objective: Objective
    scheme: Scheme
    rate_names: tuple[str, ...] = ()

    def __init__(self, *, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self._compiler = Compiler()
        self._objective_state = ObjectiveState()
        self._scheme_state = SchemeState()
        self._functions: dict[Any, Callable[..., Any]] = {}
        self._track(*_TERMS, *_INFORMATION)

    # What a model has to say.

    def encode(self, x: Tensor, context: Tensor | None = None, *, training: bool = False) -> Any:
        """Returns q(z|x), batch shape `[B]`."""
        raise NotImplementedError

    def terms(self, x: Tensor, num_samples: int = 1, seed: Seed = None, **settings: Any) -> Terms:
        """Returns the scores of `x` at draws of z."""
        raise NotImplementedError

    def describe(self, x: Tensor, context: Tensor | None = None) -> dict[str, Tensor]:
        """Returns what `predict` gives, each `[B, ...]`."""
        raise NotImplementedError

    def check_objective(self, objective: Objective) -> None:
        """Checks that gradients of an objective can come to the encoder."""
        raise NotImplementedError

    def build_from(self, parts: Mapping[str, Any]) -> None:
        """Builds the model, where that had to wait for data."""
        raise NotImplementedError

    @property
    def logs_information(self) -> bool:
        """Whether the mutual information within the batch is logged."""
        raise NotImplementedError

    # What it does with that.

    def _track(self, *names: str) -> None:
        for name in names:
            setattr(self, f"_{name}_tracker", keras.metrics.Mean(name=name))

    @property
    def objective_state(self) -> dict[str, Tensor]:
        """What the objective changes from step to step, such as a multiplier, by name."""
        return self._objective_state.read()

    @property
    def scheme_state(self) -> dict[str, Tensor]:
        """What the learning scheme changes from step to step, by name."""
        return self._scheme_state.read()

    @property
    def variables(self) -> list[Any]:
        """All variables: weights, seeds, and the states of objective and scheme."""
        return [*super().variables, *self._objective_state, *self._scheme_state]

    @property
    def metrics(self) -> list[Any]:
        """The trackers of all that is logged."""
        left_out = () if self.logs_information else _INFORMATION
        own = [metric for metric in super().metrics if metric.name not in left_out]
        return [*own, *self._scheme_state.trackers.values()]

    def make_seed(self, seed: Seed = None) -> Tensor:
        """Returns `seed` as an int32 pair; None advances the model's seed generator."""
        return next_seed(self.seed_generator) if seed is None else stateless_seed(seed)

    # Training.

    def compile(
        self,
        optimizer: Any = "adam",
        objective: Objective | None = None,
        *,
        scheme: Scheme | None = None,
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
            run_eagerly: Runs steps without `tf.function`, for debugging.
            steps_per_execution: Updates per call of the compiled function: callbacks for batches
                run between such calls. "auto" makes several at once, which takes less time, where
                no callback asks for batches.
            jit_compile: True compiles the steps with XLA, False does not, "auto" compiles where
                all parts allow it and warns once where one does not.
            auto_scale_loss: As in `keras.Model.compile`.
            **unsupported: Caught, to explain what to pass instead.

        Raises:
            TypeError: `objective` is no objective, `scheme` no scheme, or an argument such as
                `loss` is not for this kind of model.
            ValueError: An argument is none that can be taken, the gradients of `objective` cannot
                come to the parameters of the posterior, or `scheme` cannot train this model; of a
                model that is not built yet the first step says so. The model stays as it was.
        """
        if unsupported:
            raise TypeError(
                f"`compile` of a latent variable model does not take {', '.join(unsupported)}. "
                "The loss is minus the objective: pass `objective=tfvae.objectives.ELBO()`. The "
                "ELBO and its terms are logged without metrics."
            )
        objective = ELBO() if objective is None else objective
        if not isinstance(objective, Objective):
            raise TypeError(
                "`objective` must be an object of `tfvae.objectives`, such as `ELBO(beta=4.0)`. "
                f"Received: objective={objective!r}"
            )
        scheme = Joint() if scheme is None else scheme
        if not isinstance(scheme, Scheme):
            raise TypeError(
                "`scheme` must be an object of `tfvae.learning`, such as `Alternating(5)`. "
                f"Received: scheme={scheme!r}"
            )
        if steps_per_execution != "auto":
            check_count("steps_per_execution", steps_per_execution)
        if jit_compile not in (True, False, "auto"):
            raise ValueError(
                f'`jit_compile` must be True, False or "auto". Received: {jit_compile!r}'
            )
        # All that can fail comes before all that changes: a model stays as it was compiled before.
        optimizer = keras.optimizers.get(optimizer)
        scheme.check_optimizer(getattr(optimizer, "inner_optimizer", optimizer))
        if self.built:
            self.check_objective(objective)
            scheme.check(self, objective)
            if not optimizer.built:
                # A file of a model that was not fitted yet has to hold what a loaded one expects.
                optimizer.build(self.trainable_variables)
        # The steps are compiled here and not by Keras: checks of the data have to run outside of
        # XLA, which drops assertions, and before any weight changes.
        super().compile(
            optimizer=optimizer,
            run_eagerly=run_eagerly,
            steps_per_execution=1 if steps_per_execution == "auto" else steps_per_execution,
            jit_compile=False,
            auto_scale_loss=auto_scale_loss,
        )
        self._scheme_is_checked = self.built
        self.objective, self.scheme = objective, scheme
        self._objective_state = ObjectiveState(objective)
        self._scheme_state = SchemeState(scheme)
        self._compile_arguments = {
            "run_eagerly": run_eagerly,
            "steps_per_execution": steps_per_execution,
            "jit_compile": jit_compile,
            "auto_scale_loss": auto_scale_loss,
        }
        self._compiler = Compiler(jit_compile, run_eagerly)
        self.forget_functions()
        if self.built and not self.optimizer.built:  # Keras has put one that scales around it
            self.optimizer.build(self.trainable_variables)

    # What schemes are made of.

    def climb(
        self, weights: list[Any], batch: dict[str, Tensor], sample_weight: Tensor | None = None
    ) -> Update:
        """Updates `weights` by one step up the objective on a batch.

        Args:
            weights: Some of `trainable_weights`, or all.
            batch: `x` `[B, ...]`, and `context` for a model with one.
            sample_weight: `[B]`, or None.
        """
        with tf.GradientTape() as tape:
            loss, terms = self.scored(batch, sample_weight, training=True)
            scaled_loss = self.optimizer.scale_loss(loss)
        return self.concluded(loss, terms, tape.gradient(scaled_loss, weights), weights)

    def scored(
        self,
        batch: dict[str, Tensor],
        sample_weight: Tensor | None = None,
        *,
        seed: Tensor | None = None,
        training: bool = False,
    ) -> tuple[Tensor, Terms]:
        """Returns the loss on a batch, a scalar, and the scores behind it.

        Args:
            batch: `x` `[B, ...]`, and `context` for a model with one.
            sample_weight: `[B]`, or None.
            seed: Int32 pair `[2]`; None advances the model's seed generator.
            training: Whether layers run in training mode.
        """
        objective = self.objective
        terms = self.terms(
            num_samples=objective.num_samples,
            seed=seed,
            posterior=self.scheme.posterior(self, batch, seed, training=training),
            objective=objective,
            training=training,
            **batch,
        )
        bound = self.bound(terms)
        if sample_weight is not None:
            bound = bound * tf.cast(tf.reshape(sample_weight, [-1]), bound.dtype)
        loss = -tf.reduce_mean(bound)
        for extra in self.losses:
            loss += tf.cast(extra, loss.dtype)
        return loss, terms

    def bound(self, terms: Terms) -> Tensor:
        """Returns the objective `[B]`, nats, as schedules and its state have it now."""
        state = self._objective_state.read()
        return call_objective(self.objective, terms, self.optimizer.iterations, state)

    def concluded(
        self, loss: Tensor, terms: Terms, gradients: list[Any], weights: list[Any], **values: Tensor
    ) -> Update:
        """Applies gradients and returns what is left of the update.

        Args:
            loss: As `scored` returns it.
            terms: The same.
            gradients: Of the scaled loss, one for each weight; None for none.
            weights: What they are the gradients of.
            **values: What is logged beside what every model logs, `[B]`.
        """
        step = tf.identity(self.optimizer.iterations)
        self.optimizer.apply_gradients(zip(together(gradients), weights, strict=True))
        state = next_state_of(self.objective, self._objective_state.read(), terms, step, -loss)
        return Update(loss, {**self._logged(terms), **values}, state)

    def get_compile_config(self) -> dict[str, Any]:
        """Returns the arguments of `compile` as plain data."""
        if not self.compiled:
            return {}
        optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        return {
            "optimizer": keras.saving.serialize_keras_object(optimizer),
            "objective": keras.saving.serialize_keras_object(self.objective),
            "scheme": keras.saving.serialize_keras_object(self.scheme),
            **self._compile_arguments,
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles with the output of `get_compile_config`."""
        self.compile(**keras.saving.deserialize_keras_object(config))

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
        """
        x, y = unpacked(x, y, kwargs)
        self.check_data(x, "x")
        validation = kwargs.get("validation_data")
        if isinstance(validation, (tuple, list)):
            weights: dict[str, Any] = {}
            validation, labels = unpacked(tuple(validation), None, weights)
            kwargs["validation_data"] = (validation, labels, weights.get("sample_weight"))
        if validation is not None:
            self.check_data(validation, "validation_data")
        if isinstance(x, tf.data.Dataset) and not args:
            kwargs.setdefault("shuffle", False)  # Keras warns that it cannot shuffle a dataset.
        if self.built and self.compiled:
            self._check_trainable()
            if not self.optimizer.built:
                # Made while a step is traced, its variables have it traced a second time.
                self.optimizer.build(self.trainable_variables)
        limits = [kwargs.get("steps_per_epoch"), kwargs.get("validation_steps")]
        self._set_steps_per_execution(kwargs.get("callbacks"), limits if not args else [1])
        with translated_errors():
            return super().fit(x, y, *args, **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Returns the logged values on data, as `keras.Model.evaluate` does.

        Every call draws the same noise, from the model's `seed`. Where the optimizer keeps moving
        averages of the weights (`use_ema=True`), they stand in for these, in validation too.
        """
        x, y = unpacked(x, y, kwargs)
        if not kwargs.get("_use_cached_eval_dataset"):  # else validation data, which `fit` checked
            self.check_data(x, "x")
            limits = [kwargs.get("steps")] if not args else [1]
            self._set_steps_per_execution(kwargs.get("callbacks"), limits)
        with translated_errors(), averaged_weights(getattr(self, "optimizer", None)):
            return super().evaluate(x, y, *args, **kwargs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Returns a dict of arrays: `z_mean`, `z_stddev` and `reconstruction` `[N, ...]`."""
        x, _ = unpacked(x, None, {})
        self.check_data(x, "x")
        limits = [kwargs.get("steps")] if not args else [1]
        self._set_steps_per_execution(kwargs.get("callbacks"), limits)
        with translated_errors():
            return super().predict(x, *args, **kwargs)

    def train_step(self, data: Any) -> dict[str, Tensor]:
        """Checks one batch, then updates the weights by it; returns what is logged."""
        step = self.compiled_function("train", lambda: self._update)
        return self._run_checked(step, data)

    def test_step(self, data: Any) -> dict[str, Tensor]:
        """Checks and scores one batch; returns what is logged."""
        step = self.compiled_function("test", lambda: self._score)
        return self._run_checked(step, data)

    def predict_step(self, data: Any) -> dict[str, Tensor]:
        """Checks one batch and describes its posteriors; draws nothing at random."""
        return self._run_checked(lambda batch, _: self.describe(**batch), data)

    def save_own_variables(self, store: dict[str, Any]) -> None:
        """Stores the state of seed generators, objective and scheme, to go on from there."""
        super().save_own_variables(store)
        for index, state in enumerate(self._seed_states()):
            store[f"seed_generator_{index}"] = state
        self._objective_state.save(store)
        self._scheme_state.save(store)

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Restores what `save_own_variables` stored."""
        store = {name: store[name] for name in store.keys()}  # noqa: SIM118  no plain mapping
        for index, state in enumerate(self._seed_states()):
            state.assign(store.pop(f"seed_generator_{index}"))
        self._objective_state.load(store)
        self._scheme_state.load(store)
        super().load_own_variables(store)

    def check_data(self, x: Any, name: str) -> None:
        """Checks an array as a whole, before anything is computed from it.

        Datasets pass: their batches are checked one by one, as they come.

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
        self.build_from(parts)
        self.data.check_arrays(parts, name)

    def compiled_function(
        self, key: Any, make: Callable[[], Callable[..., Any]]
    ) -> Callable[..., Any]:
        """Returns the function made by `make`, compiled as `compile` says, once per `key`."""
        found = self._functions.get(key)
        if found is None:
            layers = self._flatten_layers(include_self=False)
            # Of several threads all get the function of the first.
            found = self._functions.setdefault(key, self._compiler(make(), layers))
        return found

    def forget_functions(self) -> None:
        """Has all be compiled anew: for those who change parts, which compiled functions hold."""
        self._functions = {}
        self.train_function = self.test_function = self.predict_function = None

    # Private.

    def _set_steps_per_execution(self, callbacks: Any, limits: list[int | None]) -> None:
        if not self.compiled or self._compile_arguments["steps_per_execution"] != "auto":
            return
        steps = 1 if self.run_eagerly else steps_at_once(callbacks, limits)
        if steps != self.steps_per_execution:
            self.steps_per_execution = steps
            self.train_function = self.test_function = self.predict_function = None

    def _seed_states(self) -> list[Any]:
        # Keras stores neither those of a model nor those of dropout layers within it.
        return [variable for variable in self.variables if variable.name == "seed_generator_state"]

    def _update(self, batch: dict[str, Tensor], sample_weight: Tensor | None) -> dict[str, Tensor]:
        self._check_trainable()
        if not self.optimizer.built:
            # Before a scheme updates some of the weights alone: the optimizer would know no others.
            self.optimizer.build(self.trainable_variables)
        if not self._scheme_is_checked:
            self.scheme.check(self, self.objective)
            self._scheme_is_checked = True
        state = self._scheme_state.read()
        update, state = self.scheme.update(self, batch, sample_weight, state)
        self._objective_state.assign(update.objective_state)
        self._scheme_state.assign(state)
        size = tf.shape(batch["x"])[0]
        return self._log(update.loss, update.values, size, sample_weight, self._scheme_state)

    def _score(self, batch: dict[str, Tensor], sample_weight: Tensor | None) -> dict[str, Tensor]:
        # Each pass over the data draws the same noise, told apart by the points seen so far: epochs
        # can be compared, and validation does not change what training draws.
        seed = fold_in(stateless_seed(self.seed or 0), self._loss_tracker.count)
        loss, terms = self.scored(batch, sample_weight, seed=seed)
        return self._log(loss, self._logged(terms), tf.shape(batch["x"])[0], sample_weight)

    def _log(
        self,
        loss: Tensor,
        values: dict[str, Tensor],
        size: Tensor,
        sample_weight: Tensor | None,
        scheme: SchemeState | None = None,
    ) -> dict[str, Tensor]:
        if sample_weight is not None:
            sample_weight = tf.reshape(sample_weight, [-1])
        self._loss_tracker.update_state(loss, sample_weight=size)
        trackers = self._scheme_state.trackers
        for name, value in values.items():
            tracker = trackers.get(name) or getattr(self, f"_{name}_tracker")
            tracker.update_state(value, sample_weight=sample_weight)
        results = self.get_metrics_result()
        if scheme is None:
            results = {name: value for name, value in results.items() if name not in trackers}
        return {**results, **self._objective_state.logged(), **self._scheme_state.logged()}

    def _logged(self, terms: Terms) -> dict[str, Tensor]:
        """Returns what is logged of a pass beside the loss, by name, each `[B]`."""
        values = {"elbo": terms.elbo, "distortion": terms.distortion, "rate": terms.rate}
        if self.logs_information:
            information = terms.batch_mutual_information
            values |= {"mutual_information": information, "marginal_kl": terms.rate - information}
        if terms.level_rates is not None:
            rates = tf.unstack(terms.level_rates, axis=-1)
            values |= dict(zip(self.rate_names, rates, strict=True))
        return values

    def _check_trainable(self) -> None:
        if not self.trainable_weights:
            raise ValueError(
                "This model has no weights that can be trained: all of its parts are frozen, or "
                f"have none. Received: {type(self).__name__} '{self.name}' with "
                f"{len(self.weights)} weights. Set `trainable = True` on what is to learn, and "
                "call `compile` again."
            )

    def _run_checked(self, step: Callable[[dict[str, Tensor], Any], Any], data: Any) -> Any:
        """Calls `step(batch, sample_weight)`, nothing of which runs before its data is checked."""
        x, _, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        parts = {name: tf.convert_to_tensor(part) for name, part in self.data.named(x).items()}
        self.build_from(parts)
        batch, checks = self.data.checked_batch(parts)
        # Not only what reads `x` has to wait: weight decay and counters change without it.
        with tf.control_dependencies(checks):
            return step(batch, sample_weight)
