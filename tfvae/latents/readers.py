"""Scores of disentanglement that read factors from codes: SAP, and DCI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfvae.latents._sklearn import sklearn
from tfvae.latents.codes import checked_codes

__all__ = ["DCI", "dci", "separated_attribute_predictability"]


def separated_attribute_predictability(
    z: Any, factors: Any, *, categorical: Sequence[int] = ()
) -> float:
    """Returns the separated attribute predictability, SAP: how far one code leads in telling each.

        SAP = 1/F sum_j (S_(1)j - S_(2)j)

    where S_ij says how well z_i alone tells v_j: for factors that are amounts R**2 of a straight
    line, their squared correlation; for categories the balanced accuracy of thresholds on z_i, as
    many as there are categories less one. It is 1 where one code is a linear function of each
    amount and all others have nothing to do with it, and 0 where two codes are as good. Of a
    category with C values the most is 1 - 1/C, since thresholds on nothing are right in 1/C.

    Args:
        z: Codes `[N, K]`.
        factors: What made the data `[N, F]`.
        categorical: Columns of `factors` that are categories, whose order means nothing.

    Returns:
        The score, from 0 to 1.

    Raises:
        ImportError: There are categories, and scikit-learn is not installed.
        ValueError: Rows differ, `z` is not finite, or a factor has one value only.

    Example:
        >>> v = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
        >>> tfvae.latents.separated_attribute_predictability(v, v)
        1.0

    Reference: Variational Inference of Disentangled Latent Concepts from Unlabeled Observations
    (Kumar et al., 2018), section 3, https://arxiv.org/abs/1711.00848
    """
    z = checked_codes(z)
    factors = _checked(z, factors, categorical)
    z, amounts = _in_deviations(z), _in_deviations(factors)
    scores = np.zeros((z.shape[1], factors.shape[1]))
    for j in range(factors.shape[1]):
        for i, code in enumerate(z.T):
            if j in categorical:
                scores[i, j] = _thresholds(code, factors[:, j])
            else:
                scores[i, j] = _squared_correlation(code, amounts[:, j])
    ordered = np.sort(scores, axis=0)[::-1]
    second = ordered[1] if len(ordered) > 1 else np.zeros(factors.shape[1])
    for j in categorical:  # of one code alone, what the second would be right in by chance
        second[j] = max(second[j], 1.0 / len(np.unique(factors[:, j])))
    return float(np.mean(ordered[0] - second))


def _in_deviations(columns: np.ndarray) -> np.ndarray:
    """Returns columns `[N, K]` in standard deviations from their means.

    Trees of scikit-learn know 32 bits, and tell nothing apart that is closer than 1e-7.
    """
    columns = columns.astype(np.float64)
    largest = np.max(np.abs(columns), axis=0)
    columns = columns / np.where(largest > 0.0, largest, 1.0)
    columns = columns - columns.mean(axis=0)
    spread = columns.std(axis=0)
    return columns / np.where(spread > 1e-14, spread, 1.0)


def _squared_correlation(code: np.ndarray, factor: np.ndarray) -> float:
    code, factor = code - code.mean(), factor - factor.mean()
    spread = np.sum(code**2) * np.sum(factor**2)
    return float(np.sum(code * factor) ** 2 / spread) if spread > 0.0 else 0.0


def _thresholds(code: np.ndarray, factor: np.ndarray) -> float:
    classes = np.unique(factor)
    tree = sklearn("tree").DecisionTreeClassifier(
        max_leaf_nodes=len(classes), class_weight="balanced", random_state=0
    )
    told = tree.fit(code[:, None], factor).predict(code[:, None])
    return float(np.mean([np.mean(told[factor == each] == each) for each in classes]))


@dataclass(frozen=True)
class DCI:
    """Disentanglement, completeness and informativeness of codes.

    With R_ij >= 0 how much code i matters for telling factor j:

        disentanglement = sum_i rho_i (1 - H_F(R_i. / sum_j R_ij)),   rho_i = sum_j R_ij / sum R
        completeness    = 1/F sum_j (1 - H_K(R_.j / sum_i R_ij))

    with H_F the entropy in logarithms to base F. The first is 1 where each code matters for one
    factor only, the second where one code only matters for each factor.

    Attributes:
        disentanglement: From 0 to 1.
        completeness: From 0 to 1.
        informativeness: How well all codes together tell factors of points held out, mean of
            accuracy (categories) and R**2 (amounts); NaN where it was not asked.
        importance: R `[K, F]`.

    Reference: A Framework for the Quantitative Evaluation of Disentangled Representations (Eastwood
    and Williams, 2018), https://openreview.net/forum?id=By-7dz-AZ
    """

    disentanglement: float
    completeness: float
    informativeness: float
    importance: np.ndarray

    @classmethod
    def of(cls, importance: Any, informativeness: float = float("nan")) -> DCI:
        """Returns the scores of importances `[K, F]`, of whatever reader.

        Example:
            >>> from tfvae.latents import DCI
            >>> DCI.of(np.eye(3)).disentanglement, DCI.of(np.ones([2, 2])).completeness
            (1.0, 0.0)
        """
        importance = np.asarray(importance, np.float64)
        if importance.ndim != 2 or np.any(importance < 0.0) or not importance.size:
            raise ValueError(
                f"`importance` must be numbers >= 0, [K, F]. Received: shape {importance.shape}"
            )
        total = importance.sum()
        of_codes, of_factors = _purity(importance), _purity(importance.T)
        weights = importance.sum(axis=1) / total if total > 0.0 else np.zeros(len(importance))
        return cls(
            float(weights @ of_codes), float(np.mean(of_factors)), informativeness, importance
        )

    def __str__(self) -> str:
        return (
            f"disentanglement {self.disentanglement:.3f}, completeness {self.completeness:.3f}, "
            f"informativeness {self.informativeness:.3f}"
        )


def _purity(rows: np.ndarray) -> np.ndarray:
    """Returns one minus the entropy of each row, to the base of its length; zero of empty rows."""
    total = rows.sum(axis=1, keepdims=True)
    shares = np.divide(rows, total, out=np.zeros_like(rows), where=total > 0.0)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0.0)
    length = rows.shape[1]
    entropy = -np.sum(shares * logs, axis=1) / (np.log(length) if length > 1 else 1.0)
    return np.where(total[:, 0] > 0.0, np.maximum(1.0 - entropy, 0.0), 0.0)


def dci(
    z: Any,
    factors: Any,
    *,
    categorical: Sequence[int] = (),
    num_trees: int = 30,
    seed: int = 0,
) -> DCI:
    """Scores codes by random forests that tell each factor from all of them.

    R_ij is the importance of code i in the forest of factor j, its share in what the splits gain.

    Args:
        z: Codes `[N, K]`.
        factors: What made the data `[N, F]`.
        categorical: Columns of `factors` that are categories.
        num_trees: Trees of each forest.
        seed: Of the forests, and of the third of the points that is held out for informativeness.

    Returns:
        `DCI`.

    Raises:
        ImportError: scikit-learn is not installed.
        ValueError: Rows differ, there are fewer than ten, `z` is not finite, or a factor has one
            value only.

    Example:
        >>> v = np.array([[0, 0], [0, 1], [1, 0], [1, 1]] * 9)
        >>> scores = tfvae.latents.dci(v, v, categorical=[0, 1], num_trees=5)
        >>> scores.disentanglement, scores.informativeness
        (1.0, 1.0)
    """
    z = checked_codes(z)
    factors = _checked(z, factors, categorical)
    if len(z) < 10:
        raise ValueError(f"Forests take ten points or more. Received: {len(z)}")
    ensemble, z, amounts = sklearn("ensemble"), _in_deviations(z), _in_deviations(factors)
    order = np.random.default_rng(seed).permutation(len(z))
    held_out, rest = order[: len(z) // 3], order[len(z) // 3 :]
    importance, told = np.zeros((z.shape[1], factors.shape[1])), []
    for j in range(factors.shape[1]):
        kind = "RandomForestClassifier" if j in categorical else "RandomForestRegressor"
        factor = (factors if j in categorical else amounts)[:, j]
        # All codes are looked at in each split: one that says nothing is never taken for want of
        # another.
        forest = getattr(ensemble, kind)(num_trees, max_features=None, random_state=seed)
        forest.fit(z[rest], factor[rest])
        importance[:, j] = forest.feature_importances_
        told.append(forest.score(z[held_out], factor[held_out]))
    return DCI.of(importance, float(np.mean(told)))


def _checked(z: np.ndarray, factors: Any, categorical: Sequence[int]) -> np.ndarray:
    try:
        factors = np.asarray(factors, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "`factors` must be numbers. Make numbers of names: "
            "`numpy.unique(names, return_inverse=True)[1]`, with their column in `categorical`."
        ) from error
    factors = factors[:, None] if factors.ndim == 1 else factors
    if factors.ndim != 2 or len(factors) != len(z) or not np.all(np.isfinite(factors)):
        raise ValueError(
            f"`factors` must be finite numbers [N, F], with as many rows as codes, {len(z)}. "
            f"Received: shape {factors.shape}"
        )
    constant = np.nonzero(np.ptp(factors, axis=0) == 0.0)[0].tolist()
    if constant:
        raise ValueError(
            f"`factors` must vary in each column. Received: one value alone in columns {constant}"
        )
    columns = range(factors.shape[1])
    if any(column not in columns for column in categorical):
        raise ValueError(
            f"`categorical` must name columns of `factors`, from 0 to {len(columns) - 1}. "
            f"Received: {list(categorical)}"
        )
    return factors
