"""The base of all models: fit, evaluate, predict, save and export on top of `terms`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae._config import check_count
from tfvae._random import fold_in, next_seed, stateless_seed
from tfvae._tracing import outputs_of
from tfvae._typing import Distribution, Seed, Shape, Tensor, event_tuple
from tfvae.data.checks import check_context, check_event_shape, translated_errors, unpacked
from tfvae.data.spec import CONTEXT, DataSpec
from tfvae.distributions.finite import num_states
from tfvae.distributions.labelled import Labelled
from tfvae.distributions.statistics import centre, probabilities, statistic
from tfvae.distributions.support import Support
from tfvae.graph.graph import Graph
from tfvae.learning import Joint, Scheme, Update
from tfvae.models.averages import averaged_weights
from tfvae.models.compilation import Compiler, steps_at_once, together
from tfvae.models.export import export_saved_model
from tfvae.models.objective_state import ObjectiveState, SchemeState
from tfvae.objectives import ELBO, Objective
from tfvae.objectives.base import call_objective, next_state_of
from tfvae.terms import Terms

__all__ = ["LatentVariableModel"]

# What every model logs of a pass, and what only those log of which a batch can tell it.
_TERMS = ("elbo", "distortion", "rate")
_INFORMATION = ("mutual_information", "marginal_kl")


class LatentVariableModel(keras.Model):
    """Abstract model p(x) = E_p(z) p(x|z) with an approximate posterior q(z|x).

    A subclass is a constructor: it makes the `Graph` of its factors, which draws and scores, and
    hands it to `_set_graph`. Data, training, evaluation, prediction, saving and export are the same
    for all.

    A model of p(x|c) takes its data as `{"x": x, "context": c}` wherever data is one argument
    (`fit`, `evaluate`, `predict`, evaluations), and as `context=` beside `x` elsewhere.

    Logged for training and validation, each a mean over data points in nats:

        elbo = -(distortion + rate)                       never weighted
        rate = mutual_information + marginal_kl           estimates within the batch
        loss = -objective, plus the losses of layers      what is minimised

    and what objective and scheme change from step to step, as it stands (`objective_state`,
    `scheme_state`). Of a context c that encoder or decoder read, but not the prior, the mutual
    information is I[(x, c); z]. A prior p(z|c) is to be compared with q(z|c), which takes several
    points of each c: the last line but one is then left out, and `tfvae.decompose` has it.

    Args:
        seed: Seed of all draws of this model; None takes one from Python's generator, which
            `keras.utils.set_random_seed` sets.
        **kwargs: `name`, `dtype` and the other arguments of `keras.Model`.

    Attributes:
        objective: The objective set by `compile`.
        scheme: The learning scheme set by `compile`.
        data_dtype: Type of the numbers that the encoder takes.
        prior: The prior p(z), a `tfvae.priors.Prior`.
        event_shape: Shape of one example of x.
        latent_shape: Shape of one latent, `E`.
        context_shape: Shape of the context of one example, None for a model without.
        rate_names: Of a model of several latents, what the rates of each are logged as.
        support: The values that the likelihood can produce.
    """

    graph: Graph
    data: DataSpec
    objective: Objective
    scheme: Scheme
    # Whether predictions and draws tell latent nodes apart, or are of one z.
    _tells_latents_apart: bool = False

    def __init__(self, *, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self._compiler = Compiler()
        self._objective_state = ObjectiveState()
        self._scheme_state = SchemeState()
        self._functions: dict[Any, Callable[..., Any]] = {}
        self._is_building = False
        for name in (*_TERMS, *_INFORMATION):
            setattr(self, f"_{name}_tracker", keras.metrics.Mean(name=name))

    def _set_graph(self, graph: Graph) -> None:
        """Takes the factors of the model, and builds it where they tell all shapes of the data."""
        self.graph = graph
        self.data = DataSpec(graph.observed, graph.partly_observed, graph.reads_context)
        for name in graph.rate_names:
            setattr(self, f"_{name}_tracker", keras.metrics.Mean(name=name))
        known = graph.known_shapes()
        needed = [*graph.observed, *([CONTEXT] if graph.reads_context else [])]
        if all(name in known for name in needed):
            # By way of Keras, which then refuses other parts in the place of those that are built.
            self.build({name: (None, *known[name]) for name in needed})

    def build(self, input_shape: Any) -> None:
        """Makes all weights, and checks that the parts of the model fit each other.

        Args:
            input_shape: `(None, *x_event)`, or a dict of the shapes of the parts of the data, the
                context among them.
        """
        if self.built or self._is_building:
            return
        given = {name: event_tuple(shape[1:]) for name, shape in self.named(input_shape).items()}
        self._build_for({**given, **self.graph.known_shapes()})

    def _build_for(self, shapes: Mapping[str, Shape]) -> None:
        graph = self.graph
        if graph.reads_context and CONTEXT not in shapes:
            raise ValueError(
                "This model reads a context of a shape that it does not know yet. Give its "
                "networks a `keras.Input` for it, or build the model with both shapes: "
                '`model.build({"x": (None, ...), "context": (None, ...)})`.'
            )
        names = (*graph.observed, CONTEXT)
        dtypes = {name: graph.dtype_of(name, keras.config.floatx()) for name in names}
        self._is_building = True  # Keras has whatever calls a part of a model build it.
        try:
            graph.build(shapes, dtypes)
        finally:
            self._is_building = False
        self.data = replace(
            self.data,
            shapes=graph.shapes,
            supports=graph.supports,
            context_shape=graph.context_shape,
            dtype=dtypes[graph.observed[0]],
        )
        if not self.data.is_packed and self.data.support.missing and graph.latents:
            graph.check_missing()
        self.built = True

    # The distributions.

    def encode(
        self, x: Tensor, context: Tensor | None = None, *, training: bool = False
    ) -> Distribution:
        """Returns q(z|x), batch shape `[B]`, event shape `E`.

        Args:
            x: `[B, *x_event]`, of several parts as `as_batch` packs them.
            context: `[B, *context_shape]`, for a model with one.
            training: Whether layers run in training mode.
        """
        return self.graph.q(self._given(x, context), training=training)

    def decode(
        self, z: Tensor, context: Tensor | None = None, *, training: bool = False
    ) -> Distribution:
        """Returns p(x|z), batch shape `[...]`, event shape that of one example.

        Of several observed nodes it is their product, whose draws `observed_parts` takes apart.

        Args:
            z: `[..., *E]`.
            context: `[B, *context_shape]` or `[1, *context_shape]`, for a model with one, where B
                is the last of the leading axes of `z`.
            training: Whether layers run in training mode.
        """
        self._refuse_surplus(context)
        z, latent = tf.convert_to_tensor(z), self.latent_shape
        num_leading = z.shape.rank - len(latent)
        if num_leading < 1 or not z.shape[num_leading:].is_compatible_with(latent):
            raise ValueError(
                "`z` does not have the shape of this model's latents. "
                f"Expected: [..., {', '.join(map(str, latent))}] with a batch axis in front. "
                f"Received: {list(z.shape)}."
            )
        reads = any(CONTEXT in self.graph.generative[name].reads for name in self.graph.observed)
        return self.graph.likelihood(z, self._context(context, reads), training=training)

    def prior_distribution(self, context: Tensor | None = None) -> Distribution:
        """Returns p(z), event shape `E`: batch shape `[]`, or `[B]` where it reads a context.

        Raises:
            ValueError: z depends on parts of the data; `prior_of` takes their values.
        """
        self._refuse_surplus(context)
        self._check_built()
        found = [name for name in self.conditions if name != CONTEXT]
        if found:
            raise ValueError(
                f"In this model latent nodes depend on observed ones, on {', '.join(found)}: there "
                "is a prior for given data alone. Use `prior_of(batch)`."
            )
        return self.graph.p(self._context(context, CONTEXT in self.conditions))

    def prior_of(self, batch: Mapping[str, Tensor]) -> Distribution:
        """Returns the prior that a batch is scored with, batch shape `[]` or `[B]`."""
        self._refuse_surplus(batch.get(CONTEXT))
        return self.graph.p(self.as_parts(batch))

    def terms(
        self,
        x: Tensor,
        num_samples: int = 1,
        seed: Seed = None,
        *,
        context: Tensor | None = None,
        posterior: Distribution | None = None,
        prior: Distribution | None = None,
        objective: Objective | None = None,
        training: bool = False,
    ) -> Terms:
        """Scores `x` at draws of z: the only place where training and evaluation sample z.

        Args:
            x: Data `[B, ...]`.
            num_samples: Draws per data point, S.
            seed: Int or pair of ints; None advances the model's seed generator.
            context: `[B, ...]`, for a model of p(x|c).
            posterior: q(z|x) to draw from, in place of `encode(x, context)`.
            prior: p(z) to score with, in place of `prior_distribution(context)`.
            objective: Where gradients of an objective are to be taken, that objective: it says
                how draws carry them, and whether all of few states will do in place of draws.
                A hierarchy draws each level by it.
            training: Whether layers run in training mode.

        Returns:
            `Terms` of shape `[S, B]`. Where nodes of few states are summed over there are S rows
            for each of their joint states, and one where all are.
        """
        data, graph = self._given(x, context), self.graph
        return graph.terms(
            data,
            num_samples,
            self.make_seed(seed),
            q_z=graph.q(data, training=training) if posterior is None else posterior,
            p_z=graph.p(data, training=training) if prior is None else prior,
            objective=objective,
            training=training,
        )

    def exact_log_p_x(self, x: Tensor, context: Tensor | None = None) -> Tensor | None:
        """Returns log p(x) `[B]`, nats, where it is a sum that can be done; None elsewhere."""
        return self.graph.log_evidence(self._given(x, context))

    @property
    def encoder_weights(self) -> list[Any]:
        """The trainable weights of q(z|x); none where it is made of other parts of the model.

        A weight that encoder and decoder share is also one of `generative_weights`.
        """
        return self.graph.posterior_weights

    @property
    def generative_weights(self) -> list[Any]:
        """The trainable weights of p(x|z) and p(z)."""
        return self.graph.generative_weights

    @property
    def event_shape(self) -> Shape:
        """Shape of one example of x."""
        return self.data.event_shape

    @property
    def support(self) -> Support:
        """The values that the likelihood can produce."""
        return self.data.support

    @property
    def context_shape(self) -> Shape | None:
        """Shape of the context of one example, None for a model without."""
        return self.data.context_shape

    @property
    def data_dtype(self) -> str:
        """Type of the numbers that the encoder takes."""
        return self.data.dtype

    @property
    def latent_shape(self) -> Shape:
        """Shape of one latent, `E`.

        Raises:
            ValueError: The model has seen neither data nor the shape of it.
        """
        self._check_built()
        return self.graph.latent_shape

    def split(self, z: Tensor) -> dict[str, Tensor]:
        """Returns the latent nodes `[..., *E_k]` of latents `[..., *E]`, by name."""
        self._check_built()
        return self.graph.split(tf.convert_to_tensor(z))

    # What follows for all models.

    def call(self, x: Any, training: bool = False) -> Distribution:
        """Returns p(x|z) at one draw z ~ q(z|x), batch shape `[B]`."""
        batch = self.as_batch(self.named(x))
        z = self.encode(**batch, training=training).sample(seed=self.make_seed())
        return self.decode(z, batch.get("context"), training=training)

    def sample(
        self, num_samples: int, seed: Seed = None, *, context: Tensor | None = None
    ) -> Tensor:
        """Draws new data: z ~ p(z), x ~ p(x|z).

        Args:
            num_samples: Number of draws, N.
            seed: Int or pair of ints; None advances the model's seed generator.
            context: What each draw is made for, `[N, ...]` or `[1, ...]`, for a model of p(x|c).

        Returns:
            x: `[N, ...]`, by name where there are several observed nodes. For the means of p(x|z),
                decode draws of the prior yourself:
                `model.decode(model.prior_distribution().sample(N)).mean()`.

        Raises:
            ValueError: `num_samples` is smaller than 1, or `context` has other rows, or is given
                to a model that reads none.
        """
        check_count("num_samples", num_samples)
        if context is not None:
            self._refuse_surplus(context)
            context = tf.convert_to_tensor(context)
            if context.shape.rank == 0 or context.shape[0] not in (1, num_samples):
                raise ValueError(
                    "`context` must have one row per draw, or one row for all. Received: "
                    f"num_samples={num_samples}, context of shape {list(context.shape)}"
                )
            context = tf.broadcast_to(context, [num_samples, *context.shape[1:]])
        drawn = self.generate(num_samples, self.make_seed(seed), context)
        return self._alone({name: drawn[name] for name in self.graph.observed})

    def generate(
        self, num_samples: int | Tensor, seed: Tensor, context: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Returns draws of all nodes `[N, ...]` by name, and of observed ones the means, `x_mean`.

        For unordered categories the most probable one stands in for the mean, and the draw where
        there is neither.
        """
        self._check_built()
        self._refuse_surplus(context)
        given = self._context(context, self.context_shape is not None)
        draws, means = self.graph.generate(num_samples, seed, given)
        found = {name: draws[name] for name in self.graph.observed}
        found |= {f"{name}_mean": mean for name, mean in means.items()}
        if self._tells_latents_apart:
            return {**found, **{name: draws[name] for name in self.graph.latents}}
        return {**found, "z": self._joined(draws, num_samples)}

    def reconstruct(self, x: Any, seed: Seed = None, *, context: Tensor | None = None) -> Any:
        """Returns the mean of p(x|z), `[B, ...]`, by name where there are several observed nodes.

        Args:
            x: Data in a form that `fit` takes.
            seed: Where given, z is a draw from q(z|x); None takes the posterior mean.
            context: `[B, ...]`, where `x` is no dict that holds it.
        """
        parts = self.named(x)
        if context is not None:
            parts[CONTEXT] = context
        self._build_from(parts)
        batch = self.as_batch(parts)
        q_z = self.encode(**batch)
        z = centre(q_z) if seed is None else q_z.sample(seed=stateless_seed(seed))
        return self._alone(self.observed_parts(centre(self.decode(z, batch.get(CONTEXT)))))

    def describe(self, x: Tensor, context: Tensor | None = None) -> dict[str, Tensor]:
        """Returns what `predict` gives: `z_mean`, `z_stddev` and `reconstruction`, `[B, ...]`.

        Where latent nodes are told apart, of each its own, for categories `y_probs`, given the
        centres of the others that it depends on; of several observed nodes `x_reconstruction`.
        Without latent nodes, `log_prob`.
        """
        if not self.graph.latents:
            return {"log_prob": self.exact_log_p_x(x, context)}
        q_z = self.encode(x, context)
        found = self.observed_parts(centre(self.decode(centre(q_z), context)))
        several = len(found) > 1
        return {
            **self.describe_posterior(q_z),
            **{f"{n}_reconstruction" if several else "reconstruction": v for n, v in found.items()},
        }

    def describe_posterior(self, q_z: Distribution) -> dict[str, Tensor]:
        """Returns `z_mean` and `z_stddev` `[B, *E]`.

        Where a posterior has no mean, a fixed draw stands in for it; without a standard deviation
        there is no `z_stddev`.
        """
        if not (self._tells_latents_apart and self.graph.latents):
            z_stddev = statistic(q_z, "stddev")
            z = {"z_mean": centre(q_z)}
            return z if z_stddev is None else {**z, "z_stddev": z_stddev}
        levels = self.graph.levels(q_z)
        values = levels.split(levels.centre())
        found: dict[str, Tensor] = {}
        for name, conditional in levels.conditionals(values).items():
            q = conditional.distribution
            found[f"{name}_mean"] = tf.reshape(values[name], [-1, *self.graph.shapes[name]])
            q = q.distribution if isinstance(q, Labelled) else q
            stddev, probs = statistic(q, "stddev"), probabilities(q)
            if probs is not None:
                found[f"{name}_probs"] = probs
            elif stddev is not None and num_states(q) is None:
                found[f"{name}_stddev"] = stddev
        return found

    @property
    def objective_state(self) -> dict[str, Tensor]:
        """What the objective changes from step to step, such as a multiplier, by name."""
        return self._objective_state.read()

    @property
    def scheme_state(self) -> dict[str, Tensor]:
        """What the learning scheme changes from step to step, by name."""
        return self._scheme_state.read()

    @property
    def logs_information(self) -> bool:
        """Whether the mutual information within the batch is logged."""
        return self.graph.compares_pairs

    @property
    def conditions(self) -> tuple[str, ...]:
        """Names of the parts of the data that p(z) depends on; none of an unconditional prior."""
        return self.graph.conditions

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
            self._check_posterior(objective)
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

    def dream(
        self, num_samples: int | Tensor, seed: Tensor, context: Tensor | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Returns draws of the model, as a batch that `encode` takes, and the z behind each.

        Args:
            num_samples: Number of draws, N.
            seed: Int32 pair `[2]`.
            context: `[N, ...]`, for a model of p(x|c).
        """
        draws = self.generate(num_samples, seed, context)
        parts = {name: draws[name] for name in self.graph.observed}
        if context is not None:
            parts[CONTEXT] = context
        batch = self.as_batch(parts)
        batch["x"] = tf.cast(batch["x"], self.data_dtype)
        return batch, self._joined(draws, num_samples) if self._tells_latents_apart else draws["z"]

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

    def export(self, filepath: Any, *, verbose: bool = True) -> None:
        """Writes a SavedModel that serves with TensorFlow alone.

        Its signatures are listed in `tfvae.models.export`.

        Args:
            filepath: Folder to write.
            verbose: Prints the signatures.
        """
        export_saved_model(self, filepath, verbose=verbose)

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
        parts = {key: np.asarray(part) for key, part in self.named(x).items()}
        self._build_from(parts)
        self.data.check_arrays(parts, name)

    def named(self, data: Any) -> dict[str, Any]:
        """See `DataSpec.named`."""
        return self.data.named(data)

    def as_batch(self, parts: Mapping[str, Any]) -> dict[str, Any]:
        """See `DataSpec.as_batch`: the arguments of `terms` and `encode`."""
        return self.data.as_batch(parts)

    def as_parts(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `DataSpec.as_parts`."""
        return self.data.as_parts(batch)

    def observed_parts(self, x: Tensor) -> dict[str, Tensor]:
        """See `DataSpec.observed_parts`."""
        return self.data.observed_parts(x)

    def specs(self) -> dict[str, tf.TensorSpec]:
        """See `DataSpec.specs`."""
        self._check_built()
        return self.data.specs()

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
            values |= dict(zip(self.graph.rate_names, rates, strict=True))
        return values

    def _check_posterior(self, objective: Objective) -> None:
        """Checks that gradients of `objective` can come to the encoder, by tracing it."""

        def check(**batch: Tensor) -> None:
            q_z = self.encode(**batch)
            objective.check_family(q_z)
            if self.graph.latents:
                levels, seed = self.graph.levels(q_z), tf.constant([0, 0])
                self.graph.draw(levels, objective.num_samples, seed, objective)

        outputs_of(check, **self.data.batch_specs())

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
        parts = {name: tf.convert_to_tensor(part) for name, part in self.named(x).items()}
        self._build_from(parts)
        batch, checks = self.data.checked_batch(parts)
        # Not only what reads `x` has to wait: weight decay and counters change without it.
        with tf.control_dependencies(checks):
            return step(batch, sample_weight)

    def _given(self, x: Any, context: Any) -> dict[str, Tensor]:
        """Returns the data of a batch by name, of shapes that the model is for."""
        self._check_built()
        x = tf.convert_to_tensor(x)
        context = None if context is None else tf.convert_to_tensor(context)
        check_event_shape(x, self.event_shape)
        check_context(x, context, context_shape=self.context_shape)
        return self.as_parts({"x": x} if context is None else {"x": x, CONTEXT: context})

    def _context(self, context: Any, is_read: bool) -> dict[str, Tensor]:
        """Returns the context by name, for what reads one."""
        if not is_read:
            return {}
        if context is None:
            check_context(None, None, context_shape=self.context_shape or ())
        return {CONTEXT: tf.convert_to_tensor(context)}

    def _alone(self, parts: dict[str, Tensor]) -> Any:
        """Returns observed nodes in the form in which `fit` takes them."""
        return parts if len(parts) > 1 else parts[self.graph.observed[0]]

    def _joined(self, draws: Mapping[str, Tensor], num_samples: int | Tensor) -> Tensor:
        """Returns latent nodes by name as z."""
        return self.graph.join(draws) if self.graph.latents else tf.zeros([num_samples, 0])

    def _refuse_surplus(self, context: Any) -> None:
        """Checks that a context is given to a model that reads one.

        Raises:
            ValueError: It is not: what is computed would be the same for any.
        """
        if context is not None and self.built and self.context_shape is None:
            check_context(None, tf.convert_to_tensor(context), context_shape=None)

    def _build_from(self, parts: Mapping[str, Any]) -> None:
        """Builds the model, where that had to wait for data."""
        if not self.built:
            self.build({name: part.shape for name, part in parts.items()})

    def _check_built(self) -> None:
        # Parts of a model may be asked while they are put together.
        if not self.built and not self.data.shapes:
            raise ValueError(
                "This model does not know the shape of its data and latents before it is built. "
                "Give its networks a `keras.Input`, or build the model: "
                "`model.build((None, *x.shape[1:]))`."
            )
