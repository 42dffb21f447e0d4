"""What is looked at: a model, some rows of data, and weights that are near its own."""

from __future__ import annotations

import contextlib
import functools
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae._random import fold_in
from tfvae._typing import Tensor
from tfvae.data.spec import CONTEXT
from tfvae.models import LatentVariableModel
from tfvae.objectives import ELBO, LeaveOneOut, Objective
from tfvae.objectives.base import call_objective
from tfvae.terms import Terms

__all__ = ["Subject"]

# How far "near" is, in units of the size of a weight, and of one where it is zero.
_NEAR = 0.1
# Losses of few draws, of which gradients are taken.
_FEW = 4


class Subject:
    """A model on some rows. Nothing that is done with it changes the model.

    Args:
        model: A built model.
        rows: Parts of the data by name, `[N, ...]` each.
        num_points: The most points that are scored, B: the first of `rows`.
        num_samples: Draws for each, S.
        seed: Int32 pair `[2]`.

    Attributes:
        model: The model.
        rows: See above.
        parts: Those that are scored, by name.
        batch: The same as a batch.
    """

    def __init__(
        self,
        model: LatentVariableModel,
        rows: dict[str, np.ndarray],
        num_points: int,
        num_samples: int,
        seed: Tensor,
    ) -> None:
        self.model, self.rows, self.num_samples, self._seed = model, rows, num_samples, seed
        self.parts = {name: part[:num_points] for name, part in rows.items()}
        self.batch: dict[str, Tensor] = model.data.whole_batch(self.parts)

    @property
    def num_points(self) -> int:
        """Number of points that are scored, B."""
        return int(self.batch["x"].shape[0])

    @property
    def latents(self) -> tuple[str, ...]:
        """Names of the latent nodes."""
        return self.model.graph.latents

    @functools.cached_property
    def objective(self) -> Objective:
        """What is trained by; of a model that is not compiled, an ELBO that could be."""
        found = getattr(self.model, "objective", None)
        if found is None:
            found = ELBO()
            try:
                with self.aside():
                    self.scored(1, objective=found)
            except ValueError:  # draws that carry no gradient
                found = ELBO(num_samples=2, gradient=LeaveOneOut())
        return found.of_points(self.num_points)

    def seed(self, purpose: str) -> Tensor:
        """Returns a seed of its own for each purpose."""
        return fold_in(self._seed, zlib.crc32(purpose.encode()) & 0x7FFFFFFF)

    @contextlib.contextmanager
    def aside(self, values: dict[int, Tensor] | None = None) -> Iterator[None]:
        """What runs within reads these values of weights, and changes no variable.

        Args:
            values: By the `id` of the weight; None for those that it has.
        """
        given = values or {}
        mapping = [(w, given[id(w)]) for w in self.model.trainable_weights if id(w) in given]
        with keras.StatelessScope(state_mapping=mapping):
            yield

    @functools.cached_property
    def own(self) -> dict[int, Tensor]:
        """The values of all weights that train, to take gradients of."""
        return {id(w): tf.convert_to_tensor(w.value) for w in self.model.trainable_weights}

    @functools.cached_property
    def near(self) -> dict[int, Tensor]:
        """The same at a place nearby, where no zeros hide what a weight would do."""
        found = {}
        for index, (key, value) in enumerate(self.own.items()):
            size = tf.sqrt(tf.reduce_mean(tf.square(value)))
            step = _NEAR * tf.where(size > 0.0, size, tf.ones_like(size))
            noise = tf.random.stateless_normal(
                tf.shape(value), fold_in(self.seed("near"), index), dtype=value.dtype
            )
            found[key] = value + step * noise
        return found

    @functools.cached_property
    def terms(self) -> Terms:
        """The scores of all points at all draws."""
        with self.aside():
            return self.scored(self.num_samples)

    def scored(self, num_samples: int, **settings: Any) -> Terms:
        """Returns the scores of all points, at draws that are the same each time."""
        batch, seed = self.batch, self.seed("terms")
        return self.model.terms(num_samples=num_samples, seed=seed, **settings, **batch)

    def loss_terms(self) -> Terms:
        """Returns scores at draws that carry the gradients that the objective wants."""
        objective = self.objective
        return self.scored(objective.num_samples, objective=objective)

    def elbo(self) -> Tensor:
        """Returns the mean ELBO at few draws, the same each time: a function of the weights."""
        return tf.reduce_mean(self.scored(_FEW).elbo)

    def bound(self, terms: Terms) -> Tensor:
        """Returns the objective `[B]`, as schedules and its state have it now."""
        optimizer = getattr(self.model, "optimizer", None)
        step = 0 if optimizer is None else tf.identity(optimizer.iterations)
        return call_objective(self.objective, terms, step, self.model.objective_state)

    def gradients(
        self, value: Callable[[], Tensor], at: dict[int, Tensor]
    ) -> tuple[list[Tensor | None], tf.GradientTape]:
        """Returns the gradient of a value in each weight that trains, None where it reads it not.

        Args:
            value: Makes it.
            at: Values of the weights.
        """
        with tf.GradientTape() as tape:
            tape.watch(list(at.values()))
            with self.aside(at):
                found = value()
        return tape.gradient(found, list(at.values())), tape

    def without_labels(self, *, roll: str | None = None) -> dict[str, Tensor]:
        """Returns the batch without labels of latent nodes.

        Args:
            roll: "x" or "context", which then comes from the row before.
        """
        spec = self.model.data
        batch = spec.whole_batch(
            {n: part for n, part in self.parts.items() if n not in spec.partly_observed}
        )
        if roll is not None:
            batch[roll] = tf.roll(batch[roll], 1, axis=0)
        return batch

    @property
    def context(self) -> Tensor | None:
        """The context `[B, ...]`, None where there is none."""
        return self.batch.get(CONTEXT)
