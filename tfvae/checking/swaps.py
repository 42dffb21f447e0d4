"""Whether draws are those of their density, by pairs of values that could trade places.

A map T of the values that is its own inverse makes pairs {z, T z}. Given a pair, its first member
is drawn with a probability that the density tells,

    P(z is the first | {z, T z}) = q(z_1) |J_1| / (q(z_1) |J_1| + q(z_2) |J_2|),

so that the indicator less this probability has mean zero and a known variance: in any dimension,
whatever the tails, for densities and probabilities alike. A constant that q lacks cancels; where
elements are independent, what a density adds up to over an interval is looked at too.

Reference: Getting It Right: Joint Distribution Tests of Posterior Simulators (Geweke, 2004)
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfvae._random import fold_in
from tfvae._typing import Distribution, Tensor
from tfvae.distributions.factors import as_factors
from tfvae.distributions.support import Support, support_of

__all__ = ["Match", "match"]

# Standard deviations from which a sum is not zero, and what rare events may add to it.
_SURELY, _RARE = 5.0, 3.0
# Elements of an event that are looked at, at each of two places.
_ELEMENTS, _PLACES = 4, (0.25, 0.75)
# Logarithms of the distances from a border beyond which values run into it: from zero, and from
# others, where the steps between numbers are those of one.
_TINY, _NEAR = 60.0, 9.0
# Numbers that are drawn at most, and rows of a distribution without a batch.
_MOST, _ROWS = 4_000_000, 1024
# Of draws, those in the shortest interval that holds so many; of weights, more than one may have.
_SHARE, _HEAVY = 0.3, 0.1
# Share of the whole numbers to be expected in it that have to be there.
_SEEN = 0.9


class Match(NamedTuple):
    """How draws and density go together.

    Attributes:
        not_finite: Share of the draws whose density is not finite.
        deviation: The largest number of standard deviations by which draws lie otherwise than the
            density says, less what is rare; 0 where nothing could be compared.
        inverse: One over what the density adds up to, by the draws in an interval; NaN where it is
            not known.
        error: Standard error of the same.
    """

    not_finite: float
    deviation: float
    inverse: float
    error: float

    @property
    def fits(self) -> bool:
        """Whether the draws can be those of the density."""
        return bool(self.deviation <= _SURELY)

    @property
    def adds_up(self) -> bool:
        """Whether the density can add up to one."""
        return math.isnan(self.inverse) or abs(self.inverse - 1.0) <= _SURELY * self.error + 0.01

    @property
    def total(self) -> float:
        """What the density adds up to."""
        return 1.0 / self.inverse if self.inverse else math.inf


class _Pairs(NamedTuple):
    """Pairs of values, of which one was drawn.

    Attributes:
        other: The values `[n, N, *E]` that trade places with the draws.
        first: Whether the draw is the first of its pair `[n, N]`.
        valid: Whether there is another `[n, N]`.
        log_jacobian: log |J(other)| - log |J(draw)| `[n, N]`.
    """

    other: np.ndarray
    first: np.ndarray
    valid: np.ndarray
    log_jacobian: Any = 0.0


def match(distribution: Distribution, num_samples: int, seed: Tensor) -> Match:
    """Draws from a distribution and asks its density whether it can be so.

    Args:
        distribution: Batch shape `[N]` or `[]`, event shape `E`.
        num_samples: Draws of each.
        seed: Int32 pair `[2]`.

    Example:
        >>> from tfvae.checking.swaps import match
        >>> found = match(tfd.Independent(tfd.Gamma([2.0, 3.0], 1.0), 1), 64, tf.constant([0, 1]))
        >>> found.fits, found.adds_up
        (True, True)
    """
    rows = int(distribution.batch_shape.num_elements() or 1)
    size = int(distribution.event_shape.num_elements() or 1)
    num = max(num_samples, _ROWS // rows)
    num = max(8, min(num, _MOST // (rows * size)))
    z = distribution.sample(num, seed=seed)
    log_prob = functools.partial(_log_prob, distribution, z.dtype)
    own = log_prob(z)
    # Half of the draws say where to look, and the others are looked at.
    event = z.shape[own.shape.rank :]
    before, draws = np.array_split(np.asarray(z).reshape(num, rows, *event), 2)
    own = np.asarray(own, np.float64).reshape(num, rows)
    shape = [len(draws), *z.shape[1:]]
    rng = np.random.default_rng(int(fold_in(seed, 1)[0]) & 0x7FFFFFFF)
    deviation = 0.0
    for pairs in _all_pairs(draws, before, support_of(distribution), rng):
        other = np.asarray(log_prob(pairs.other.reshape(shape)), np.float64).reshape(-1, rows)
        found = _deviation(own[len(before) :], other, pairs)
        deviation = max(deviation, found)
    inverse, error = _inverse_total(distribution, draws, own[len(before) :], before)
    return Match(float(np.mean(~np.isfinite(own))), deviation, inverse, error)


def _log_prob(distribution: Distribution, dtype: Any, z: Any) -> Tensor:
    return distribution.log_prob(tf.cast(z, dtype))


def _deviation(own: np.ndarray, other: np.ndarray, pairs: _Pairs) -> float:
    """Returns how many standard deviations the sum of indicators less probabilities is off."""
    with np.errstate(invalid="ignore"):
        # Where a family says nothing of a value, that one was not to be drawn.
        more = np.where(np.isnan(other), -np.inf, other) - own + pairs.log_jacobian
    kept = pairs.valid & ~np.isnan(more)
    more = np.clip(more[kept], -700.0, 700.0)
    taken = 1.0 / (1.0 + np.exp(-more))  # the probability of the other
    off = np.sum(np.where(pairs.first[kept], taken, -taken))
    variance = np.sum(taken * (1.0 - taken))
    return max(0.0, abs(off) - _RARE) / math.sqrt(variance + 1.0)


def _all_pairs(
    z: np.ndarray, before: np.ndarray, support: Support, rng: np.random.Generator
) -> Iterator[_Pairs]:
    """Yields pairs by several maps, of draws `[n, N, *E]`."""
    blocks = list(_blocks(z.shape[-1] if z.ndim > 2 else 1, support))
    for _ in range(_ELEMENTS):
        start, size, own = blocks[rng.integers(len(blocks))]
        if own.norm is None:
            for place in _PLACES:
                yield _reflected(z, before, start + int(rng.integers(size)), own, place, rng)
            continue
        # One vector along the last axis, of those at one place of the other axes.
        lead = tuple(int(rng.integers(n)) for n in z.shape[2:-1])
        index = (slice(None), slice(None), *lead, slice(start, start + size))
        vector, way = z[index], _on_sphere if own.norm == 2 else _traded
        found = way(vector.astype(np.float64), before[index].astype(np.float64), own, rng)
        other = z.copy()
        other[index] = found.other
        yield found._replace(other=other)


def _blocks(size: int, support: Support) -> Iterator[tuple[int, int, Support]]:
    """Yields begin, size and support of each part of the last axis."""
    if not support.columns:
        yield 0, size, support
    start = 0
    for _, width, own in support.columns:
        yield start, width, own
        start += width


def _reflected(
    z: np.ndarray,
    before: np.ndarray,
    last: int,
    support: Support,
    place: float,
    rng: np.random.Generator,
) -> _Pairs:
    """Reflects one element about a point, on a scale on which all numbers are values."""
    lead = tuple(int(rng.integers(n)) for n in z.shape[2:-1])
    index = (slice(None), slice(None), *lead, *([last] if z.ndim > 2 else []))
    own, known = z[index].astype(np.float64), before[index].astype(np.float64)
    whole = support.whole or bool(np.all(known == np.round(known)))
    scale = _Scale(support, whole)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        y, y_known = scale.of(own), scale.of(known)
        centre = np.quantile(y_known, place, axis=0)
        if whole:  # halves: values and values trade places
            centre = np.round(2.0 * centre + (1.0 if place < 0.5 else -1.0)) / 2.0
        y_other = 2.0 * centre - y
        low, high = np.min(y_known, axis=0), np.max(y_known, axis=0)
        if whole and support.lower is not None:
            low = np.zeros_like(low)
        if whole and support.upper is not None:
            high = np.full_like(high, round((support.upper - (support.lower or 0.0)) / scale.unit))
        # Within what was seen: of a family that nobody described, nothing else is known.
        kept = scale.is_precise(y) & scale.is_precise(y_other)
        kept &= (y != centre) & (y_other >= low) & (y_other <= high) & (y >= low) & (y <= high)
        jacobian = scale.log_slope(y_other) - scale.log_slope(y)
        other = z.copy()
        other[index] = np.where(kept, scale.back(y_other), own)
    kept &= np.isfinite(jacobian)
    return _Pairs(other, y > centre, kept, np.where(kept, jacobian, 0.0))


class _Scale(NamedTuple):
    """Numbers on which the values of a support are all that there are, in order."""

    support: Support
    whole: bool

    @property
    def unit(self) -> float:
        return self.support.spacing if self.whole else 1.0

    def of(self, x: np.ndarray) -> np.ndarray:
        lower, upper = self._bounds
        if self.whole:
            return np.round((x - (self.support.lower or 0.0)) / self.unit)
        if lower is not None and upper is not None:
            return np.log(x - lower) - np.log(upper - x)
        if lower is not None:
            return np.log(x - lower)
        return x if upper is None else -np.log(upper - x)

    def back(self, y: np.ndarray) -> np.ndarray:
        lower, upper = self._bounds
        if self.whole:
            return (self.support.lower or 0.0) + self.unit * y
        if lower is not None and upper is not None:
            return lower + (upper - lower) / (1.0 + np.exp(-y))
        if lower is not None:
            return lower + np.exp(y)
        return y if upper is None else upper - np.exp(-y)

    def log_slope(self, y: np.ndarray) -> np.ndarray:
        """Returns log |dx / dy|, zero for whole numbers, which are counted."""
        lower, upper = self._bounds
        if self.whole or (lower is None and upper is None):
            return np.zeros_like(y)
        if lower is not None and upper is not None:
            return math.log(upper - lower) - np.logaddexp(0.0, y) - np.logaddexp(0.0, -y)
        return y if lower is not None else -y

    def is_precise(self, y: np.ndarray) -> np.ndarray:
        """Whether 32 bits tell values around this one apart, and from the border."""
        lower, upper = self._bounds
        low, high = -_TINY, _TINY
        if not self.whole and upper is not None:
            high = _NEAR
        elif self.whole or lower is None:
            low, high = -np.inf, np.inf
        if not self.whole and lower not in (None, 0.0):
            low = -_NEAR
        return (y >= low) & (y <= high)

    @property
    def _bounds(self) -> tuple[float | None, float | None]:
        return self.support.lower, self.support.upper


def _on_sphere(
    z: np.ndarray, before: np.ndarray, support: Support, rng: np.random.Generator
) -> _Pairs:
    """Reflects unit vectors `[n, N, k]` at the plane on which two of them trade places."""
    del support
    one, two = (before[rng.integers(len(before)), np.arange(z.shape[1])] for _ in range(2))
    normal = one - two
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    normal = normal / np.where(length > 0.0, length, 1.0)
    along = np.sum(z * normal, axis=-1, keepdims=True)
    return _Pairs(z - 2.0 * along * normal, along[..., 0] > 0.0, (length > 0.0)[None, :, 0] & True)


def _traded(
    z: np.ndarray, before: np.ndarray, support: Support, rng: np.random.Generator
) -> _Pairs:
    """Has two elements of vectors that add up to one `[n, N, k]` trade what they have together."""
    size = z.shape[-1]
    if size < 2:
        return _Pairs(z, np.zeros(z.shape[:-1], bool), np.zeros(z.shape[:-1], bool))
    a, b = rng.choice(size, 2, replace=False)
    other = z.copy()
    if support.whole or support.one_hot:
        other[..., [a, b]] = z[..., [b, a]]
        return _Pairs(other, z[..., a] > z[..., b], z[..., a] != z[..., b])
    with np.errstate(divide="ignore", invalid="ignore"):
        y, known = (np.log(v[..., a]) - np.log(v[..., b]) for v in (z, before))
        centre = np.quantile(known, float(rng.choice(_PLACES)), axis=0)
        y_other = 2.0 * centre - y
        total = z[..., a] + z[..., b]
        other[..., a] = total / (1.0 + np.exp(-y_other))
        other[..., b] = total / (1.0 + np.exp(y_other))
    slope = _Scale(Support("", 0.0, 1.0), False).log_slope
    jacobian = slope(y_other) - slope(y)
    kept = np.isfinite(jacobian) & (y != centre)
    return _Pairs(other, y > centre, kept, np.where(kept, jacobian, 0.0))


def _inverse_total(
    distribution: Distribution, z: np.ndarray, own: np.ndarray, before: np.ndarray
) -> tuple[float, float]:
    """Returns one over what a density adds up to, and its standard error; NaN where nobody knows.

    By the draws of each independent element within the shortest interval that held a share of
    those before, on the scale y on which all numbers are values:

        1 / total = E_q[1{low <= y <= high} / ((high - low) q(z) |dz / dy|)]

    Args:
        distribution: What they were drawn from.
        z: Draws `[n, N, *E]`.
        own: Their log-densities `[n, N]`.
        before: Other draws `[m, N, *E]`.
    """
    factors, support = as_factors(distribution), support_of(distribution)
    if factors is None or support.columns or support.norm is not None:
        return math.nan, math.nan
    scale = _Scale(support, support.whole or bool(np.all(before == np.round(before))))
    log_prob = factors.log_prob(tf.cast(z.reshape([len(z), *factors.batch_shape]), factors.dtype))
    log_prob = np.asarray(log_prob, np.float64).reshape(z.shape)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        y, ordered = (scale.of(v.astype(np.float64)) for v in (z, np.sort(before, axis=0)))
        held = max(2, math.ceil(_SHARE * len(ordered)))
        begin = np.argmin(ordered[held - 1 :] - ordered[: len(ordered) - held + 1], axis=0)[None]
        low = np.take_along_axis(ordered, begin, 0)
        high = np.take_along_axis(ordered[held - 1 :], begin, 0)
        told = scale.is_precise(low) & scale.is_precise(high)
        length = high - low + (1.0 if scale.whole else 0.0)
        if scale.whole:
            rises = np.cumsum(np.diff(ordered, axis=0, prepend=ordered[:1]) > 0.0, axis=0)
            first = np.take_along_axis(rises, begin, 0)
            seen = 1 + np.take_along_axis(rises[held - 1 :], begin, 0) - first
            # So many numbers would be seen if all were as frequent. Those that are rarer than one
            # in all draws would have no part in the sum, which then is too small.
            told &= seen >= _SEEN * length * (1.0 - (1.0 - 1.0 / length) ** held)
        inside = told & (y >= low) & (y <= high)
        weights = np.where(inside, np.exp(-log_prob - scale.log_slope(y)) / length, 0.0)
        each = weights.reshape(len(weights), -1).sum(axis=1) / np.sum(told)
        # What a family is taken for by its elements may be another than what it scores.
        beside = np.exp(np.mean(log_prob.reshape(*own.shape, -1).sum(axis=-1) - own))
        found, error = beside * each.mean(), beside * each.std(ddof=1) / math.sqrt(len(each))
    # Draws that are all the same, or none in any interval; or few that outweigh all others.
    if not np.isfinite(found) or np.max(weights) > _HEAVY * np.sum(weights):
        return math.nan, math.nan
    return float(found), float(error)
