"""One update and one evaluation of a batch, and what schemes make an update of."""

from __future__ import annotations

from typing import Any

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
from tfvae.training.states import ObjectiveState, SchemeState

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

    Attributes:
        model: See above.
        objective_state: The numbers that the objective changes.
        scheme_state: The numbers that the scheme changes, and the metrics of what it logs.
    """

    def __init__(
        self,
        model: Trained,
        objective: Objective | None = None,
        scheme: Scheme | None = None,
        *,
        scheme_is_checked: bool = False,
    ) -> None:
        self.model = model
        self._objective, self._scheme = objective, scheme
        self.objective_state = ObjectiveState(objective)
        self.scheme_state = SchemeState(scheme)
        self._scheme_is_checked = scheme_is_checked

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
        with tf.GradientTape() as tape:
            loss, terms = self.scored(batch, sample_weight, training=True)
            scaled_loss = self.model.optimizer.scale_loss(loss)
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
        objective, scheme = self._compiled()
        terms = self.model.terms(
            num_samples=objective.num_samples,
            seed=seed,
            posterior=scheme.posterior(self, batch, seed, training=training),
            objective=objective,
            training=training,
            **batch,
        )
        bound = self.bound(terms)
        if sample_weight is not None:
            bound = bound * tf.cast(tf.reshape(sample_weight, [-1]), bound.dtype)
        loss = -tf.reduce_mean(bound)
        for extra in self.model.losses:
            loss += tf.cast(extra, loss.dtype)
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
        optimizer = self.model.optimizer
        iterations = tf.identity(optimizer.iterations)
        optimizer.apply_gradients(zip(together(gradients), weights, strict=True))
        state = next_state_of(objective, self.objective_state.read(), terms, iterations, -loss)
        return Update(loss, {**self._logged(terms), **values}, state)

    # What a model runs.

    def follow(self, objective: Objective) -> None:
        """Takes another form of the objective, one with the same state."""
        self._objective = objective

    def prepare(self) -> None:
        """Checks that there is something to train by this scheme, and makes what that takes.

        Raises:
            ValueError: The model has no weights that can be trained, or the scheme cannot train it.
        """
        objective, scheme = self._compiled()
        model = self.model
        if not model.trainable_weights:
            raise ValueError(
                "This model has no weights that can be trained: all of its parts are frozen, or "
                f"have none. Received: {type(model).__name__} '{model.name}' with "
                f"{len(model.weights)} weights. Set `trainable = True` on what is to learn, and "
                "call `compile` again."
            )
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
        state = self.scheme_state.read()
        update, state = scheme.update(self, batch, sample_weight, state)
        self.objective_state.assign(update.objective_state)
        self.scheme_state.assign(state)
        size = tf.shape(batch["x"])[0]
        return self.logs.add(sums, update.loss, update.values, size, sample_weight)

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
        return self.objective_state.logged() | self.scheme_state.logged()

    @property
    def logs(self) -> Logs:
        """The metrics of a pass, but for those of a subclass of the user's own."""
        names = {LOSS, *TERMS, *INFORMATION, *self.model.graph.rate_names}
        names |= set(self.scheme_state.trackers)
        return Logs({m.name: m for m in self.model.metrics if m.name in names})

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
