"""Parameters that data asks of a family: where a decoder starts, and in which units it counts."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.layers.bernoulli import IndependentBernoulli
from tfvae.layers.categorical import (
    CategoricalMixtureOfOneHotCategorical,
    IndependentCategorical,
    OneHotCategorical,
)
from tfvae.layers.counts import (
    IndependentNegativeBinomial,
    IndependentPoisson,
    ZeroInflatedNegativeBinomial,
    ZeroInflatedPoisson,
)
from tfvae.layers.discretized import DiscretizedLogistic, MixtureOfDiscretizedLogistics
from tfvae.layers.heterogeneous import Heterogeneous
from tfvae.layers.masked import Masked
from tfvae.layers.mixture import MixtureLogistic, MixtureNormal, MixtureSameFamily
from tfvae.layers.normal import (
    IndependentNormal,
    MultivariateNormalDiag,
    MultivariateNormalLowRank,
    MultivariateNormalTriL,
)
from tfvae.layers.real import (
    IndependentLaplace,
    IndependentLogistic,
    IndependentLogNormal,
    IndependentStudentT,
)
from tfvae.layers.sphere import PowerSpherical
from tfvae.layers.unit_interval import ContinuousBernoulli, IndependentBeta

__all__ = ["Start", "start_of"]

# Degrees of freedom of a Student t to start from: tails that a Gaussian has not, with moments.
_DF = 10.0
# A logistic variable of scale 1 has this standard deviation.
_LOGISTIC = np.pi / np.sqrt(3.0)


class Start(NamedTuple):
    """How a layer's parameters follow from numbers near zero, each array `[P]`, float64.

        linear:    params = shift + unit * raw
        positive:  softplus(params) = unit * softplus(raw + log(e - 1)), which is unit at raw = 0

    Attributes:
        shift: Value at zero, of those that are linear.
        unit: What the numbers count.
        positive: Which ones go through a softplus.
    """

    shift: np.ndarray
    unit: np.ndarray
    positive: np.ndarray

    @classmethod
    def linear(cls, shift: Any, unit: Any = 1.0) -> Start:
        """Returns the start of numbers of any sign."""
        shift, unit = np.broadcast_arrays(np.asarray(shift, float), unit)
        return cls(shift.ravel(), unit.ravel().astype(float), np.zeros(shift.size, bool))

    @classmethod
    def above(cls, floor: float, value: Any) -> Start:
        """Returns the start of `floor + softplus(params)`, which is `value` at first."""
        unit = np.maximum(np.asarray(value, float).ravel() - floor, 1e-6)
        return cls(np.zeros(unit.size), unit, np.ones(unit.size, bool))

    @property
    def params(self) -> np.ndarray:
        """The parameters themselves at zero, `[P]`."""
        unit = np.where(self.positive, self.unit, 1.0)
        # The inverse of softplus, also where exp overflows.
        return np.where(self.positive, unit + np.log(-np.expm1(-unit)), self.shift)

    @classmethod
    def of(cls, *parts: Start) -> Start:
        """Returns the starts of several parts, which stand one after the other."""
        return cls(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


class _Moments(NamedTuple):
    """Of the observed entries of data, each `[*E]`: 0 and 1 where there are none."""

    count: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    zeros: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray) -> _Moments:
        observed = ~np.isnan(x)
        count = observed.sum(axis=0)
        safe = np.maximum(count, 1)
        mean = np.where(observed, x, 0.0).sum(axis=0) / safe
        variance = np.where(observed, np.square(x - mean), 0.0).sum(axis=0) / safe
        zeros = (observed & (x == 0.0)).sum(axis=0) / safe
        return cls(count, mean, variance, zeros)

    @property
    def deviation(self) -> np.ndarray:
        """Standard deviation, 1 where there is no spread."""
        return np.where(self.variance > 0.0, np.sqrt(self.variance), 1.0)

    @property
    def least(self) -> np.ndarray:
        """What half a point of these would make of a share or a rate: none starts at zero."""
        return 0.5 / (self.count + 1.0)

    @property
    def share(self) -> np.ndarray:
        """The mean as one between 0 and 1; a half of what nobody has seen."""
        share = np.where(self.count > 0, self.mean, 0.5)
        return np.clip(share, self.least, 1.0 - self.least)

    @property
    def rate(self) -> np.ndarray:
        """The mean as one above zero; one of what nobody has seen."""
        return np.maximum(np.where(self.count > 0, self.mean, 1.0), self.least)


@functools.singledispatch
def start_of(layer: Any, x: np.ndarray) -> Start:
    """Returns from data where a layer's parameters start: with the mean of the data.

    Families of your own register theirs, `start_of.register(Family)`.

    Args:
        layer: A distribution layer.
        x: `[N, *E]`, float64, NaN where an entry is missing.

    Raises:
        TypeError: Nobody has said where the layer starts.

    Example:
        >>> from tfvae.layers import start_of
        >>> x = np.array([[1.0], [3.0]])
        >>> start = start_of(tfvae.layers.IndependentPoisson(1), x)
        >>> np.exp(start.shift).round(6)
        array([2.])
    """
    raise TypeError(
        f"Where `{type(layer).__name__}` starts from data is not known. Leave `Adapted` out, or "
        "register a function for it: `tfvae.layers.start_of.register(Family)`. "
        f"Received: {layer!r}"
    )


def _logit(share: np.ndarray) -> np.ndarray:
    return np.log(share) - np.log1p(-share)


def _root(
    function: Callable[[np.ndarray], np.ndarray], target: np.ndarray, low: Any, high: Any
) -> np.ndarray:
    """Returns where a rising function takes its targets, by halving the interval."""
    low, high = np.broadcast_to(low, target.shape), np.broadcast_to(high, target.shape)
    for _ in range(80):
        middle = (low + high) / 2.0
        below = function(middle) < target
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2.0


def _location_scale(layer: Any, x: np.ndarray, per_deviation: float = 1.0) -> Start:
    found = _Moments.of(x)
    scale = Start.above(layer.min_scale, found.deviation / per_deviation)
    return Start.of(Start.linear(found.mean, found.deviation), scale)


@start_of.register(IndependentNormal)
@start_of.register(MultivariateNormalDiag)
def _normal(layer: Any, x: np.ndarray) -> Start:
    return _location_scale(layer, x)


@start_of.register
def _logistic(layer: IndependentLogistic, x: np.ndarray) -> Start:
    return _location_scale(layer, x, _LOGISTIC)


@start_of.register
def _laplace(layer: IndependentLaplace, x: np.ndarray) -> Start:
    return _location_scale(layer, x, np.sqrt(2.0))


@start_of.register
def _student(layer: IndependentStudentT, x: np.ndarray) -> Start:
    df = Start.above(layer.min_df, np.full(x.shape[1:], max(_DF, layer.min_df + 1.0)))
    return Start.of(df, _location_scale(layer, x, np.sqrt(_DF / (_DF - 2.0))))


@start_of.register
def _log_normal(layer: IndependentLogNormal, x: np.ndarray) -> Start:
    # The moments of x, not those of its logarithm: so the mean is that of the data.
    found = _Moments.of(x)
    mean = np.where(found.count > 0, found.mean, 1.0)
    sigma = np.sqrt(np.log1p(found.variance / mean**2))
    sigma = np.maximum(np.where(sigma > 0.0, sigma, 1.0), layer.min_scale + 1e-3)
    loc = np.log(mean) - sigma**2 / 2.0
    return Start.of(Start.linear(loc, sigma), Start.above(layer.min_scale, sigma))


@start_of.register
def _tril(layer: MultivariateNormalTriL, x: np.ndarray) -> Start:
    found = _Moments.of(x)
    diagonal = Start.above(layer.min_scale, found.deviation).unit
    units = np.where(np.eye(len(diagonal), dtype=bool), diagonal, found.deviation[:, None])
    flat = [
        tfp.math.fill_triangular_inverse(tf.constant(matrix)).numpy()
        for matrix in (np.tril(units), np.eye(len(diagonal)))
    ]
    factor = Start(np.zeros_like(flat[0]), flat[0], flat[1] > 0.5)
    return Start.of(Start.linear(found.mean, found.deviation), factor)


@start_of.register
def _low_rank(layer: MultivariateNormalLowRank, x: np.ndarray) -> Start:
    factor = Start.linear(np.zeros(x.shape[1] * layer.rank))  # counts in scales already
    return Start.of(_location_scale(layer, x), factor)


@start_of.register
def _bernoulli(layer: IndependentBernoulli, x: np.ndarray) -> Start:
    return Start.linear(_logit(_Moments.of(x).share))


@start_of.register
def _continuous_bernoulli(layer: ContinuousBernoulli, x: np.ndarray) -> Start:
    def mean(logits: np.ndarray) -> np.ndarray:
        safe = np.where(np.abs(logits) < 1e-3, 1.0, logits)
        return np.where(
            np.abs(logits) < 1e-3, 0.5 + logits / 12.0, -1.0 / np.expm1(-safe) - 1.0 / safe
        )

    return Start.linear(_root(mean, _Moments.of(x).share, -500.0, 500.0))


@start_of.register
def _beta(layer: IndependentBeta, x: np.ndarray) -> Start:
    found = _Moments.of(x)
    share, floor = found.share, layer.min_concentration + 1e-3
    spread = np.where(found.variance > 0.0, found.variance, share * (1.0 - share) / 3.0)
    least = floor / np.minimum(share, 1.0 - share)
    total = np.maximum(share * (1.0 - share) / spread - 1.0, least)
    floor = layer.min_concentration
    return Start.of(Start.above(floor, share * total), Start.above(floor, (1.0 - share) * total))


def _shares(x: np.ndarray, levels: int) -> np.ndarray:
    """Returns logarithms of the shares of categories, `[*E, L]`."""
    count = (~np.isnan(x)).sum(axis=0)[..., None]
    seen = np.stack([(x == level).sum(axis=0) for level in range(levels)], axis=-1)
    share = np.where(count > 0, seen / np.maximum(count, 1), 1.0 / levels)
    share = np.maximum(share, 0.5 / (count + 1.0))
    return np.log(share / share.sum(axis=-1, keepdims=True))


@start_of.register
def _categorical(layer: IndependentCategorical, x: np.ndarray) -> Start:
    return Start.linear(_shares(x, layer.levels))


@start_of.register
def _one_hot(layer: OneHotCategorical, x: np.ndarray) -> Start:
    known = ~np.isnan(x).any(axis=-1)
    return Start.linear(_shares(np.where(known, np.argmax(x, axis=-1), np.nan), x.shape[-1]))


@start_of.register
def _one_hot_mixture(layer: CategoricalMixtureOfOneHotCategorical, x: np.ndarray) -> Start:
    return _mixture(_one_hot(layer, x), layer.num_components)


@start_of.register
def _poisson(layer: IndependentPoisson, x: np.ndarray) -> Start:
    return Start.linear(np.log(_Moments.of(x).rate))


def _negative_binomial_of(layer: Any, mean: np.ndarray, variance: np.ndarray) -> Start:
    surplus = np.maximum(variance - mean, 1e-3 * mean)
    total = np.clip(mean**2 / surplus, layer.min_total_count + 1e-2, 1e3)
    count = Start.above(layer.min_total_count, total)
    return Start.of(count, Start.linear(np.log(mean / total)))


@start_of.register
def _negative_binomial(layer: IndependentNegativeBinomial, x: np.ndarray) -> Start:
    found = _Moments.of(x)
    return _negative_binomial_of(layer, found.rate, found.variance)


@start_of.register
def _zero_inflated_poisson(layer: ZeroInflatedPoisson, x: np.ndarray) -> Start:
    # By moments: variance = mean + mean**2 * zero / (1 - zero).
    found = _Moments.of(x)
    surplus = np.maximum(found.variance - found.rate, 0.0)
    zero = np.clip(surplus / (surplus + found.rate**2), 0.01, 0.99)
    rate = found.rate / (1.0 - zero)
    return Start.of(Start.linear(np.log(rate)), Start.linear(_logit(zero)))


@start_of.register
def _zero_inflated_negative_binomial(layer: ZeroInflatedNegativeBinomial, x: np.ndarray) -> Start:
    # Half of the zeros of the data, and by moments the rest.
    found = _Moments.of(x)
    zero = np.clip(found.zeros / 2.0, 0.01, 0.5)
    mean = found.rate / (1.0 - zero)
    variance = (found.variance + found.rate**2) / (1.0 - zero) - mean**2
    return Start.of(_negative_binomial_of(layer, mean, variance), Start.linear(_logit(zero)))


def _levels(layer: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns loc and scale of a logistic variable that has the mean of data when it is rounded."""
    found, step = _Moments.of(x), (layer.high - layer.low) / (layer.levels - 1)
    # A pixel that never changes keeps next to all of its mass on its level.
    scale = np.maximum(np.sqrt(found.variance) / _LOGISTIC, step / 4.0)
    edges = layer.low + step * (np.arange(layer.levels - 1) + 0.5)

    def mean(loc: np.ndarray) -> np.ndarray:
        # As the sum of the probabilities to lie above each edge.
        above = (loc[..., None] - edges) / scale[..., None]
        return layer.low + step * (0.5 * (1.0 + np.tanh(above / 2.0))).sum(axis=-1)

    width = step * (layer.levels - 1)
    target = np.where(found.count > 0, found.mean, (layer.low + layer.high) / 2.0)
    reach, margin = width + 40.0 * scale, width * found.least
    target = np.clip(target, layer.low + margin, layer.high - margin)
    return _root(mean, target, layer.low - reach, layer.high + reach), scale


@start_of.register
def _discretized(layer: DiscretizedLogistic, x: np.ndarray) -> Start:
    loc, scale = _levels(layer, x)
    return Start.of(Start.linear(loc, scale), Start.above(layer.min_scale, scale))


@start_of.register
def _discretized_mixture(layer: MixtureOfDiscretizedLogistics, x: np.ndarray) -> Start:
    loc, scale = (np.repeat(a.ravel(), layer.num_components) for a in _levels(layer, x))
    logits = Start.linear(np.zeros_like(loc))
    return Start.of(logits, Start.linear(loc, scale), Start.above(layer.min_scale, scale))


@start_of.register
def _power_spherical(layer: PowerSpherical, x: np.ndarray) -> Start:
    mean, size = np.nanmean(x, axis=0), x.shape[-1]
    length = float(np.clip(np.linalg.norm(mean), 1e-6, 1.0 - 1e-6))
    # The mean of the family has the length concentration / (concentration + K - 1).
    concentration = max(length * (size - 1) / (1.0 - length), layer.min_concentration + 1e-6)
    direction = Start.linear(mean / length)
    return Start.of(direction, Start.above(layer.min_concentration, [concentration]))


def _mixture(component: Start, num_components: int) -> Start:
    logits = Start.linear(np.zeros(num_components))
    return Start.of(logits, *[component] * num_components)


@start_of.register
def _mixture_same_family(layer: MixtureSameFamily, x: np.ndarray) -> Start:
    return _mixture(start_of(layer.component_layer, x), layer.num_components)


@start_of.register
def _mixture_normal(layer: MixtureNormal, x: np.ndarray) -> Start:
    return _mixture(_location_scale(layer, x), layer.num_components)


@start_of.register
def _mixture_logistic(layer: MixtureLogistic, x: np.ndarray) -> Start:
    return _mixture(_location_scale(layer, x, _LOGISTIC), layer.num_components)


@start_of.register
def _masked(layer: Masked, x: np.ndarray) -> Start:
    return start_of(layer.layer, x)


@start_of.register
def _heterogeneous(layer: Heterogeneous, x: np.ndarray) -> Start:
    parts, first = [], 0
    for column in layer.columns.values():
        event = column.event_shape
        width = int(np.prod(event))
        own = x[:, first : first + width].reshape(-1, *event)
        first += width
        parts.append(start_of(column, own))
    return Start.of(*parts)
