"""How well log p(x) tells anomalies from data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfvae._typing import Seed
from tfvae.evaluation import log_likelihood
from tfvae.evaluation.streaming import Stream
from tfvae.models import LatentVariableModel

__all__ = ["Roc", "anomaly_roc", "likelihood_ratio"]


@dataclass(frozen=True)
class Roc:
    """The receiver operating characteristic of scores that are high for anomalies.

    Attributes:
        false_alarms: Share of the data that is taken for an anomaly, `[J]`, rising from 0 to 1.
        found: Share of the anomalies that is found at the same threshold, `[J]`.
        area: Area under the curve: the probability that an anomaly has the higher score, ties half.
        standard_error: Of `area`, over the choice of both samples.

    Reference: Comparing the Areas under Two or More Correlated Receiver Operating Characteristic
    Curves (DeLong et al., 1988), https://doi.org/10.2307/2531595
    """

    false_alarms: np.ndarray
    found: np.ndarray
    area: float
    standard_error: float

    @classmethod
    def of(cls, of_data: Any, of_anomalies: Any) -> Roc:
        """Returns the curve of scores `[N]` of data and `[M]` of anomalies.

        Example:
            >>> from tfvae.latents import Roc
            >>> Roc.of([0.0, 1.0, 2.0], [1.0, 3.0]).area  # wins 1.5 and 3 of 3
            0.75
        """
        data, anomalies = (np.asarray(part, np.float64) for part in (of_data, of_anomalies))
        for part in (data, anomalies):
            if part.ndim != 1 or not len(part) or np.any(np.isnan(part)):
                raise ValueError(
                    "Scores must be numbers [N], one or more, of data and of anomalies. Received: "
                    f"shapes {data.shape} and {anomalies.shape}"
                    + (", with NaN" if part.size and np.any(np.isnan(part)) else "")
                )
        data, anomalies = np.sort(data), np.sort(anomalies)
        wins = _share_below(data, anomalies)  # of each anomaly
        losses = 1.0 - _share_below(anomalies, data)  # of each point of data
        spread = sum(np.var(p, ddof=1) / len(p) if len(p) > 1 else np.nan for p in (wins, losses))
        thresholds = np.unique(np.concatenate([data, anomalies]))[::-1]
        alarms, found = (
            1.0 - np.searchsorted(part, thresholds, side="left") / len(part)
            for part in (data, anomalies)
        )
        return cls(
            np.append(0.0, alarms),
            np.append(0.0, found),
            float(np.mean(wins)),
            float(np.sqrt(spread)),
        )

    def __str__(self) -> str:
        return f"area under the curve {self.area:.3f} ± {self.standard_error:.3f}"


def _share_below(ordered: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns the share of ordered numbers that lies below each value, equal ones half."""
    left, right = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    return 0.5 * (left + right) / len(ordered)


def anomaly_roc(
    model: LatentVariableModel,
    data: Any,
    anomalies: Any,
    *,
    background: LatentVariableModel | None = None,
    num_samples: int = 100,
    seed: Seed = 0,
    verbose: bool = True,
) -> Roc:
    """Tells anomalies from held-out data by low log p(x), or by a low likelihood ratio.

    Deep models may find simple anomalies likelier than their own data. What all data has in common
    is taken out by the ratio to a background model of p(x), trained on perturbed data, or simpler.

    Args:
        model: Trained on data without anomalies.
        data: Held-out data, in any form that `fit` takes.
        anomalies: Anomalies, in the same form.
        background: Another model of the same x.
        num_samples: Draws per point for log p(x).
        seed: Int or pair of ints.
        verbose: Shows a progress bar where it takes more than two seconds.

    Returns:
        `Roc`, of the scores -log p(x), or -log p(x) + log p_background(x).

    Raises:
        ValueError: Data or anomalies are not what a model is for.

    Example:
        >>> from tfvae.demo import vae, x
        >>> roc = tfvae.latents.anomaly_roc(vae, x, 1.0 - x, num_samples=20)
        >>> 0.0 <= roc.area <= 1.0
        True

    Reference: Likelihood Ratios for Out-of-Distribution Detection (Ren et al., 2019),
    https://arxiv.org/abs/1906.02845
    """
    settings: dict[str, Any] = {"num_samples": num_samples, "seed": seed, "verbose": verbose}
    if background is None:
        scores = [log_likelihood(model, part, **settings).per_point for part in (data, anomalies)]
    else:
        scores = [likelihood_ratio(model, background, p, **settings) for p in (data, anomalies)]
    return Roc.of(-scores[0], -scores[1])


def likelihood_ratio(
    model: LatentVariableModel,
    background: LatentVariableModel,
    data: Any,
    *,
    num_samples: int = 100,
    seed: Seed = 0,
    verbose: bool = True,
) -> np.ndarray:
    """Returns log p(x) - log p_background(x) of each point `[N]`, nats.

    Args:
        model: A trained model.
        background: Another model of the same x.
        data: In any form that `fit` takes.
        num_samples: Draws per point for each log p(x).
        seed: Int or pair of ints.
        verbose: Shows a progress bar where it takes more than two seconds.

    Raises:
        ValueError: The data is not what one of the models is for, or is a stream of other batches
            each time it is read, such as a shuffled one.

    Example:
        >>> from tfvae.demo import vae, x
        >>> tfvae.latents.likelihood_ratio(vae, vae, x).tolist() == [0.0] * len(x)
        True
    """
    Stream(model, data, 100).check_order("since scores of two models are compared row by row")
    of_both = (
        log_likelihood(each, data, num_samples, seed=seed, verbose=verbose).per_point
        for each in (model, background)
    )
    own, common = (np.asarray(scores, np.float64) for scores in of_both)
    return own - common
