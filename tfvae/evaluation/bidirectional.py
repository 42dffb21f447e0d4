"""The evidence of simulated data from below and from above."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae._config import check_count
from tfvae._random import fold_in, stateless_seed
from tfvae._typing import Seed, Tensor
from tfvae._words import counted
from tfvae.data.chunks import filled
from tfvae.data.spec import CONTEXT
from tfvae.evaluation.annealer import ENDS, Annealer
from tfvae.evaluation.estimate import Estimate, Shown, render_table
from tfvae.evaluation.streaming import Stream, progress
from tfvae.models import LatentVariableModel

__all__ = ["Bidirectional", "bidirectional"]


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
        points = counted(len(self.gap.per_point), "point")
        title = f"log p(x) of {points}, {counted(self.num_chains, 'chain')} each way"
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
    memory_gib: float = 1.0,
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
        memory_gib: The most memory that a block of chains may take, see
            `tfvae.annealed_log_likelihood`.
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
    batch_size = check_count("batch_size", batch_size)
    annealer = Annealer(
        model, num_temperatures, num_chains, num_leapfrog_steps, memory_gib, 2 * num_points
    )
    seed = stateless_seed(0 if seed is None else seed)
    data, z = _drawn(model, num_points, batch_size, fold_in(seed, -1), context)
    stream = Stream(model, data, batch_size)
    parts: list[dict[str, np.ndarray]] = []
    with progress(num_points, "bidirectional", verbose) as bar:
        for index, (batch, count) in enumerate(stream):
            first = index * batch_size
            own = {ENDS: filled(z[first : first + count], len(batch["x"]))}
            parts.append(annealer.found(batch, own, count, fold_in(seed, index)))
            bar.update(count)
    values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    lower, upper = values["log_p_x"], values["upper"]
    return Bidirectional(
        lower=Estimate.of(lower),
        upper=Estimate.of(upper),
        gap=Estimate.of(upper - lower),
        acceptance=values["acceptance"],
        data=data,
        num_temperatures=annealer.num_temperatures,
        num_chains=annealer.num_chains,
    )


def _drawn(
    model: LatentVariableModel, num_points: int, batch_size: int, seed: Tensor, context: Any
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Returns data of the model's own by name, and the latents `[N, *E]` that it came from."""
    given = {}
    if context is not None:
        context = np.asarray(tf.convert_to_tensor(context))
        given[CONTEXT] = np.broadcast_to(context, [num_points, *context.shape[1:]])
    parts = []
    for index, first in enumerate(range(0, num_points, batch_size)):
        rows = slice(first, min(num_points, first + batch_size))
        own = tf.constant(given[CONTEXT][rows]) if given else None
        parts.append(_drawn_at_once(model, rows.stop - first, fold_in(seed, index), own))
    data = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    z = data.pop(ENDS)
    return {**data, **given}, z


def _drawn_at_once(
    model: LatentVariableModel, num_points: int, seed: Tensor, context: Tensor | None
) -> dict[str, np.ndarray]:
    """Returns data of the model's own by name, and as `ENDS` the latents that it came from."""
    graph, drawn = model.graph, model.generate(num_points, seed, context)
    # Models that tell latent nodes apart name them, others have one z.
    apart = all(name in drawn for name in graph.latents)
    z = drawn["z"] if not apart else graph.join(drawn) if graph.latents else tf.zeros([num_points])
    return {**{name: drawn[name].numpy() for name in graph.observed}, ENDS: z.numpy()}
