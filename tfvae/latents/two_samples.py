"""Whether samples of a model can be told from data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfvae._config import check_amount, check_count
from tfvae._random import fold_in, stateless_seed
from tfvae._typing import Seed
from tfvae.data.spec import CONTEXT
from tfvae.distributions.squares import array_squares
from tfvae.evaluation.streaming import first_rows
from tfvae.models import LatentVariableModel

__all__ = ["TwoSampleTest", "mmd_test", "two_sample_test"]


@dataclass(frozen=True)
class TwoSampleTest:
    """Whether two samples are of one distribution.

    Attributes:
        statistic: Unbiased estimate of the squared maximum mean discrepancy, zero in expectation
            where they are; it may be negative.
        p_value: Share of the relabellings whose statistic is as large, this one among them. Below
            0.01, say, the samples can be told apart.
        bandwidth: Of the Gaussian kernel.
        num_points: Sizes of the two samples.
    """

    statistic: float
    p_value: float
    bandwidth: float
    num_points: tuple[int, int]

    def __str__(self) -> str:
        return f"squared MMD {self.statistic:.2e}, p = {self.p_value:.3g}"


def mmd_test(
    a: Any, b: Any, *, bandwidth: float | None = None, num_permutations: int = 999, seed: int = 0
) -> TwoSampleTest:
    """Tests whether two samples are of one distribution, by the maximum mean discrepancy.

        MMD**2 = E k(a, a') + E k(b, b') - 2 E k(a, b),   k(a, b) = exp(-|a - b|**2 / (2 h**2))

    over pairs of different points. Under the null hypothesis labels are as good in any other order,
    so that the p-value is exact whatever the kernel: at level 0.05 the test is wrong in one of
    twenty cases at most.

    Args:
        a: `[N, ...]`, flat or not; two points or more.
        b: `[M, ...]`.
        bandwidth: h > 0; None takes the median distance of all pairs of different points.
        num_permutations: Relabellings.
        seed: Of these.

    Returns:
        `TwoSampleTest`.

    Raises:
        ValueError: Samples have fewer than two points, differ in columns, or are not finite.

    Example:
        >>> from tfvae.latents import mmd_test
        >>> normal = np.random.default_rng(0).normal(size=[200, 2])
        >>> mmd_test(normal[:100], normal[100:]).p_value > 0.01
        True
        >>> mmd_test(normal, normal + 1).p_value
        0.001

    Reference: A Kernel Two-Sample Test (Gretton et al., 2012),
    https://jmlr.org/papers/v13/gretton12a.html
    """
    a, b = _checked(a, b)
    num_permutations = check_count("num_permutations", num_permutations)
    if bandwidth is not None:
        check_amount("bandwidth", bandwidth, positive=True)
    generator = np.random.default_rng(seed)
    orders = (generator.permutation(len(a) + len(b))[: len(a)] for _ in range(num_permutations))
    return _tested(a, b, bandwidth, [np.isin(np.arange(len(a) + len(b)), o) for o in orders])


def _checked(*samples: Any) -> list[np.ndarray]:
    """Returns two samples as rows `[N, D]` and `[M, D]`."""
    parts = [np.asarray(part, np.float64) for part in samples]
    a, b = (part.reshape(len(part), -1) if part.ndim else part for part in parts)
    fits = a.ndim == b.ndim == 2 and min(len(a), len(b)) >= 2 and a.shape[1] == b.shape[1]
    if not fits or not np.all(np.isfinite(a)) or not np.all(np.isfinite(b)):
        raise ValueError(
            "Two samples must be finite, of two points or more each, and of the same columns. "
            f"Received: shapes {a.shape} and {b.shape}"
        )
    return [a, b]


def _tested(
    a: np.ndarray, b: np.ndarray, bandwidth: float | None, others: Sequence[np.ndarray]
) -> TwoSampleTest:
    """Returns the test by relabellings: which of all points each takes for the first sample's."""
    points = np.concatenate([a, b])
    with np.errstate(over="ignore", invalid="ignore"):
        squares = array_squares(points, points)
    if bandwidth is None:
        apart = squares[np.triu_indices(len(points), 1)]
        # Where most points are the same, the mean of what is not.
        bandwidth = float(np.sqrt(np.median(apart) or np.mean(apart) or 1.0))
    if not math.isfinite(bandwidth) or not np.all(np.isfinite(squares)):
        raise ValueError(
            "Squares of distances between the points overflow. Received: values up to "
            f"{np.max(np.abs(points)):.1e}. Count in larger units."
        )
    kernel = np.exp(-0.5 * squares / bandwidth**2)
    np.fill_diagonal(kernel, 0.0)  # pairs of different points
    labels = np.stack([np.arange(len(points)) < len(a), *others], axis=1).astype(np.float64)
    found = _discrepancies(kernel, labels, len(a))
    # Sums of other orders differ by rounding.
    as_large = found >= found[0] - 1e-12
    return TwoSampleTest(float(found[0]), float(np.mean(as_large)), bandwidth, (len(a), len(b)))


def _discrepancies(kernel: np.ndarray, labels: np.ndarray, size: int) -> np.ndarray:
    """Returns the statistic of each column of labels `[N + M, P]`, 1 for the first sample."""
    rest = len(labels) - size
    total = kernel.sum()
    rows = kernel @ labels  # of each point, to the first sample
    within = np.sum(labels * rows, axis=0)
    across = np.sum((1.0 - labels) * rows, axis=0)
    others = total - within - 2.0 * across
    return (
        within / (size * (size - 1)) + others / (rest * (rest - 1)) - 2.0 * across / (size * rest)
    )


def two_sample_test(
    model: LatentVariableModel,
    data: Any,
    *,
    max_points: int = 500,
    num_permutations: int = 999,
    seed: Seed = 0,
) -> TwoSampleTest:
    """Tests whether draws of a model can be told from data; see `mmd_test`.

    As many points are drawn as there are data. Contexts of draws are those of the data. Columns are
    scaled to the variance of both together; entries that data lacks are taken from the draws of the
    same rows too, and both then have the mean of the column. Where rows have contexts or gaps, a
    relabelling exchanges some of them with the draws that have the same, and is exact too.

    Args:
        model: Any model.
        data: Held-out data, in any form that `fit` takes.
        max_points: The first so many points are compared: the work grows with their square.
        num_permutations: Relabellings.
        seed: Int or pair of ints.

    Returns:
        `TwoSampleTest`.

    Raises:
        ValueError: The data is not what the model is for, or has fewer than two points.

    Example:
        >>> from tfvae.demo import vae, x
        >>> tfvae.latents.two_sample_test(vae, x).p_value < 0.1  # hardly trained
        True
    """
    seed = stateless_seed(0 if seed is None else seed)
    parts = first_rows(model, data, check_count("max_points", max_points))
    model.check_data(parts, "data")
    size = len(parts[model.graph.observed[0]])
    drawn = model.generate(size, fold_in(seed, 0), parts.get(CONTEXT))
    both = np.stack(
        [
            np.concatenate(
                [np.float64(p[name]).reshape(size, -1) for name in model.graph.observed], axis=1
            )
            for p in (parts, drawn)
        ]
    )
    missing = np.isnan(both[0])
    # By both samples alike: were it by one, relabelled ones would not be as good.
    count = np.maximum(2 * np.sum(~missing, axis=0), 1)
    away = np.where(missing, 0.0, both - np.sum(np.where(missing, 0.0, both), (0, 1)) / count)
    spread = np.sqrt(np.sum(away**2, axis=(0, 1)) / count)
    own, made = _checked(*(away / np.where(spread > 0.0, spread, 1.0)))
    num_permutations = check_count("num_permutations", num_permutations)
    seeds = np.asarray(fold_in(seed, 1), np.int32).view(np.uint32)
    if CONTEXT not in parts and not np.any(missing):
        return mmd_test(own, made, num_permutations=num_permutations, seed=int(seeds[0]))
    # A row and the draw that has its context and its gaps can be told from other rows by these.
    generator = np.random.default_rng(seeds[0])
    swapped = generator.integers(0, 2, (num_permutations, size))
    return _tested(own, made, None, [np.append(s == 0, s == 1) for s in swapped])
