"""What a simple reader can tell of labels from z."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfvae._config import check_count
from tfvae.latents._sklearn import sklearn
from tfvae.latents.codes import checked_codes, checked_labels

__all__ = ["ProbeScore", "linear_probe", "neighbour_probe"]


@dataclass(frozen=True)
class ProbeScore:
    """How well labels are told from codes, on folds of the data that were held out.

    Attributes:
        scores: `[F]`, one for each fold: accuracy of classes, R**2 of numbers.
        chance: What one gets that looks at no code: the share of the largest class, or 0.
    """

    scores: np.ndarray
    chance: float

    @property
    def mean(self) -> float:
        """Mean over the folds."""
        return float(np.mean(self.scores))

    @property
    def standard_error(self) -> float:
        """Standard deviation over the folds / sqrt(F). Folds share data: it says a little less."""
        return float(np.std(self.scores, ddof=1) / np.sqrt(len(self.scores)))

    def __str__(self) -> str:
        return f"{self.mean:.3f} ± {self.standard_error:.3f}, by chance {self.chance:.3f}"


def linear_probe(z: Any, labels: Any, *, num_folds: int = 5, seed: int = 0) -> ProbeScore:
    """Scores codes by a linear reader: logistic regression of classes, ridge of real numbers.

    Args:
        z: Codes `[N, K]`, such as `tfvae.latents.codes(model, x)`; each is scaled to variance 1.
        labels: `[N]`: classes, or floats.
        num_folds: Folds, each held out once.
        seed: Of the choice of the folds.

    Returns:
        `ProbeScore`.

    Raises:
        ImportError: scikit-learn is not installed.
        ValueError: Rows differ, there are too few, or one class only.

    Example:
        >>> from tfvae.demo import data, vae
        >>> z = tfvae.latents.codes(vae, data.x_test)
        >>> score = tfvae.latents.linear_probe(z, data.y_test)
        >>> score.mean > score.chance
        True

    Reference: Understanding intermediate layers using linear classifier probes (Alain and Bengio,
    2017), https://arxiv.org/abs/1610.01644
    """
    linear, chain = sklearn("linear_model"), sklearn("pipeline").make_pipeline
    scale = sklearn("preprocessing").StandardScaler
    readers = (
        lambda: chain(scale(), linear.LogisticRegression(max_iter=1000)),
        lambda: chain(scale(), linear.Ridge()),
    )
    return _scored(z, labels, readers, num_folds, seed)


def neighbour_probe(
    z: Any, labels: Any, *, num_neighbours: int = 5, num_folds: int = 5, seed: int = 0
) -> ProbeScore:
    """Scores codes by their nearest neighbours: their vote of classes, their mean of numbers.

    Args:
        z: Codes `[N, K]`, as they are: distances are those of z.
        labels: `[N]`: classes, or floats.
        num_neighbours: How many are asked.
        num_folds: Folds, each held out once.
        seed: Of the choice of the folds.

    Returns:
        `ProbeScore`.

    Raises:
        ImportError: scikit-learn is not installed.
        ValueError: Rows differ, there are too few, or one class only.

    Example:
        >>> from tfvae.demo import data, vae
        >>> z = tfvae.latents.codes(vae, data.x_test)
        >>> tfvae.latents.neighbour_probe(z, data.y_test).mean <= 1.0
        True

    Reference: Unsupervised Feature Learning via Non-Parametric Instance Discrimination (Wu et al.,
    2018), https://arxiv.org/abs/1805.01978
    """
    number = check_count("num_neighbours", num_neighbours)
    neighbours = sklearn("neighbors")
    readers = (
        lambda: neighbours.KNeighborsClassifier(number),
        lambda: neighbours.KNeighborsRegressor(number),
    )
    return _scored(z, labels, readers, num_folds, seed)


def _scored(z: Any, labels: Any, readers: Any, num_folds: int, seed: int) -> ProbeScore:
    z = checked_codes(z)
    labels = checked_labels(labels, len(z))
    num_folds = check_count("num_folds", num_folds)
    real = np.issubdtype(labels.dtype, np.floating)
    classes, counts = np.unique(labels, return_counts=True)
    least = len(z) if real else int(counts.min())
    if num_folds < 2 or least < num_folds or (not real and len(classes) < 2):
        raise ValueError(
            "A probe takes two folds or more, at least as many points of each class, and two "
            f"classes. Received: num_folds={num_folds}, {len(z)} points"
            + ("" if real else f" of {len(classes)} classes, {least} in the smallest")
        )
    selection = sklearn("model_selection")
    folds = (selection.KFold if real else selection.StratifiedKFold)(
        num_folds, shuffle=True, random_state=seed
    )
    scores = selection.cross_val_score(readers[1 if real else 0](), z, labels, cv=folds)
    return ProbeScore(scores, 0.0 if real else float(counts.max() / len(labels)))
