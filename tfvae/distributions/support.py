"""Which data a likelihood can have produced, in the words of its user."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow_probability as tfp

from tfvae._typing import Distribution

__all__ = ["Support", "support_of"]

tfd = tfp.distributions


@dataclass(frozen=True)
class Support:
    """The values that a likelihood can give density to.

    Attributes:
        likelihood: Name of the family, for messages.
        lower: Least value, None where there is none.
        upper: Greatest value, None where there is none.
        whole: Only whole numbers lie in the support. Fractions between the bounds then get a
            number that is no log-likelihood: worth a warning, while values beyond the bounds
            are errors.
        remedy: What to do with data outside.
    """

    likelihood: str
    lower: float | None = None
    upper: float | None = None
    whole: bool = False
    remedy: str = ""


def support_of(distribution: Distribution) -> Support:
    """Returns the support of one element of a draw from `distribution`."""
    inner = distribution
    while isinstance(inner, (tfd.Independent, tfd.BatchReshape)):
        inner = inner.distribution
    if isinstance(inner, tfd.Bernoulli):
        return Support(
            likelihood="Bernoulli",
            lower=0.0,
            upper=1.0,
            whole=True,
            remedy="Scale the data to [0, 1] and binarise it (`x > 0.5`, or a draw per pixel), or "
            "choose a likelihood for real values, such as `IndependentNormal`.",
        )
    return Support(likelihood=type(inner).__name__)
