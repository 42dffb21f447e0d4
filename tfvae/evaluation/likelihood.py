"""The evidence log p(x) of data."""

from __future__ import annotations

import functools
import math
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae._config import check_count
from tfvae._random import fold_in, stateless_seed
from tfvae._typing import Seed, Tensor
from tfvae.evaluation.curve import Curve
from tfvae.evaluation.estimate import Estimate, OfDraws, render_table
from tfvae.evaluation.pareto import pareto_k
from tfvae.evaluation.proposals import Encoder, Proposal
from tfvae.evaluation.streaming import Stream, filled, progress
from tfvae.graph.evidence import Evidence, importance_evidence
from tfvae.models import LatentVariableModel

__all__ = ["LogLikelihood", "log_likelihood"]

# Draws scored at once: enough to fill the cores, little enough to stay in their caches.
_DRAWS_AT_ONCE = 5000
# Weights kept per point, one number for all numbers of draws: the tail of 7,000, and what of the
# tail of more tells as much as 255 can.
_NUM_LARGEST = 256
# Above, the mean of a practical number of weights is not near its limit (Vehtari et al., 2024).
_LARGE_K = 0.7
# A mean of fewer effective draws in half of the points, or of such weights in a tenth of them, is
# not to be taken at its word.
_FEW_DRAWS, _MANY_POINTS = 10.0, 0.1
_ENCODER = Encoder()

_Compute = Callable[[dict[str, Tensor], dict[str, Tensor], Tensor, Tensor], Evidence]


@dataclass(frozen=True)
class LogLikelihood(OfDraws, Estimate):
    """Importance-sampled log p(x): a lower bound in expectation, tighter with more samples.

    Attributes:
        per_point: log p(x) `[N]`, nats.
        mean: Mean over the points, nats.
        standard_error: Of the mean, nats, over the choice of the points and of the draws.
        per_point_standard_error: `[N]`, nats: of each estimate, over its draws alone. NaN with one
            draw, which says nothing of it; large, up to infinity, where one of several carries the
            estimate. Zero only where log p(x) is known.
        ess: Effective sample size `[N]`, between 1 and `num_samples`. A value near 1 says that
            one draw carries the estimate, which is then likely too low.
        k_hat: Shape of the tail of the weights `[N]`, see `tfvae.evaluation.pareto.pareto_k`. Above
            0.5 their variance is infinite, and what the standard error says too little; above 0.7
            so is the estimate, likely. It sees what `ess` cannot: a posterior too narrow for draws
            to reach where p(x, z) lies. NaN where there are too few draws to tell; minus infinity
            where log p(x) is known.
        curve: The same bound from fewer draws: those of the first blocks that are scored at once,
            1, 2, 4, ... of them, 5,000 draws shared by the points of a batch, and all S.
        num_samples: Draws per point.
        num_dimensions: Size of one example, D.
    """

    per_point_standard_error: np.ndarray
    ess: np.ndarray
    k_hat: np.ndarray
    curve: Curve
    num_samples: int
    num_dimensions: int

    @property
    def median_k_hat(self) -> float:
        """Median over the points for which there is one."""
        known = self.k_hat[~np.isnan(self.k_hat)]
        # A median between two infinities is none.
        with np.errstate(invalid="ignore"):
            return float(np.median(known)) if len(known) else float("nan")

    @property
    def share_of_large_k_hat(self) -> float:
        """Share above 0.7 of the points for which there is one."""
        known = self.k_hat[~np.isnan(self.k_hat)]
        return float(np.mean(known > _LARGE_K)) if len(known) else float("nan")

    @property
    def message(self) -> str | None:
        """What is to be said of the estimate where it cannot be trusted, and what to do; or None.

        That is where the median effective sample size is below 10, or more than a tenth of the
        points have a `k_hat` above 0.7. Points whose log p(x) is known count as sure.
        """
        drawn = self.per_point_standard_error != 0.0
        ess = float(np.median(np.where(drawn, self.ess, np.inf)))
        found = []
        if ess < _FEW_DRAWS:
            found.append(f"half of the points rest on {ess:.1f} effective draws or fewer")
        if self.share_of_large_k_hat > _MANY_POINTS:
            share = f"{self.share_of_large_k_hat:.0%} of the points"
            found.append(f"{share} have weights with a k-hat above {_LARGE_K}")
        if not found:
            return None
        return (
            f"This log p(x) is likely too low, and its error larger than it says: "
            f"{', and '.join(found)}. Take more draws, or others, by `proposal=`: "
            "`tfvae.evaluation.Defensive()`, or `Refined(...)` of what `tfvae.evaluation.refine` "
            "finds."
        )

    def to_dict(self) -> dict[str, float]:
        """Returns the summary as plain numbers."""
        return {
            **super().to_dict(),
            "monte_carlo_error": self.monte_carlo_error,
            "bits_per_dimension": self.bits_per_dimension,
            "median_ess": float(np.median(self.ess)),
            "least_ess": float(np.min(self.ess)),
            "median_k_hat": self.median_k_hat,
            "share_of_large_k_hat": self.share_of_large_k_hat,
            "num_samples": self.num_samples,
            "num_points": len(self.ess),
        }

    def __str__(self) -> str:
        rows = [
            ["log p(x)", f"{self.mean:.3f}", f"{self.standard_error:.3f}", "nats per point"],
            ["", "", f"{self.monte_carlo_error:.3f}", "of it from the draws alone"],
            ["bits per dimension", f"{self.bits_per_dimension:.4f}", "", ""],
            ["effective samples", f"{np.median(self.ess):.1f}", "", "median over points"],
            ["", f"{np.min(self.ess):.1f}", "", "least"],
        ]
        if math.isfinite(self.median_k_hat):  # Of few draws, and of exact sums, there is none.
            rows += [
                ["k-hat of the weights", f"{self.median_k_hat:.2f}", "", "median over points"],
                ["", f"{self.share_of_large_k_hat:.0%}", "", f"of points above {_LARGE_K}"],
            ]
        title = f"Log-likelihood of {len(self.ess)} points, {self.num_samples} samples each"
        table = render_table(title, ["quantity", "mean", "± s.e.", ""], rows)
        return table if self.message is None else f"{table}\n{textwrap.fill(self.message, 80)}"


def log_likelihood(
    model: LatentVariableModel,
    data: Any,
    num_samples: int = 1000,
    *,
    proposal: Proposal = _ENCODER,
    batch_size: int = 100,
    seed: Seed = 0,
    verbose: bool = True,
) -> LogLikelihood:
    """Estimates log p(x) of each point by importance sampling.

        log p(x) ~ log (1/S) sum_s p(x|z_s) p(z_s) / q(z_s|x),   z_s ~ q(z|x)

    where q is the posterior of the encoder, or another `proposal`. How far the estimate can be
    trusted is told by `LogLikelihood.message`.

    Streams: memory depends on `batch_size` and neither on the number of points nor on
    `num_samples`, but for the per-point results. Encoder and prior run once per batch.

    Args:
        model: A trained model.
        data: Array `[N, ...]`, `tf.data.Dataset` or `keras.utils.PyDataset`.
        num_samples: Draws per point, S.
        proposal: What the draws come from, such as `tfvae.evaluation.Defensive()`.
        batch_size: Points per batch, for arrays.
        seed: Int or pair of ints; the same seed, data and `batch_size` give the same numbers.
        verbose: Shows a progress bar where it takes more than two seconds.

    Returns:
        `LogLikelihood`.

    Raises:
        TypeError: `proposal` is none.
        ValueError: `num_samples` is smaller than 1, the data is not what the model is for, or the
            proposal is not for this model or data.

    Example:
        >>> from tfvae.demo import vae, x
        >>> result = tfvae.log_likelihood(vae, x, num_samples=100)
        >>> result.per_point.shape == (len(x),), result.mean < 0.0
        (True, True)

    Reference: Importance Weighted Autoencoders (Burda et al., 2016),
    https://arxiv.org/abs/1509.00519
    """
    num_samples = check_count("num_samples", num_samples)
    seed = stateless_seed(0 if seed is None else seed)
    if not isinstance(proposal, Proposal):
        raise TypeError(
            "`proposal` must be a `tfvae.evaluation.Proposal`, such as "
            f"`tfvae.evaluation.Defensive()`. Received: {type(proposal).__name__}"
        )
    stream = Stream(model, data, batch_size)
    if stream.num_points is not None:
        proposal.check_points(stream.num_points)
    scored, curves = _scored(model, stream, proposal, num_samples, seed, verbose)
    log_p_x, standard_error, ess, k_hat = scored
    summary = Estimate.of(log_p_x)
    return LogLikelihood(
        per_point=log_p_x,
        mean=summary.mean,
        standard_error=summary.standard_error,
        per_point_standard_error=standard_error,
        ess=ess,
        k_hat=k_hat,
        curve=Curve.of(curves),
        num_samples=num_samples,
        num_dimensions=math.prod(model.data.event_shape),
    )


def _scored(
    model: LatentVariableModel,
    stream: Stream,
    proposal: Proposal,
    num_samples: int,
    seed: Tensor,
    verbose: bool,
) -> tuple[list[np.ndarray], list[dict[int, np.ndarray]]]:
    """Returns what `_judged` says of all points, `[N]` each, and the curves chunk by chunk."""
    results: list[list[np.ndarray]] = [[], [], [], []]
    curves: list[dict[int, np.ndarray]] = []
    start = 0
    with progress(stream.num_points, "log p(x)", verbose) as bar:
        for index, (batch, count) in enumerate(stream):
            # One program for all large numbers of draws, and one for each power of two below.
            enough = 1 << (num_samples - 1).bit_length()
            block = min(enough, max(1, _DRAWS_AT_ONCE // len(batch["x"])))
            own = proposal.of_points(slice(start, start + count))
            own = {name: filled(part, len(batch["x"])) for name, part in own.items()}
            make = functools.partial(_estimator, model, proposal, block)
            compute = model.functions(("evidence", block, proposal), make)
            estimate = compute(batch, own, tf.constant(num_samples), fold_in(seed, index))
            for result, values in zip(results, _judged(estimate, num_samples), strict=True):
                result.append(values[:count])
            curves.append(_curve(estimate, num_samples, block, count))
            bar.update(count)
            start += count
    proposal.check_points(start)
    return [np.concatenate(result) for result in results], curves


def _estimator(model: LatentVariableModel, proposal: Proposal, block: int) -> _Compute:
    def estimate(
        batch: dict[str, Tensor], own: dict[str, Tensor], count: Tensor, seed: Tensor
    ) -> Evidence:
        q = proposal.distribution(model, batch, own)
        return importance_evidence(
            model, batch, count, seed, block, posterior=q, num_largest=_NUM_LARGEST
        )

    return estimate


def _judged(estimate: Evidence, num_samples: int) -> tuple[np.ndarray, ...]:
    """Returns log p(x), its standard error, effective sample size and k-hat, `[B]`."""
    log_p_x, error, ess = (values.numpy() for values in estimate[:3])
    course: Any = estimate.course
    k_hat = pareto_k(course.largest.numpy(), num_samples)
    return log_p_x, error, ess, np.where(error == 0.0, -np.inf, k_hat)


def _curve(estimate: Evidence, num_samples: int, block: int, count: int) -> dict[int, np.ndarray]:
    """Returns, of the first points, the log mean weight by numbers of draws, all of them last."""
    course: Any = estimate.course
    early = {block << index: values[:count] for index, values in enumerate(course.early.numpy())}
    found = {num: values for num, values in early.items() if num < num_samples}
    return {**found, num_samples: estimate.log_p_x.numpy()[:count]}
