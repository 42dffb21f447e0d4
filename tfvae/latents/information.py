"""Scores of disentanglement that count: the mutual information gap, and the FactorVAE score."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfvae._config import check_count
from tfvae.evaluation.activity import ACTIVE
from tfvae.latents.codes import checked_codes

__all__ = ["checked_factors", "factor_vae_score", "mutual_information_gap"]


def mutual_information_gap(z: Any, factors: Any, *, num_bins: int = 20) -> float:
    """Returns the mutual information gap, MIG: how far one code leads in what it says of a factor.

        MIG = 1/F sum_j (I[z_(1); v_j] - I[z_(2); v_j]) / H[v_j]

    with z_(1) and z_(2) the codes that say most of v_j, and second most. It is 1 where one code
    tells each factor and no other says anything of it, and 0 where two codes say as much, or none
    anything. Informations are those of counts, of codes in `num_bins` bins of equal width, or by
    their values where they have no more: of few points they are too large, and with them MIG.

    Args:
        z: Codes `[N, K]`, or draws of q(z|x).
        factors: What made the data `[N, F]`, whole numbers: the number of each factor's value.
        num_bins: Bins of each code.

    Returns:
        The score, from 0 to 1.

    Raises:
        ValueError: Rows differ, `z` is not finite, or a factor has one value only.

    Example:
        >>> v = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
        >>> tfvae.latents.mutual_information_gap(v, v)
        1.0
        >>> tfvae.latents.mutual_information_gap(v[:, [0, 0]], v)
        0.0

    Reference: Isolating Sources of Disentanglement in VAEs (Chen et al., 2018), equation 6,
    https://arxiv.org/abs/1802.04942
    """
    z, factors = checked_codes(z), checked_factors(factors)
    _check_rows(z, factors)
    columns = [_binned(column, check_count("num_bins", num_bins)) for column in z.T]
    gaps = []
    for factor in factors.T:
        informations = sorted((_information(column, factor) for column in columns), reverse=True)
        second = informations[1] if len(informations) > 1 else 0.0
        gaps.append((informations[0] - second) / _information(factor, factor))
    return float(np.mean(gaps))


def _binned(column: np.ndarray, num_bins: int) -> np.ndarray:
    """Returns the number of the bin `[N]` that each value lies in."""
    values, numbers = np.unique(column, return_inverse=True)
    if len(values) <= num_bins:
        return numbers
    edges = np.linspace(values[0], values[-1], num_bins + 1)
    return np.clip(np.searchsorted(edges, column, side="right") - 1, 0, num_bins - 1)


def _information(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the mutual information of two columns of whole numbers, by their counts, nats."""
    _, a = np.unique(a, return_inverse=True)
    _, b = np.unique(b, return_inverse=True)
    joint = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(joint, (a, b), 1.0 / len(a))
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    there = joint > 0.0
    return max(0.0, float(np.sum(joint[there] * np.log(joint[there] / apart[there]))))


def factor_vae_score(
    z: Any, factors: Any, *, num_votes: int = 1000, batch_size: int = 64, seed: int = 0
) -> float:
    """Returns the FactorVAE score: whether the code that varies least tells which factor was fixed.

    Each vote fixes one factor at one of its values, takes `batch_size` points that have it, and
    names the code of least variance, in proportion to its variance over all points. Half of the
    votes say which factor each code stands for, the most frequent one; the score is the share of
    the other half that they get right. Codes whose variance is 0.01 or less take no part.

    It is 1 where each factor has a code of its own, about 1/F where codes say nothing, and 0 where
    no code varies at all.

    Args:
        z: Codes `[N, K]`.
        factors: What made the data `[N, F]`, whole numbers.
        num_votes: All votes.
        batch_size: Points of each vote, drawn with replacement.
        seed: Of the votes.

    Returns:
        The score, from 0 to 1.

    Raises:
        ValueError: Rows differ, `z` is not finite, a factor has one value only, or a number is too
            small.

    Example:
        >>> v = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
        >>> tfvae.latents.factor_vae_score(v, v)
        1.0

    Reference: Disentangling by Factorising (Kim and Mnih, 2018), section 4,
    https://arxiv.org/abs/1802.05983
    """
    z, factors = checked_codes(z), checked_factors(factors)
    _check_rows(z, factors)
    half = check_count("num_votes", num_votes) // 2
    batch_size = check_count("batch_size", batch_size)
    if half < 1 or batch_size < 2:
        raise ValueError(
            "Votes take two points or more, and two votes. Received: "
            f"num_votes={num_votes}, batch_size={batch_size}"
        )
    spread = z.var(axis=0)
    z, spread = z[:, spread > ACTIVE], spread[spread > ACTIVE]
    if not len(spread):
        return 0.0
    generator = np.random.default_rng(seed)
    votes = np.zeros((2, len(spread), factors.shape[1]))
    for index in range(2 * half):
        factor = generator.integers(factors.shape[1])
        value = factors[generator.integers(len(factors)), factor]
        (rows,) = np.nonzero(factors[:, factor] == value)
        chosen = generator.choice(rows, batch_size)
        votes[index % 2, np.argmin(z[chosen].var(axis=0) / spread), factor] += 1.0
    said, asked = votes
    known = said.sum(axis=1) > 0.0  # a code that no vote named stands for nothing
    right = asked[np.arange(len(said)), said.argmax(axis=1)]
    return float(np.sum(right[known]) / half)


def checked_factors(factors: Any) -> np.ndarray:
    """Returns factors `[N, F]` as whole numbers.

    Raises:
        ValueError: They are none, or one of them does not vary.
    """
    factors = np.asarray(factors)
    if factors.ndim == 1:
        factors = factors[:, None]
    whole = factors.ndim == 2 and factors.size and np.all(factors == np.round(factors))
    if not whole or np.any(np.ptp(factors, axis=0) == 0):
        problem = f"shape {factors.shape}"
        if whole:
            constant = np.nonzero(np.ptp(factors, axis=0) == 0)[0].tolist()
            problem = f"one value alone in columns {constant}"
        raise ValueError(
            "`factors` must be whole numbers [N, F] that vary in each column: the number of each "
            f"factor's value. Received: {problem}"
        )
    return factors.astype(np.int64)


def _check_rows(z: np.ndarray, factors: np.ndarray) -> None:
    if len(z) != len(factors):
        raise ValueError(
            f"`z` and `factors` must have as many rows. Received: {len(z)} and {len(factors)}"
        )
