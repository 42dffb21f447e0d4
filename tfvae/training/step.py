"""One update and one evaluation of a batch, and what schemes make an update of."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfvae._protocols import Trained
from tfvae._random import fold_in, stateless_seed
from tfvae._typing import Tensor
from tfvae.learning import Scheme, Update
from tfvae.objectives import Objective
from tfvae.objectives.base import call_objective, next_state_of
from tfvae.terms import Terms
from tfvae.training.compilation import together
from tfvae.training.logs import LOSS, Logs
from tfvae.training.placement import strategy_of
from tfvae.training.replicas import WHOLE, Replicas, Whole
from tfvae.training.states import Kept, ObjectiveState, SchemeState, Skips, kept
from tfvae.training.weights import Weights

__all__ = ["INFORMATION", "TERMS", "Step"]

# What every model logs of a pass, and what only those log of which a batch can tell it.
TERMS = ("elbo", "distortion", "rate")
INFORMATION = ("mutual_information", "marginal_kl")


class Step:
    """How a model is trained: objective, scheme, what both change, and what is logged.

    Args:
        model: The model, with its optimizer.
        objective: What is maximised; None of a model that is not compiled.
        scheme: Which weights a batch updates, and by what; None of a model that is not compiled.
        scheme_is_checked: Whether the scheme is known to be one that can train the model.
        skips: Whether batches whose loss or gradients are not finite are left out.

    Attributes:
        model: See above.
        objective_state: The numbers that the objective changes.
        scheme_state: The numbers that the scheme changes, and the metrics of what it logs.
        skips: How many batches were left out.
    """

    def __init__(
        self,
        model: Trained,
        objective: Objective | None = None,
        scheme: Scheme | None = None,
        *,
        scheme_is_checked: bool = False,
        skips: bool = False,
    ) -> None:
        self.model = model
        self._objective, self._scheme = objective, scheme
        self.objective_state = ObjectiveState(objective)
        self.scheme_state = SchemeState(scheme)
        self.skips, self._does_skip = Skips(skips), skips
        self._scheme_is_checked = scheme_is_checked
        self._weights = Weights(model)
        strategy = strategy_of(model)
        self._replicas = None if strategy is None else Replicas(strategy, self._seeds_of_layers)

    # What schemes are made of.

    def climb(
        self, weights: list[Any], batch: dict[str, Tensor], sample_weight: Tensor | None = None
    ) -> Update:
        """Updates `weights` by one step up the objective on a batch.

        Args:
            weights: Some of `model.trainable_weights`, or all.
            batch: `x` `[B, ...]`, and `context` for a model with one.
            sample_weight: `[B]`, or None.
        """
        if self._replicas is None:
            loss, terms, gradients = self._climbed(batch, sample_weight, weights)
            return self.concluded(loss, terms, gradients, weights)
        objective, _ = self._compiled()
        seed = self.model.make_seed() if self.model.graph.latents else None
        iterations = tf.identity(self.model.optimizer.iterations)
        state = self.objective_state.read()

        def on_replica(rows: Whole) -> _Passed:
            loss, terms, gradients = self._climbed(batch, sample_weight, weights, rows, seed)
            loss, *gradients = rows.sum([loss, *gradients])
            following = next_state_of(objective, state, terms, iterations, -loss)
            return _Passed(loss, gradients, self._logged(terms), following)

        size = batch["x"].shape[0]
        found = self._replicas.run(on_replica, tf.shape(batch["x"])[0] if size is None else size)
        loss = self._applied(found.loss, found.gradients, weights)
        return Update(loss, found.values, found.objective_state)

    def scored(
        self,
        batch: dict[str, Tensor],
        sample_weight: Tensor | None = None,
        *,
        seed: Tensor | None = None,
        training: bool = False,
        rows: Whole = WHOLE,
    ) -> tuple[Tensor, Terms]:
        """Returns the loss on a batch, a scalar, and the scores behind it.

        Args:
            batch: `x` `[B, ...]`, and `context` for a model with one.
            sample_weight: `[B]`, or None.
            seed: Int32 pair `[2]`; None advances the model's seed generator.
            training: Whether layers run in training mode.
            rows: Those that go through the networks here, on one of several devices. The scores
                are those of the batch, and the loss is the addend of this device.
        """
        objective, scheme = self._compiled()
        terms = self.model.terms(
            num_samples=objective.num_samples,
            seed=seed,
            posterior=scheme.posterior(self, batch, seed, training=training),
            objective=rows.drawing(objective),
            training=training,
            **{name: rows.own(part) for name, part in batch.items()},
        )
        # Before devices meet, after which layers hold the losses of another.
        extras = list(self.model.losses)
        terms = rows.gathered(terms)._replace(sample_weight=sample_weight)
        bound = self.bound(terms)
        if sample_weight is not None:
            bound = bound * tf.cast(tf.reshape(sample_weight, [-1]), bound.dtype)
        loss = rows.part(-tf.reduce_mean(bound))
        for extra in extras:
            loss += rows.share(tf.cast(extra, loss.dtype))
        return loss, terms

    def bound(self, terms: Terms) -> Tensor:
        """Returns the objective `[B]`, nats, as schedules and its state have it now."""
        objective, _ = self._compiled()
        state = self.objective_state.read()
        return call_objective(objective, terms, self.model.optimizer.iterations, state)

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
        objective, _ = self._compiled()
        iterations = tf.identity(self.model.optimizer.iterations)
        loss = self._applied(loss, gradients, weights)
        state = next_state_of(objective, self.objective_state.read(), terms, iterations, -loss)
        return Update(loss, {**self._logged(terms), **values}, state)

    # What a model runs.

    def follow(self, objective: Objective) -> None:
        """Takes another form of the objective, one with the same state."""
        self._objective = objective

    def prepare(self) -> None:
        """Checks that there is something to train by this scheme, and makes what that takes.

        Raises:
            ValueError: The model has no weights that can be trained, or others than when it was
                compiled, or the scheme cannot train it.
        """
        objective, scheme = self._compiled()
        model = self.model
        self._weights.check()
        if not model.optimizer.built:
            # All at once: a scheme may update some of the weights alone, and made while a step is
            # traced, variables have it traced a second time.
            model.optimizer.build(model.trainable_variables)
        if not self._scheme_is_checked:
            scheme.check(model, objective)
            self._scheme_is_checked = True

    def update(
        self, batch: dict[str, Tensor], sample_weight: Tensor | None, sums: Tensor
    ) -> Tensor:
        """Updates weights by one batch; returns the sums of what is logged, `[2, M]`."""
        self.prepare()
        _, scheme = self._compiled()
        before = self._changed_by_layers() if self._does_skip else []
        state = self.scheme_state.read()
        update, following = scheme.update(self, batch, sample_weight, state)
        objective_state = update.objective_state
        size = tf.shape(batch["x"])[0]
        added = self.logs.add(sums, update.loss, update.values, size, sample_weight)
        if self._does_skip:
            fine = tf.math.is_finite(update.loss)
            for variable, value in before:
                variable.assign(tf.where(fine, variable.value, value))
            objective_state = _chosen(fine, objective_state, self.objective_state.read())
            following, added = _chosen(fine, following, state), tf.where(fine, added, sums)
            iterations = self.model.optimizer.iterations
            self.skips.assign(self.skips.noted(fine, update.values, iterations))
        self.objective_state.assign(objective_state)
        self.scheme_state.assign(following)
        return added

    def score(self, batch: dict[str, Tensor], sample_weight: Tensor | None, sums: Tensor) -> Tensor:
        """Scores one batch; returns the sums of what is logged, `[2, M]`.

        Each pass over the data draws the same noise, told apart by the points seen so far: epochs
        can be compared, and validation does not change what training draws.
        """
        seed = fold_in(stateless_seed(self.model.seed or 0), self.logs.points(sums))
        loss, terms = self.scored(batch, sample_weight, seed=seed)
        size = tf.shape(batch["x"])[0]
        return self.logs.add(sums, loss, self._logged(terms), size, sample_weight)

    @property
    def state_logs(self) -> dict[str, Tensor]:
        """What is logged of the numbers that objective and scheme change, by name."""
        states = (self.objective_state, self.scheme_state, self.skips)
        return {name: value for state in states for name, value in state.logged().items()}

    @property
    def logs(self) -> Logs:
        """The metrics of a pass, but for those of a subclass of the user's own."""
        names = {LOSS, *TERMS, *INFORMATION, *self.model.graph.rate_names}
        names |= set(self.scheme_state.trackers)
        return Logs({m.name: m for m in self.model.metrics if m.name in names})

    def _climbed(
        self,
        batch: dict[str, Tensor],
        sample_weight: Tensor | None,
        weights: list[Any],
        rows: Whole = WHOLE,
        seed: Tensor | None = None,
    ) -> tuple[Tensor, Terms, list[Any]]:
        """Returns loss and scores as `scored` does, and the gradient of the scaled loss."""
        with tf.GradientTape() as tape:
            loss, terms = self.scored(batch, sample_weight, seed=seed, training=True, rows=rows)
            scaled_loss = self.model.optimizer.scale_loss(loss)
        self._weights.check_read(tape)
        return loss, terms, tape.gradient(scaled_loss, weights)

    def _applied(self, loss: Tensor, gradients: list[Any], weights: list[Any]) -> Tensor:
        """Applies gradients, and returns the loss, NaN where they were left out."""
        optimizer = self.model.optimizer
        gradients, weights = self._weights.with_gradients(gradients, weights)
        gradients = together(gradients)

        def applied() -> Tensor:
            optimizer.apply_gradients(zip(gradients, weights, strict=True))
            return tf.constant(True)

        if not self._does_skip:
            applied()
            return loss
        fine = _all_finite(loss, gradients, isinstance(optimizer, _SCALING))
        tf.cond(fine, applied, lambda: tf.constant(False))
        return tf.where(fine, loss, tf.cast(float("nan"), loss.dtype))

    def _changed_by_layers(self) -> Kept:
        """Returns what layers change while they are called, such as running means, as it is."""
        own = self.model.non_trainable_weights
        return kept(v for v in own if tf.as_dtype(v.dtype).is_floating)

    def _seeds_of_layers(self) -> list[Any]:
        """Returns the states of the seed generators that networks draw by."""
        model: Any = self.model
        own = model.seed_generator.state
        found = [v for v in model.variables if v.name == "seed_generator_state"]
        return [variable for variable in found if variable is not own]

    def _compiled(self) -> tuple[Objective, Scheme]:
        if self._objective is None or self._scheme is None:
            raise ValueError("This model is not compiled. Call `model.compile()` first.")
        return self._objective, self._scheme

    def _logged(self, terms: Terms) -> dict[str, Tensor]:
        """Returns what is logged of a pass beside the loss, by name, each `[B]`."""
        values = {"elbo": terms.elbo, "distortion": terms.distortion, "rate": terms.rate}
        if self.model.graph.compares_pairs:
            information = terms.batch_mutual_information
            values |= {"mutual_information": information, "marginal_kl": terms.rate - information}
        if terms.level_rates is not None:
            rates = tf.unstack(terms.level_rates, axis=-1)
            values |= dict(zip(self.model.graph.rate_names, rates, strict=True))
        return values


class _Passed(NamedTuple):
    """What comes of the rows of a batch on several devices, the same on all.

    Attributes:
        loss: That of the batch, a scalar.
        gradients: Of the scaled loss, one for each weight; None for none.
        values: What is logged beside the loss, `[B]` by name.
        objective_state: The numbers of the objective after the update, by name.
    """

    loss: Tensor
    gradients: list[Any]
    values: dict[str, Tensor]
    objective_state: dict[str, Tensor]


# It looks at gradients itself, which overflow at times because they are scaled.
_SCALING = (keras.optimizers.LossScaleOptimizer,)


def _all_finite(loss: Tensor, gradients: list[Any], only_loss: bool) -> Tensor:
    found = [tf.math.is_finite(loss)]
    for gradient in [] if only_loss else gradients:
        if gradient is not None:
            values = gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient
            found.append(tf.reduce_all(tf.math.is_finite(values)))
    return tf.reduce_all(tf.stack(found))


def _chosen(fine: Tensor, new: dict[str, Tensor], old: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tf.where(fine, value, old[name]) for name, value in new.items()}
