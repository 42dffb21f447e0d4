"""What the ELBO misses of log p(x), batch by batch."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from tfvae._random import fold_in
from tfvae._typing import Tensor
from tfvae.evaluation.proposals import Encoder, Proposal
from tfvae.evaluation.refinement import refined_posterior
from tfvae.evaluation.sampling import Sampler
from tfvae.evaluation.units import Unit
from tfvae.learning.semi_amortised import checked_origin
from tfvae.models import LatentVariableModel

__all__ = ["Gaps"]

_ENCODER = Encoder()


class Gaps:
    """The evidence, and what is missing of it in the ELBO.

    Args:
        model: The model.
        sampler: Of the draws behind the evidence.
        proposal: What these come from, where no posterior is refined.
        num_samples: Draws behind the ELBO.
        refine_steps: Steps that refine the posteriors which the draws come from, 0 for none.
    """

    def __init__(
        self,
        model: LatentVariableModel,
        sampler: Sampler,
        proposal: Proposal,
        num_samples: int,
        refine_steps: int,
    ) -> None:
        self._model, self._sampler, self._proposal = model, sampler, proposal
        self._refines = refine_steps > 0
        self._unit = Unit(model)
        self._steps = (refine_steps, num_samples)
        # Draws of one pass over all points.
        self._draws = None if sampler.num_points is None else sampler.num_points * num_samples

    def of(
        self, batch: dict[str, Tensor], rows: slice, seed: Tensor, elbo: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Returns the values of the first points of a batch `[count]`, the data's `rows`, by name.

        Those of the evidence are named as `Sampler.judged` and `Unit.of_first` do.
        """
        count = rows.stop - rows.start
        own, found = self._proposal.of_points(rows), {}
        if self._refines:
            make = functools.partial(_refiner, self._model, *self._steps)
            passes = None if self._draws is None else self._draws * self._steps[0]
            refine = self._model.functions(("refined ledger", *self._steps), make, passes)
            found = {name: value.numpy()[:count] for name, value in refine(batch, seed).items()}
            own = {"params": found.pop("params")}
        values = self._evidence(batch, count, own, fold_in(seed, 1))
        with np.errstate(invalid="ignore"):  # infinite scores
            left = values["log_p_x"] - values.pop("elbo")
            if not self._refines and self._proposal != _ENCODER:
                # The weights of other draws know nothing of the encoder's bound.
                left = values["log_p_x"] - self._other_elbo(batch, seed)[:count]
            if not self._refines:
                return {**values, "gap": left}
            return {
                **values,
                "gap": values["log_p_x"] - found["others"],
                "amortisation_gap": found["refined"] - elbo,
                "approximation_gap": left,
            }

    def _other_elbo(self, batch: dict[str, Tensor], seed: Tensor) -> np.ndarray:
        """Returns the ELBO of the encoder, from other draws than those of the ledger."""
        num_samples = self._steps[1]

        def elbo(batch: dict[str, Tensor], seed: Tensor) -> Tensor:
            return self._model.terms(num_samples=num_samples, seed=seed, **batch).elbo

        compute = self._model.functions(("other ELBO", num_samples), lambda: elbo, self._draws)
        return compute(batch, fold_in(seed, 3)).numpy()

    def _evidence(
        self, batch: dict[str, Tensor], count: int, own: dict[str, np.ndarray], seed: Tensor
    ) -> dict[str, np.ndarray]:
        parts = []
        for index, (piece, params, num) in enumerate(self._sampler.pieces(batch, count, own)):
            draw = fold_in(seed, index) if index else seed
            evidence = self._sampler.evidence(piece, params, draw)
            judged = self._sampler.judged(evidence, self._sampler.block_of(piece, params), num)
            parts.append({**judged, **self._unit.of_first(piece, num)})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _refiner(
    model: LatentVariableModel, refine_steps: int, num_samples: int
) -> Callable[[dict[str, Tensor], Tensor], dict[str, Tensor]]:
    """Makes the pass that refines the posteriors of one chunk."""

    def refined(batch: dict[str, Tensor], seed: Tensor) -> dict[str, Tensor]:
        start, draw = model.encode(**batch), fold_in(seed, 2)
        best = refined_posterior(model, batch, start, refine_steps, draw, num_samples)
        # Differences of ELBOs at the same noise; other draws behind the gap itself.
        after, others = (
            model.terms(num_samples=num_samples, seed=draw, posterior=q, **batch).elbo
            for q, draw in ((best, fold_in(seed, 0)), (None, fold_in(seed, 3)))
        )
        return {
            "params": checked_origin(model, best).params,
            "refined": after,
            "others": others,
        }

    return refined
