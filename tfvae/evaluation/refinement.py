"""The best posterior of its family, point by point: how much an encoder leaves on the table."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._config import check_amount, check_count
from tfvae._random import fold_in, stateless_seed
from tfvae._typing import Distribution, Seed, Tensor
from tfvae._words import counted
from tfvae.evaluation.estimate import Estimate, Shown, render_table
from tfvae.evaluation.streaming import Stream, progress
from tfvae.layers.origin import Origin, with_origin
from tfvae.learning.semi_amortised import checked_origin, refinable
from tfvae.models import LatentVariableModel
from tfvae.objectives import ELBO, LeaveOneOut, Objective

__all__ = ["Refinement", "refine", "refined_posterior"]

# Those of Adam (Kingma and Ba, 2015).
_DECAY, _SQUARE_DECAY, _EPSILON = 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class Refinement(Shown):
    """Posteriors of N points, each improved by itself within the family of the encoder.

    Attributes:
        elbo: ELBO of the encoder's posteriors, nats.
        refined_elbo: ELBO of the refined ones, nats, at the same noise.
        amortisation_gap: Their difference per point: what the encoder loses against the best
            posterior of its family; below zero only by noise.
        params: The refined parameters `[N, P]` that go into the encoder's last layer.
        make: From parameters `[B, P]` to posteriors, batch shape `[B]`.
    """

    elbo: Estimate
    refined_elbo: Estimate
    amortisation_gap: Estimate
    params: np.ndarray
    make: Callable[[Tensor], Distribution]

    def posterior(self, rows: slice = slice(None)) -> Distribution:
        """Returns the refined posteriors of some points, batch shape `[B]`."""
        return self.make(tf.convert_to_tensor(self.params[rows]))

    def to_dict(self) -> dict[str, Any]:
        """Returns means and standard errors as plain numbers."""
        return {name: entry.to_dict() for name, entry in self._entries().items()}

    def __str__(self) -> str:
        rows = [
            [name, f"{entry.mean:.3f}", f"{entry.standard_error:.3f}"]
            for name, entry in self._entries().items()
        ]
        title = f"Refinement of {counted(len(self.params), 'posterior')}, nats per point"
        return render_table(title, ["entry", "mean", "± s.e."], rows)

    def _entries(self) -> dict[str, Estimate]:
        names = ("elbo", "refined_elbo", "amortisation_gap")
        return {name: getattr(self, name) for name in names}


def refine(
    model: LatentVariableModel,
    data: Any,
    *,
    steps: int = 300,
    learning_rate: float = 0.05,
    num_samples: int = 10,
    batch_size: int = 250,
    seed: Seed = 0,
    verbose: bool = True,
) -> Refinement:
    """Raises the ELBO of each point in the parameters of its own posterior.

        max_eta E_q(z; eta)[log p(x, z) - log q(z; eta)],   from eta = encoder(x)

    by Adam, with new draws at each step and a step size that falls to zero along a cosine. `eta`
    are the unconstrained parameters that go into the encoder's last layer. The model stays as it
    is.

    Args:
        model: A trained model whose encoder ends in a layer of `tfvae.layers`.
        data: Array `[N, ...]`, `tf.data.Dataset` or `keras.utils.PyDataset`.
        steps: Number of steps.
        learning_rate: Step size at the start, > 0.
        num_samples: Draws of z per point, of each step and of the ELBO.
        batch_size: Points per batch, for arrays; does not change what is looked for.
        seed: Int or pair of ints.
        verbose: Shows a progress bar where it takes more than two seconds.

    Returns:
        `Refinement`.

    Raises:
        ValueError: The posterior is not made by one layer of parameters, an argument is out of its
            range, or the data is not what the model is for.

    Example:
        >>> from tfvae.demo import vae, x
        >>> refined = tfvae.evaluation.refine(vae, x, steps=50)
        >>> refined.amortisation_gap.mean > 0.0
        True
        >>> refined.posterior(slice(0, 2)).mean().shape
        TensorShape([2, 2])

    Reference: Inference Suboptimality in Variational Autoencoders (Cremer et al., 2018),
    https://arxiv.org/abs/1801.03558
    """
    steps = check_count("steps", steps)
    num_samples = check_count("num_samples", num_samples)
    check_amount("learning_rate", learning_rate, positive=True)
    seed = stateless_seed(0 if seed is None else seed)
    stream = Stream(model, data, batch_size)
    refinable(model)

    key = ("refine", steps, float(learning_rate), num_samples)
    passes = None if stream.num_points is None else stream.num_points * steps * num_samples
    step = model.functions(key, lambda: _improver(model, steps, num_samples, learning_rate), passes)
    points: dict[str, list[np.ndarray]] = {}
    first = None
    with progress(stream.num_points, "refinement", verbose) as bar:
        for index, (batch, count) in enumerate(stream):
            first = batch if first is None else first
            for name, value in step(batch, fold_in(seed, index)).items():
                points.setdefault(name, []).append(value.numpy()[:count])
            bar.update(count)
    values = {name: np.concatenate(parts) for name, parts in points.items()}
    origin = checked_origin(model, model.encode(**(first or {})))
    with np.errstate(invalid="ignore"):  # infinite scores
        gap = values["refined"] - values["elbo"]
    return Refinement(
        elbo=Estimate.of(values["elbo"]),
        refined_elbo=Estimate.of(values["refined"]),
        amortisation_gap=Estimate.of(gap),
        params=values["params"],
        make=origin.make,
    )


def _improver(
    model: LatentVariableModel, steps: int, num_samples: int, learning_rate: float
) -> Callable[[dict[str, Tensor], Tensor], dict[str, Tensor]]:
    """Makes the pass over one chunk: ELBO before and after, and the parameters found."""

    def improve(batch: dict[str, Tensor], seed: Tensor) -> dict[str, Tensor]:
        q_z = model.encode(**batch)
        found = refined_posterior(model, batch, q_z, steps, seed, num_samples, learning_rate)
        before, after = (
            model.terms(num_samples=num_samples, seed=seed, posterior=q, **batch).elbo
            for q in (q_z, found)
        )
        # Where steps lead to no number, as they may in 16 bits, what the encoder says stays.
        lost = tf.math.is_finite(before) & ~tf.math.is_finite(after)
        params = [checked_origin(model, q).params for q in (q_z, found)]
        lost_rows = tf.reshape(lost, [-1] + [1] * (params[1].shape.rank - 1))
        return {
            "elbo": before,
            "refined": tf.where(lost, before, after),
            "params": tf.where(lost_rows, *params),
        }

    return improve


def refined_posterior(
    model: LatentVariableModel,
    batch: dict[str, Tensor],
    q_z: Distribution,
    steps: int,
    seed: Tensor,
    num_samples: int = 10,
    learning_rate: float = 0.05,
) -> Distribution:
    """Returns posteriors of one batch after all steps; see `refine`.

    Args:
        model: Any model whose posterior one layer makes.
        batch: `x` `[B, ...]`, and `context` for a model with one.
        q_z: The posterior to begin from.
        steps: Number of steps.
        seed: Int32 pair `[2]`; the steps draw from seeds folded into it.
        num_samples: Draws of z per point and step.
        learning_rate: Step size at the start.
    """
    origin = checked_origin(model, q_z)
    objective = _objective(model, q_z, num_samples)

    def improve(step: Tensor, params: Tensor, mean: Tensor, square: Tensor) -> tuple[Tensor, ...]:
        with tf.GradientTape() as tape:
            tape.watch(params)
            q = origin.make(params)
            terms = model.terms(
                num_samples=objective.num_samples,
                seed=fold_in(seed, step + 1),
                posterior=q,
                objective=objective,
                **batch,
            )
            # Points do not see each other: the gradient of the sum is that of each.
            total = tf.reduce_sum(objective(terms))
        gradient = tape.gradient(total, params)
        gradient = tf.where(tf.math.is_finite(gradient), gradient, tf.zeros_like(gradient))
        done = tf.cast(step, params.dtype)
        mean = _DECAY * mean + (1.0 - _DECAY) * gradient
        square = _SQUARE_DECAY * square + (1.0 - _SQUARE_DECAY) * tf.square(gradient)
        unbiased = mean / (1.0 - _DECAY ** (done + 1.0))
        scale = tf.sqrt(square / (1.0 - _SQUARE_DECAY ** (done + 1.0))) + _EPSILON
        rate = 0.5 * learning_rate * (1.0 + tf.cos(math.pi * done / steps))
        return step + 1, params + rate * unbiased / scale, mean, square

    params = tf.convert_to_tensor(origin.params)
    _, params, _, _ = tf.while_loop(
        lambda step, *_: step < steps,
        improve,
        [tf.constant(0), params, tf.zeros_like(params), tf.zeros_like(params)],
        parallel_iterations=1,
    )
    found = origin.make(params)
    return with_origin(found, Origin(params, origin.make))


def _objective(model: LatentVariableModel, q_z: Distribution, num_samples: int) -> Objective:
    """Returns the ELBO with a gradient that comes to the parameters of any posterior."""
    follows = q_z.reparameterization_type == tfp.distributions.FULLY_REPARAMETERIZED
    if follows or model.graph.sums_over_all(q_z):
        return ELBO(num_samples=num_samples)
    return ELBO(num_samples=max(2, num_samples), gradient=LeaveOneOut())
