"""Which data a likelihood can have produced, in the words of its user."""

from __future__ import annotations

from dataclasses import dataclass, replace

import tensorflow_probability as tfp

from tfvae._typing import Distribution
from tfvae.distributions.autoregressive import Autoregressive
from tfvae.distributions.discretized_logistic import DiscretizedLogistic
from tfvae.distributions.heterogeneous import Heterogeneous
from tfvae.distributions.masked import Masked
from tfvae.distributions.zero_inflated import ZeroInflated

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
        spacing: Distance between the values of a `whole` support, counted from `lower`.
        exclusive: The bounds themselves lie outside.
        missing: NaN is taken as an entry that was not observed.
        columns: Name, number of columns and support of each part of a row, where they differ; the
            bounds above then say nothing.
    """

    likelihood: str
    lower: float | None = None
    upper: float | None = None
    whole: bool = False
    remedy: str = ""
    spacing: float = 1.0
    exclusive: bool = False
    missing: bool = False
    columns: tuple[tuple[str, int, Support], ...] = ()


_BINARISE = (
    "Scale the data to [0, 1] and binarise it (`x > 0.5`, or a draw per pixel), or choose a "
    "likelihood that takes it as it is: `ContinuousBernoulli` for values from 0 to 1, "
    "`DiscretizedLogistic` for levels, `IndependentNormal` for real values."
)
_COUNTS = (
    "Pass the counts themselves, not their logarithms or shares. For positive values choose "
    "`IndependentLogNormal`, for real values `IndependentNormal`."
)
_LEVELS = (
    "Set `levels`, `low` and `high` of the layer to those of the data, or choose "
    "`ContinuousBernoulli` for values from 0 to 1 and `IndependentNormal` for real values."
)
_NUMBERS = (
    "Number the categories from 0, and set `levels` to how many there are. For one-hot vectors "
    "choose `OneHotCategorical`."
)
_INSIDE = (
    "Move values away from the bounds, `eps + (1 - 2 * eps) * x`, or choose "
    "`ContinuousBernoulli`, which takes 0 and 1 too."
)
_POSITIVE = (
    "Add a small constant to zeros, or choose a likelihood that takes them, such as "
    "`IndependentNormal`, or `IndependentPoisson` for counts."
)
_UNIT = "Scale the data to [0, 1], or choose `IndependentNormal` for real values."
_ONE_HOT = "Pass one-hot vectors, such as `keras.ops.one_hot(labels, num_classes)`."


def support_of(distribution: Distribution) -> Support:
    """Returns the support of one element of a draw from `distribution`."""
    if isinstance(distribution, Masked):
        return replace(support_of(distribution.distribution), missing=True)
    if isinstance(distribution, (tfd.Independent, tfd.BatchReshape)):
        return support_of(distribution.distribution)
    if isinstance(distribution, tfd.MixtureSameFamily):
        return support_of(distribution.components_distribution)
    if isinstance(distribution, Heterogeneous):
        supports = map(support_of, distribution.distributions)
        columns = zip(distribution.names, distribution.sizes, supports, strict=True)
        return Support("Heterogeneous", columns=tuple(columns))
    if isinstance(distribution, Autoregressive):
        return support_of(distribution.element)
    inner = distribution
    if isinstance(inner, ZeroInflated):
        inner = inner.distribution
    if isinstance(inner, DiscretizedLogistic):
        return Support(
            "DiscretizedLogistic", inner.low, inner.high, True, _LEVELS, spacing=inner.step
        )
    if isinstance(inner, tfd.Categorical):
        upper = inner.logits_parameter().shape[-1] - 1.0
        return Support("Categorical", 0.0, upper, True, _NUMBERS)
    for family, support in _SUPPORTS:
        if isinstance(inner, family):
            return support
    return Support(likelihood=type(inner).__name__)


_SUPPORTS: list[tuple[type, Support]] = [
    (tfd.Bernoulli, Support("Bernoulli", 0.0, 1.0, whole=True, remedy=_BINARISE)),
    (tfd.OneHotCategorical, Support("OneHotCategorical", 0.0, 1.0, whole=True, remedy=_ONE_HOT)),
    (tfd.Poisson, Support("Poisson", 0.0, whole=True, remedy=_COUNTS)),
    (tfd.NegativeBinomial, Support("NegativeBinomial", 0.0, whole=True, remedy=_COUNTS)),
    (tfd.ContinuousBernoulli, Support("ContinuousBernoulli", 0.0, 1.0, remedy=_UNIT)),
    (tfd.Beta, Support("Beta", 0.0, 1.0, remedy=_INSIDE, exclusive=True)),
    (tfd.RelaxedBernoulli, Support("RelaxedBernoulli", 0.0, 1.0, remedy=_INSIDE, exclusive=True)),
    (tfd.LogNormal, Support("LogNormal", 0.0, remedy=_POSITIVE, exclusive=True)),
]
