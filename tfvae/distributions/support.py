"""Which data a likelihood can have produced, in the words of its user."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._typing import Distribution
from tfvae.distributions.wrappers import (
    BatchBroadcast,
    BatchReshape,
    Independent,
    Mixture,
    MixtureSameFamily,
    Sample,
)

__all__ = ["Support", "support_of"]

tfd = tfp.distributions


# How far the norm of a vector may be from one: what half precision rounds to.
NORM_TOLERANCE = 2e-3


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
        categories: How many unordered categories the whole numbers from `lower` stand for; None
            where numbers are numbers.
        one_hot: The last axis holds one category, as a one-hot vector.
        norm: Vectors along the last axis have this norm, and it is one: 2 on the sphere, 1 on the
            simplex. None where their elements are free.
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
    categories: int | None = None
    one_hot: bool = False
    norm: int | None = None

    @property
    def inside(self) -> float:
        """A value that lies within: the middle, or near the only bound."""
        if self.lower is not None and self.upper is not None:
            return self.lower if self.whole else 0.5 * (self.lower + self.upper)
        away = 1.0 if self.exclusive else 0.0
        if self.lower is not None:
            return self.lower + away
        return 0.0 if self.upper is None else self.upper - away


@functools.singledispatch
def support_of(distribution: Distribution) -> Support:
    """Returns the support of one element of a draw from `distribution`.

    Models check their data by it, and say what to do with data outside. A family that nobody has
    described takes every value; `support_of.register` describes one, and its subclasses.

    Example:
        >>> @tfvae.distributions.support_of.register(tfd.HalfCauchy)
        ... def _(distribution):
        ...     remedy = "Choose `IndependentNormal` for values that may be negative."
        ...     return tfvae.distributions.Support("HalfCauchy", lower=0.0, remedy=remedy)
        >>> tfvae.distributions.support_of(tfd.HalfCauchy(0.0, 1.0)).lower
        0.0
    """
    return Support(type(distribution).__name__)


@support_of.register(Independent)
@support_of.register(BatchReshape)
@support_of.register(BatchBroadcast)
@support_of.register(Sample)
def _(distribution: Distribution) -> Support:
    return support_of(distribution.distribution)


@support_of.register(MixtureSameFamily)
def _(distribution: Distribution) -> Support:
    return support_of(distribution.components_distribution)


@support_of.register(Mixture)
def _(distribution: Distribution) -> Support:
    first, *others = map(support_of, distribution.components)
    same = all(other == first for other in others)
    return first if same else Support(type(distribution).__name__)


_BINARISE = (
    "Scale the data to [0, 1] and binarise it (`x > 0.5`, or a draw per pixel), or choose a "
    "likelihood that takes it as it is: `ContinuousBernoulli` for values from 0 to 1, "
    "`DiscretizedLogistic` for levels, `IndependentNormal` for real values."
)
_COUNTS = (
    "Pass the counts themselves, not their logarithms or shares. For positive values choose "
    "`IndependentLogNormal`, for real values `IndependentNormal`."
)
_WHOLE = "Round the data, or choose `IndependentNormal` for real values."
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
_REAL = "Choose `IndependentNormal` for values that may be negative."
_UNIT = "Scale the data to [0, 1], or choose `IndependentNormal` for real values."
_LENGTH = (
    "Divide each vector by its length, or choose `MultivariateNormalTriL` for vectors of any other."
)
_SIMPLEX = (
    "Divide each vector by its sum, and move values away from zero. For one-hot vectors choose "
    "`OneHotCategorical`."
)
_ONE_HOT = "Pass one-hot vectors, such as `keras.ops.one_hot(labels, num_classes)`."


@support_of.register(tfd.Categorical)
def _(distribution: Distribution) -> Support:
    categories = distribution.logits_parameter().shape[-1]
    return Support(
        "Categorical",
        0.0,
        categories - 1.0,
        whole=True,
        remedy=_NUMBERS,
        categories=categories,
    )


@support_of.register(tfd.Binomial)
@support_of.register(tfd.BetaBinomial)
def _(distribution: Distribution) -> Support:
    name, totals = type(distribution).__name__, tf.get_static_value(distribution.total_count)
    if totals is None:  # They end where a network says.
        return Support(name)
    return Support(name, 0.0, float(np.max(totals)), whole=True, remedy=_COUNTS)


_SUPPORTS: dict[type, Support] = {
    tfd.Bernoulli: Support("Bernoulli", 0.0, 1.0, whole=True, remedy=_BINARISE),
    tfd.OneHotCategorical: Support(
        "OneHotCategorical", 0.0, 1.0, whole=True, remedy=_ONE_HOT, one_hot=True, norm=1
    ),
    tfd.Poisson: Support("Poisson", 0.0, whole=True, remedy=_COUNTS),
    tfd.NegativeBinomial: Support("NegativeBinomial", 0.0, whole=True, remedy=_COUNTS),
    tfd.Geometric: Support("Geometric", 0.0, whole=True, remedy=_COUNTS),
    tfd.Zipf: Support("Zipf", 1.0, whole=True, remedy=_COUNTS),
    tfd.Skellam: Support("Skellam", whole=True, remedy=_WHOLE),
    tfd.ContinuousBernoulli: Support("ContinuousBernoulli", 0.0, 1.0, remedy=_UNIT),
    tfd.Beta: Support("Beta", 0.0, 1.0, remedy=_INSIDE, exclusive=True),
    tfd.RelaxedBernoulli: Support("RelaxedBernoulli", 0.0, 1.0, remedy=_INSIDE, exclusive=True),
    tfd.VonMisesFisher: Support("VonMisesFisher", remedy=_LENGTH, norm=2),
    tfd.PowerSpherical: Support("PowerSpherical", remedy=_LENGTH, norm=2),
    tfd.SphericalUniform: Support("SphericalUniform", remedy=_LENGTH, norm=2),
    tfd.RelaxedOneHotCategorical: Support(
        "RelaxedOneHotCategorical", 0.0, remedy=_SIMPLEX, exclusive=True, norm=1
    ),
    tfd.Dirichlet: Support("Dirichlet", 0.0, remedy=_SIMPLEX, exclusive=True, norm=1),
    tfd.LogNormal: Support("LogNormal", 0.0, remedy=_POSITIVE, exclusive=True),
    tfd.Gamma: Support("Gamma", 0.0, remedy=_POSITIVE, exclusive=True),
    tfd.InverseGamma: Support("InverseGamma", 0.0, remedy=_POSITIVE, exclusive=True),
    tfd.Exponential: Support("Exponential", 0.0, remedy=_REAL),
    tfd.HalfNormal: Support("HalfNormal", 0.0, remedy=_REAL),
}
for _family, _support in _SUPPORTS.items():
    support_of.register(_family, lambda _, support=_support: support)
