"""How heavy the tail of importance weights is: whether their mean can be trusted."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["NO_VARIANCE", "largest_k", "pareto_k", "tail_size"]

# Fewer of the largest weights than this tell nothing of a tail.
_LEAST = 5
# Weights smaller than the largest by more nats than this are zeros beside it.
_NEGLIGIBLE = 690.0
# The estimate leans towards one half with the weight of that many observations.
_PRIOR_COUNT, _PRIOR_MEAN = 10.0, 0.5
# Above, weights have no variance, and the standard error of their mean says too little.
NO_VARIANCE = 0.5
# Above, the mean of no practical number of weights is near its limit.
_LARGEST = 0.7


def tail_size(num_samples: int) -> int:
    """Returns how many of the largest of S weights are fitted: min(S / 5, 3 sqrt(S)), rounded up.

    Example:
        >>> from tfvae.evaluation.pareto import tail_size
        >>> tail_size(100), tail_size(1000)
        (20, 95)
    """
    return math.ceil(min(num_samples / 5, 3.0 * math.sqrt(num_samples)))


def largest_k(num_samples: int) -> float:
    """Returns the k-hat above which S draws are too few: min(1 - 1 / log10(S), 0.7).

    By as many draws the mean of weights with a smaller k has come near its limit; with 2,155 or
    more draws, what counts is that above 0.7 their number would have to grow too fast.

    Example:
        >>> from tfvae.evaluation.pareto import largest_k
        >>> [round(largest_k(number), 2) for number in (100, 1000, 5000)]
        [0.5, 0.67, 0.7]

    Reference: Pareto Smoothed Importance Sampling (Vehtari et al., 2024),
    https://arxiv.org/abs/1507.02646
    """
    return min(1.0 - 1.0 / math.log10(num_samples), _LARGEST) if num_samples > 1 else -math.inf


def pareto_k(largest: np.ndarray, num_samples: int) -> np.ndarray:
    """Returns the shape k of the generalised Pareto tail of importance weights, `[N]`.

        P(w > u + y | w > u) ~ (1 + k y / sigma)**(-1 / k),   u the largest weight but M

    Weights have about 1 / k finite moments: above 1/2 no variance, above 1 no mean. Up to 0.7 the
    mean of a practical number of draws comes close to its limit; above, it is likely too low.

    The fit is that of Zhang and Stephens: a mean of profiles of the likelihood over a grid of
    k / sigma, each with its share of the likelihood, which takes no search and works row by row.

    Args:
        largest: The largest log weights `[N, K]` of each point, descending, minus infinity where
            there are fewer. No more than K - 1 of them are fitted, for any number of draws.
        num_samples: Draws per point, S.

    Returns:
        k: `[N]`. NaN where fewer than five weights, or fewer than five that differ, are in the
            tail. Minus infinity where all of the tail is equal: weights that do not vary. Infinity
            where fewer than five draws have a weight beside which others count.

    Example:
        >>> from tfvae.evaluation.pareto import pareto_k
        >>> quantiles = (np.arange(4000) + 0.5) / 4000
        >>> log_w = -0.6 * np.log(quantiles[None])  # of k = 0.6, descending
        >>> pareto_k(log_w[:, :256], 4000).round(2)
        array([0.59])

    Reference: A New and Efficient Estimation Method for the Generalized Pareto Distribution (Zhang
    and Stephens, 2009), as in Pareto Smoothed Importance Sampling (Vehtari et al., 2024),
    https://arxiv.org/abs/1507.02646
    """
    largest = np.asarray(largest, np.float64)
    size = min(tail_size(num_samples), largest.shape[1] - 1)
    found = np.full(len(largest), np.nan)
    if size < _LEAST:
        return found
    peak, threshold = largest[:, 0], largest[:, size]
    finite = np.isfinite(peak)
    found[finite & (threshold == peak)] = -np.inf
    relative = largest[finite, : size + 1] - peak[finite, None]
    weights = np.where(relative < -_NEGLIGIBLE, 0.0, np.exp(relative))
    excess = weights[:, :-1] - weights[:, -1:]  # [N, M]
    count = np.sum(excess > 0.0, axis=1)
    rows = np.flatnonzero(finite)
    found[rows[(count < _LEAST) & (weights[:, -1] == 0.0)]] = np.inf
    enough = count >= _LEAST
    found[rows[enough]] = _fitted(excess[enough], count[enough])
    return found


def _fitted(excess: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Returns k `[N]` of excesses `[N, M]`, descending, of which `count` `[N]` are above zero.

    With b = -k / sigma the likelihood of all n excesses x at the best k for a given b is

        k(b) = mean log(1 - b x),   L(b) = n (log(-b / k(b)) - k(b) - 1)

    Zeros, draws as large as the threshold, add nothing to the sums.
    """
    x = excess / excess[:, :1]
    size = 30 + math.isqrt(x.shape[1])
    quartile = count - np.floor(count / 4 + 0.5).astype(int)  # from the largest
    spread = np.maximum(np.take_along_axis(x, quartile[:, None], axis=1), 1e-290)  # [N, 1]
    steps = 1.0 - np.sqrt(size / (np.arange(size) + 0.5))
    b = 1.0 + steps / (3.0 * spread)  # [N, G]; the largest x is 1
    b = np.where(np.abs(b) < 1e-6, 1e-6, b)  # k = 0 is no quotient
    k = _profile(b, x, count)
    likelihood = count[:, None] * (np.log(-b / k) - k - 1.0)
    share = np.exp(likelihood - likelihood.max(axis=1, keepdims=True))
    mean_b = np.sum(b * share, axis=1) / np.sum(share, axis=1)
    k = _profile(mean_b[:, None], x, count)[:, 0]
    return (count * k + _PRIOR_COUNT * _PRIOR_MEAN) / (count + _PRIOR_COUNT)


def _profile(b: np.ndarray, x: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Returns mean log(1 - b x) `[N, G]` for b `[N, G]` and x `[N, M]`."""
    return np.log1p(-b[:, :, None] * x[:, None, :]).sum(axis=2) / count[:, None]
