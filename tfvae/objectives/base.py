"""The base of all objectives."""

from __future__ import annotations

from tfvae._config import Configured
from tfvae._typing import Tensor
from tfvae.terms import Terms

__all__ = ["Objective"]


class Objective(Configured):
    """Abstract function from the scores of one pass to a bound that training maximises.

    A new objective is one frozen dataclass with `__call__`: no variables, no sampling, no model.

    Attributes:
        num_samples: Draws of z per data point, S, that the model makes for this objective.

    Call arguments:
        terms: `Terms` with S draws for B points.
        step: Number of updates made so far, for schedules.

    Returns:
        The bound `[B]`, nats.
    """

    num_samples: int = 1

    def __call__(self, terms: Terms, step: int | Tensor = 0) -> Tensor:
        raise NotImplementedError
