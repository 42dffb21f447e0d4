"""Which dimensions of z say anything of data: those whose posterior mean moves with x."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfvae._random import fold_in
from tfvae._typing import Distribution, Tensor
from tfvae.distributions.hierarchy import Hierarchy
from tfvae.distributions.statistics import known_centre, probabilities

__all__ = ["ACTIVE", "Means", "Moments", "activity", "posterior_means"]

# A latent dimension is active where the mean of its posterior varies by more (Burda et al., 2016).
ACTIVE = 0.01
# Draws of each half by which the variance of means is estimated where means are not known.
_DRAWS = 32
# The same of levels that others depend on, of which networks are asked for means.
_DRAWS_OF_LEVELS = 8


def posterior_means(q_z: Distribution, seed: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the means of posteriors twice, `[B, K]`, of numbered categories `[B, K, L]`.

    Means that are not known are estimated by draws, those of each half their own: the covariance
    over points of two estimates is the variance of the means without the noise of the draws. The
    mean of a level that depends on others is that of its means at draws of these.
    """
    batch: Any = q_z.batch_shape_tensor()
    if isinstance(q_z, Hierarchy):
        return _means_of_levels(q_z, batch[0], seed)
    known = _known_means(q_z, [batch[0]])
    if known is not None:
        return known, known
    return _of_halves(tf.reshape(q_z.sample(2 * _DRAWS, seed=seed), [2 * _DRAWS, batch[0], -1]))


def _means_of_levels(q_z: Hierarchy, size: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the means of levels twice, one level after the other."""
    drawn, leading = q_z.draw(2 * _DRAWS_OF_LEVELS, seed), [2 * _DRAWS_OF_LEVELS, size]
    found = []
    for index, name in enumerate(q_z.levels):
        own, depends = drawn.conditionals[name]
        if depends is None and own.batch_shape.rank:
            found.append(posterior_means(own, fold_in(seed, index)))
            continue
        known = None if depends is None else _known_means(own, leading)
        drawn_ones = tf.reshape(drawn.values[name], [*leading, -1])
        found.append(_of_halves(drawn_ones if known is None else known))
    one, other = (_beside(means) for means in zip(*found, strict=True))
    return one, other


def _known_means(distribution: Distribution, leading: list[Any]) -> Tensor | None:
    """Returns means `[*leading, K]`, of numbered categories their probabilities, if known."""
    shares = probabilities(distribution)
    if shares is not None:
        return tf.reshape(shares, [*leading, -1, shares.shape[-1]])
    mean = known_centre(distribution)
    return None if mean is None else tf.reshape(mean, [*leading, -1])


def _of_halves(draws: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the means of the first half of draws and of the others."""
    one, other = (tf.reduce_mean(half, axis=0) for half in tf.split(draws, 2))
    return one, other


def _beside(means: Sequence[Tensor]) -> Tensor:
    """Returns means of levels `[B, K]` in one; `[B, K, L]` where some are of categories."""
    sizes = [mean.shape[-1] for mean in means if mean.shape.rank == 3]
    if not sizes:
        return tf.concat(means, axis=1)
    most = max(sizes)
    each = [mean if mean.shape.rank == 3 else mean[..., None] for mean in means]
    return tf.concat([tf.pad(m, [[0, 0], [0, 0], [0, most - m.shape[-1]]]) for m in each], axis=1)


def activity(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns the variance over points of posterior means `[K]`, of what `posterior_means` gives.

    Example:
        >>> from tfvae.evaluation.activity import activity
        >>> activity(np.array([[0.0, 1.0], [2.0, 1.0]]), np.array([[0.0, 1.0], [2.0, 1.0]]))
        array([1., 0.])
    """
    product = np.mean((one - one.mean(axis=0)) * (other - other.mean(axis=0)), axis=0)
    return product.sum(axis=-1) if product.ndim == 2 else product


class Means(NamedTuple):
    """Means over points, dimension by dimension, and how sure they are.

    Attributes:
        mean: `[K]`.
        standard_error: Of each `[K]`: NaN where nothing is known of it.
    """

    mean: np.ndarray
    standard_error: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> Means:
        """Summarises values `[N, K]`, in float64."""
        moments = Moments()
        moments.add(values)
        return moments.mean

    def to_dict(self, k: int) -> dict[str, float]:
        """Returns one of them as plain numbers."""
        return {"mean": float(self.mean[k]), "standard_error": float(self.standard_error[k])}

    def to_text(self, k: int) -> str:
        """Returns one of them in a few characters."""
        return f"{self.mean[k]:.2f} ± {self.standard_error[k]:.2f}"


def _pair(one: np.ndarray, other: np.ndarray | None) -> np.ndarray:
    """Returns both estimates `[2, B, K]`, in float64."""
    return np.stack([one, one if other is None else other]).astype(np.float64)


class Moments:
    """Means over points and variances of these, of values that come chunk by chunk.

    What is held are sums of powers, in float64, of the distances to the first chunk's mean: nothing
    of the size of the data.

    Args:
        shift: What the distances are to in place of that mean, `[2, K]`.

    Example:
        >>> from tfvae.evaluation.activity import Moments
        >>> moments = Moments()
        >>> for chunk in ([[0.0], [2.0]], [[4.0]]):
        ...     moments.add(np.array(chunk))
        >>> moments.mean.mean, moments.covariance.mean.round(3)
        (array([2.]), array([2.667]))
    """

    def __init__(self, shift: np.ndarray | None = None) -> None:
        self._number = 0
        self._shift = shift
        self._sums: Any = 0.0  # [3, 3, K]: of the products of powers of one and of the other

    @property
    def shift(self) -> np.ndarray | None:
        """What the distances are to, `[2, K]`; None before there is a chunk."""
        return self._shift

    def begin(self, one: np.ndarray, other: np.ndarray | None = None) -> None:
        """Takes the distances to the mean of a chunk, which may be one of another worker.

        Args:
            one: `[B, K]`, or of numbered categories `[B, K, L]`.
            other: Another estimate of the same means, see `posterior_means`; None for the same.
        """
        with np.errstate(invalid="ignore", over="ignore"):  # values that are not finite
            self._shift = _pair(one, other).mean(axis=1)

    def add(self, one: np.ndarray, other: np.ndarray | None = None) -> None:
        """Adds the values of a chunk, which are those of `begin` if there was none before."""
        self.add_sums(*self.sums_of(one, other))

    def sums_of(self, one: np.ndarray, other: np.ndarray | None = None) -> tuple[int, np.ndarray]:
        """Returns what `add_sums` takes of a chunk: how many points, and sums `[3, 3, K]`."""
        if self._shift is None:
            self.begin(one, other)
        with np.errstate(invalid="ignore", over="ignore"):
            first, second = _pair(one, other) - np.asarray(self._shift)[:, None]
            powers = [
                np.stack([np.sum(first**a * second**b, axis=0) for b in range(3)]) for a in range(3)
            ]
            return len(first), np.stack(powers)

    def add_sums(self, number: int, sums: np.ndarray) -> None:
        """Adds the sums of a chunk of so many points, to the same shift."""
        with np.errstate(invalid="ignore", over="ignore"):
            self._number += number
            self._sums += sums

    @property
    def mean(self) -> Means:
        """The mean of each dimension over the points."""
        with np.errstate(invalid="ignore"):
            centre = np.asarray(self._shift)[0] + self._sums[1, 0] / self._number
            variance = self._sums[2, 0] / self._number - (self._sums[1, 0] / self._number) ** 2
            return Means(centre, self._error(variance))

    @property
    def covariance(self) -> Means:
        """The covariance of both estimates over the points: `activity`, with its error."""
        with np.errstate(invalid="ignore", over="ignore"):
            raw = self._sums / self._number
            m, n = raw[1, 0], raw[0, 1]
            found = raw[1, 1] - m * n
            # E (d - m)**2 (e - n)**2, multiplied out.
            square = (
                raw[2, 2] - 2 * n * raw[2, 1] - 2 * m * raw[1, 2]
                + n**2 * raw[2, 0] + m**2 * raw[0, 2] + 4 * m * n * raw[1, 1] - 3 * m**2 * n**2
            )  # fmt: skip
            error = self._error(square - found**2)
            if found.ndim == 2:  # What is no category has one number, and an error.
                alone = np.count_nonzero(found, axis=-1) <= 1
                error = np.where(alone, error.sum(axis=-1), np.nan)
                found = found.sum(axis=-1)
            return Means(found, error)

    def _error(self, variance: np.ndarray) -> np.ndarray:
        """Returns the standard error of a mean of values of that variance over the points."""
        if self._number < 2:
            return np.full(variance.shape, np.nan)
        return np.sqrt(np.maximum(variance, 0.0) / (self._number - 1))
