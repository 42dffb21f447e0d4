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


_BINARISE = (
    "Scale the data to [0, 1] and binarise it (`x > 0.5`, or a draw per pixel), or "
    "choose a likelihood for real values, such as `IndependentNormal`."
)
_COUNTS = (
    "Pass the counts themselves, not their logarithms or shares. For real values choose "
    "`IndependentNormal`, or `IndependentLogistic` for heavier tails."
)
_ONE_HOT = "Pass one-hot vectors, such as `keras.ops.one_hot(labels, num_classes)`."


def support_of(distribution: Distribution) -> Support:
    """Returns the support of one element of a draw from `distribution`."""
    inner = distribution
    while isinstance(inner, (tfd.Independent, tfd.BatchReshape, tfd.MixtureSameFamily)):
        mixture = isinstance(inner, tfd.MixtureSameFamily)
        inner = inner.components_distribution if mixture else inner.distribution
    for family, support in _SUPPORTS:
        if isinstance(inner, family):
            return support
    return Support(likelihood=type(inner).__name__)


_SUPPORTS: list[tuple[type, Support]] = [
    (tfd.Bernoulli, Support("Bernoulli", 0.0, 1.0, whole=True, remedy=_BINARISE)),
    (tfd.OneHotCategorical, Support("OneHotCategorical", 0.0, 1.0, whole=True, remedy=_ONE_HOT)),
    (tfd.Poisson, Support("Poisson", 0.0, whole=True, remedy=_COUNTS)),
]
