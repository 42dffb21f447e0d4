"""The evidence of simulated data from below and from above."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae._config import check_count
from tfvae._random import fold_in, stateless_seed
from tfvae._typing import Seed, Tensor
from tfvae.data.spec import CONTEXT
from tfvae.evaluation.chains import adapted_steps, annealed
from tfvae.evaluation.estimate import Estimate, Shown, render_table
from tfvae.evaluation.paths import check_free, path_of, temperatures
from tfvae.evaluation.streaming import Stream, filled, progress
from tfvae.graph.evidence import summary_of_weights
from tfvae.models import LatentVariableModel

__all__ = ["Bidirectional", "bidirectional"]

_Compute = Callable[[dict[str, Tensor], Tensor, Tensor, Tensor], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Bidirectional(Shown):
    """Bounds on log p(x) of data that a model has drawn itself, from both sides.

    Attributes:
        lower: From chains that end at p(z|x): below log p(x) in expectation, nats.
        upper: From chains that begin there: above log p(x) in expectation, nats.
        gap: `upper` minus `lower`: in expectation the most that either is off, nats.
        acceptance: Share of the moves that were accepted `[N]`, NaN where none was made.
        data: What was drawn, in the form that evaluations take, the context included.
        num_temperatures: Steps between prior and p(x, z), T.
        num_chains: Chains per point and direction, S.
    """

    lower: Estimate
    upper: Estimate
    gap: Estimate
    acceptance: np.ndarray
    data: dict[str, np.ndarray]
    num_temperatures: int
    num_chains: int

    def to_dict(self) -> dict[str, Any]:
        """Returns the summary as plain numbers."""
        return {
            **{name: getattr(self, name).to_dict() for name in ("lower", "upper", "gap")},
            "largest_gap": float(np.max(self.gap.per_point)),
            "median_acceptance": float(np.median(self.acceptance)),
            "num_temperatures": self.num_temperatures,
            "num_chains": self.num_chains,
            "num_points": len(self.gap.per_point),
        }

    def __str__(self) -> str:
        notes = {"lower": "<= log p(x)", "upper": ">= log p(x)", "gap": "upper - lower"}
        rows = [
            [name, f"{found.mean:.3f}", f"{found.standard_error:.3f}", note]
            for name, note in notes.items()
            for found in (getattr(self, name),)
        ]
        rows.append(["moves accepted", f"{np.median(self.acceptance):.2f}", "", "median"])
        rows.append(["temperatures", f"{self.num_temperatures}", "", ""])
        title = f"log p(x) of {len(self.gap.per_point)} points, {self.num_chains} chains each way"
        return render_table(title, ["bound", "mean", "± s.e.", ""], rows)


def bidirectional(
    model: LatentVariableModel,
    num_points: int,
    num_temperatures: int = 1000,
    *,
    num_chains: int = 16,
    num_leapfrog_steps: int = 5,
    context: Any = None,
    batch_size: int = 50,
    seed: Seed = 0,
    verbose: bool = True,
) -> Bidirectional:
    """Bounds log p(x) from both sides, for x that the model draws.

        z* ~ p(z), x ~ p(x|z*)
        forwards, from z ~ p(z):    log mean_s w_s,          E <= log p(x)
        backwards, from z = z*:    -log mean_s (1 / w_s),    E >= log p(x)

    z* is a draw of p(z|x), so that chains which begin there and go the way back to the prior have
    E[1 / w] = 1 / p(x). The gap says how far `tfvae.annealed_log_likelihood` with the same numbers
    can be off: in expectation no more, on data such as the model draws.

    Args:
        model: A trained model whose latents take every real value.
        num_points: Points to draw, N.
        num_temperatures: Steps between prior and p(x, z), T.
        num_chains: Chains per point and direction, S.
        num_leapfrog_steps: Leapfrog steps of a move.
        context: What each point is drawn for, `[N, ...]` or `[1, ...]`, for a model of p(x|c).
        batch_size: Points at once.
        seed: Int or pair of ints.
        verbose: Shows a progress bar where it takes more than two seconds.

    Returns:
        `Bidirectional`; of models whose log p(x) is known, both bounds are that.

    Raises:
        ValueError: A number is smaller than 1, z is not free to take every real value, or a
            context is missing or not for this model.

    Example:
        >>> from tfvae.demo import vae
        >>> found = tfvae.evaluation.bidirectional(vae, 10, 20, num_chains=4)
        >>> found.gap.mean > -3 * found.gap.standard_error
        True

    References:
        Sandwiching the marginal likelihood using bidirectional Monte Carlo (Grosse et al., 2015),
        https://arxiv.org/abs/1511.02543
        On the Quantitative Analysis of Decoder-Based Generative Models (Wu et al., 2017),
        https://arxiv.org/abs/1611.04273
    """
    num_points = check_count("num_points", num_points)
    num_chains = check_count("num_chains", num_chains)
    num_leapfrog_steps = check_count("num_leapfrog_steps", num_leapfrog_steps)
    betas = tf.constant(temperatures(check_count("num_temperatures", num_temperatures)))
    seed = stateless_seed(0 if seed is None else seed)
    data, z = _drawn(model, num_points, fold_in(seed, -1), context)
    stream = Stream(model, data, batch_size)
    compute = model.functions(
        ("bidirectional", num_chains, num_leapfrog_steps),
        functools.partial(_bounds, model, num_chains, num_leapfrog_steps),
    )
    results: list[list[np.ndarray]] = [[], [], []]
    first = 0
    with progress(num_points, "bidirectional", verbose) as bar:
        for index, (batch, count) in enumerate(stream):
            rows = filled(z[first : first + count], len(batch["x"]))
            found = compute(batch, rows, betas, fold_in(seed, index))
            for result, values in zip(results, found, strict=True):
                result.append(values.numpy()[:count])
            bar.update(count)
            first += count
    lower, upper, acceptance = (np.concatenate(result) for result in results)
    return Bidirectional(
        lower=Estimate.of(lower),
        upper=Estimate.of(upper),
        gap=Estimate.of(upper - lower),
        acceptance=acceptance,
        data=data,
        num_temperatures=int(num_temperatures),
        num_chains=num_chains,
    )


def _drawn(
    model: LatentVariableModel, num_points: int, seed: Tensor, context: Any
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Returns data of the model's own by name, and the latents `[N, *E]` that it came from."""
    graph, given = model.graph, {}
    if context is not None:
        context = tf.convert_to_tensor(context)
        given[CONTEXT] = np.broadcast_to(context.numpy(), [num_points, *context.shape[1:]])
        context = tf.constant(given[CONTEXT])
    drawn = model.generate(num_points, seed, context)
    # Models that tell latent nodes apart name them, others have one z.
    apart = all(name in drawn for name in graph.latents)
    z = drawn["z"] if not apart else graph.join(drawn) if graph.latents else tf.zeros([num_points])
    data = {name: drawn[name].numpy() for name in graph.observed}
    return {**data, **given}, z.numpy()


def _bounds(model: LatentVariableModel, num_chains: int, num_leapfrog_steps: int) -> _Compute:
    def compute(
        batch: dict[str, Tensor], z: Tensor, betas: Tensor, seed: Tensor
    ) -> tuple[Tensor, ...]:
        exact = model.exact_log_p_x(**batch)
        if exact is not None:
            return exact, exact, tf.fill(tf.shape(exact), tf.cast(np.nan, exact.dtype))
        check_free(model)
        path = path_of(model, batch, {})
        steps = adapted_steps(path, betas, num_leapfrog_steps, fold_in(seed, 0))
        first = path.draw(num_chains, fold_in(seed, 1))
        last = tf.broadcast_to(z[None], tf.shape(first))
        there, accepted = annealed(path, first, betas, steps, num_leapfrog_steps, fold_in(seed, 2))
        back, also = annealed(
            path, last, betas, steps, num_leapfrog_steps, fold_in(seed, 3), backwards=True
        )
        return summary_of_weights(there)[0], -summary_of_weights(-back)[0], 0.5 * (accepted + also)

    return compute
