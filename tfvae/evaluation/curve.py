"""How the evidence grows with the number of draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfvae.evaluation.estimate import Estimate

__all__ = ["Curve"]


@dataclass(frozen=True)
class Curve:
    """The bound L_s on log p(x), of the first s of all draws, against s.

        L_s = E log (1/s) sum_i w_i,   ELBO = L_1 <= L_s <= L_2s <= log p(x)

    Where it still rises at its end, log p(x) lies above. All its points are of the same draws, so
    that a rise between two is surer than their errors, which are over the choice of the points.

    Attributes:
        num_draws: s `[J]`, ascending; the last is the number of all draws, S.
        mean: L_s `[J]`, mean over the points, nats.
        standard_error: Of `mean` `[J]`, nats, over the choice of the points and of the draws.

    Reference: Importance Weighted Autoencoders (Burda et al., 2016),
    https://arxiv.org/abs/1509.00519
    """

    num_draws: np.ndarray
    mean: np.ndarray
    standard_error: np.ndarray

    @classmethod
    def of(cls, batches: Sequence[Mapping[int, np.ndarray]]) -> Curve:
        """Averages over the points of all batches, in float64.

        Args:
            batches: Of each batch, s → log of the mean weight of the first s draws `[B]`, nats.
                Numbers s that not all batches have are left out.

        Example:
            >>> from tfvae.evaluation import Curve
            >>> curve = Curve.of([{1: np.zeros(2), 4: np.ones(2)}, {2: np.ones(1), 4: np.ones(1)}])
            >>> curve.num_draws, curve.mean
            (array([4]), array([1.]))
        """
        shared = sorted(set(batches[0]).intersection(*batches[1:]))
        means = [Estimate.of(np.concatenate([batch[s] for batch in batches])) for s in shared]
        return cls(
            np.array(shared),
            np.array([each.mean for each in means]),
            np.array([each.standard_error for each in means]),
        )

    def to_dict(self) -> dict[str, list[float]]:
        """Returns the curve as plain numbers."""
        return {name: values.tolist() for name, values in vars(self).items()}
