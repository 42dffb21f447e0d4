"""What a report is made of: all numbers, before anything is drawn or written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfvae._random import fold_in, stateless_seed
from tfvae._typing import Seed
from tfvae.data.spec import CONTEXT
from tfvae.evaluation import (
    CollapseReport,
    Decomposition,
    LogLikelihood,
    decompose,
    log_likelihood,
    measure_collapse,
)
from tfvae.evaluation.collapse import draws_per_point
from tfvae.evaluation.streaming import first_rows
from tfvae.latents import Traversal, traversals
from tfvae.learning.semi_amortised import refinable
from tfvae.models import LatentVariableModel

__all__ = ["Findings", "gather"]

_NUM_DRAWN = 256
_MOST_WAYS = 8


@dataclass(frozen=True)
class Findings:
    """All that a report says of a model on data.

    Attributes:
        model: The model.
        parts: The data that was looked at, by name, `[N, ...]` each.
        history: Epochs of training by the names that `fit` logs, None where none was given.
        ledger: The ledger of the ELBO.
        likelihood: log p(x), point by point, by draws of q(z|x) as it is; the ledger's is by
            refined ones where the gap is split.
        collapse: What z says of x; None for models without latents, and for one point.
        drawn: Observed node → new data `[M, ...]`; with `_mean` behind the name, p(x|z)'s centres.
        ways: Traversals of the active dimensions.
    """

    model: LatentVariableModel
    parts: dict[str, np.ndarray]
    history: Mapping[str, Sequence[float]] | None
    ledger: Decomposition
    likelihood: LogLikelihood
    collapse: CollapseReport | None
    drawn: dict[str, np.ndarray]
    ways: list[Traversal]

    @property
    def num_points(self) -> int:
        """Number of points that were looked at, N."""
        return len(self.likelihood.per_point)

    @property
    def is_refined(self) -> bool:
        """Whether log p(x) of the ledger is from posteriors that were fitted point by point."""
        return self.ledger.log_p_x is not None and self.ledger.log_p_x is not self.likelihood

    @property
    def observed(self) -> dict[str, np.ndarray]:
        """The observed nodes of the data, by name."""
        return {name: self.parts[name] for name in self.model.graph.observed}


def gather(
    model: LatentVariableModel,
    data: Any,
    history: Any,
    *,
    num_samples: int,
    refine_steps: int,
    max_points: int,
    seed: Seed,
    verbose: bool,
) -> Findings:
    """Measures all that a report says, on the first `max_points` points of data."""
    seed = stateless_seed(0 if seed is None else seed)
    parts = first_rows(model, data, max_points)
    size = len(next(iter(parts.values())))
    settings: dict[str, Any] = {"seed": seed, "verbose": verbose}
    steps = refine_steps if _refines(model) else 0
    ledger = decompose(
        model,
        parts,
        num_samples=max(10, draws_per_point(size)),
        evidence_samples=num_samples,
        refine_steps=steps,
        **settings,
    )
    has_latents, collapse = bool(model.graph.latents), None
    if has_latents and size > 1:
        collapse = measure_collapse(model, parts, ledger=ledger, **settings)
    likelihood = ledger.log_p_x
    if steps or likelihood is None:  # What refined posteriors give says nothing of the encoder's.
        likelihood = log_likelihood(model, parts, num_samples, **settings)
    context = parts.get(CONTEXT)
    if context is not None:
        context = np.resize(context, (_NUM_DRAWN, *context.shape[1:]))
    drawn = model.generate(_NUM_DRAWN, fold_in(seed, 1), context)
    return Findings(
        model=model,
        parts=parts,
        history=getattr(history, "history", history),
        ledger=ledger,
        likelihood=likelihood,
        collapse=collapse,
        drawn={name: np.asarray(part) for name, part in drawn.items()},
        ways=traversals(model, parts, most=_MOST_WAYS, seed=seed) if has_latents else [],
    )


def _refines(model: LatentVariableModel) -> bool:
    """Whether the posterior of each point has parameters of its own, which can be refined."""
    if not model.graph.latents or not model.graph.posterior_weights:
        return False
    try:
        refinable(model)
    except ValueError:
        return False
    return True
