"""The ledger of the ELBO: where every nat of log p(x) goes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae._config import check_count
from tfvae._random import fold_in, stateless_seed
from tfvae._typing import Seed, Tensor
from tfvae.distributions.factors import as_factors
from tfvae.distributions.pairwise import pairwise_log_prob, pairwise_log_prob_of_elements
from tfvae.distributions.statistics import statistic
from tfvae.evaluation.estimate import Estimate, render_table
from tfvae.evaluation.refinement import refined_posterior
from tfvae.evaluation.streaming import Stream, progress
from tfvae.learning.semi_amortised import refinable
from tfvae.models import LatentVariableModel
from tfvae.models.importance import importance_evidence

__all__ = ["Decomposition", "decompose"]


@dataclass(frozen=True)
class Decomposition:
    """The ledger of the ELBO over N data points, in nats; every entry is an `Estimate`.

    With q(z) the aggregated posterior, the mean of the N posteriors q(z|x_n):

        log_p_x        = elbo + gap
        elbo           = -(distortion + rate)
        rate           = mutual_information + marginal_kl
        marginal_kl    = total_correlation + dimension_wise_kl
        mutual_information = entropy_z - entropy_z_given_x
        marginal_kl    = cross_entropy - entropy_z
        gap            = amortisation_gap + approximation_gap      with `refine_steps`

    The two sides of an identity come from different computations where there are two (closed
    forms against draws, one set of draws against another): `residuals` shows how they agree.

    Attributes:
        log_p_x: Evidence, by importance sampling.
        gap: KL(q(z|x) || p(z|x)), from the draws of the evidence.
        elbo: E_q[log p(x|z)] - KL(q(z|x) || p(z)).
        distortion: -E_q[log p(x|z)].
        rate: KL(q(z|x) || p(z)); in closed form where one exists.
        mutual_information: I[x;z] under q(z|x) and these N points; at most log N.
        marginal_kl: KL(q(z) || p(z)).
        total_correlation: KL(q(z) || prod_k q(z_k)); None unless q(z|x) factorises.
        dimension_wise_kl: sum_k KL(q(z_k) || p(z_k)); None unless q(z|x) and p(z) factorise.
        entropy_z: H[z] = -E log q(z).
        entropy_z_given_x: H[z|x] = -E log q(z|x); in closed form where one exists.
        cross_entropy: CE[q(z) || p(z)] = -E log p(z).
        residuals: Identity → `Estimate` of left side minus right side.
        num_samples: Draws per point behind all entries but the evidence.
        evidence_samples: Draws per point behind the evidence.
        level_rates: Of a model of several latents, the addends of `rate`, by the names that
            training logs them by; else empty.
        amortisation_gap: The ELBO of the best posterior of the encoder's family that was found for
            each point, minus that of the encoder's; None without `refine_steps`.
        approximation_gap: What is left to log p(x) by the best posterior; the same.
        refine_steps: Steps behind both.
    """

    log_p_x: Estimate
    gap: Estimate
    elbo: Estimate
    distortion: Estimate
    rate: Estimate
    mutual_information: Estimate
    marginal_kl: Estimate
    total_correlation: Estimate | None
    dimension_wise_kl: Estimate | None
    entropy_z: Estimate
    entropy_z_given_x: Estimate
    cross_entropy: Estimate
    residuals: dict[str, Estimate]
    num_samples: int
    evidence_samples: int
    level_rates: dict[str, Estimate] = field(default_factory=dict)
    amortisation_gap: Estimate | None = None
    approximation_gap: Estimate | None = None
    refine_steps: int = 0

    @property
    def num_points(self) -> int:
        """Number of data points, N."""
        return len(self.elbo.per_point)

    @property
    def information_ceiling(self) -> float:
        """The most that `mutual_information` can be for N points: log N, nats."""
        return math.log(self.num_points)

    def to_dict(self) -> dict[str, Any]:
        """Returns means, standard errors and residuals as plain numbers."""
        return {
            **{name: entry.to_dict() for name, entry in self._entries().items()},
            "residuals": {name: value.to_dict() for name, value in self.residuals.items()},
            "information_ceiling": self.information_ceiling,
            "num_points": self.num_points,
            "num_samples": self.num_samples,
            "evidence_samples": self.evidence_samples,
            "refine_steps": self.refine_steps,
        }

    def __str__(self) -> str:
        notes = {
            "log_p_x": "= elbo + gap",
            "gap": "KL(q(z|x) || p(z|x))",
            "amortisation_gap": "part of gap: the encoder's",
            "approximation_gap": "the rest of gap: the family's",
            "elbo": "= -(distortion + rate)",
            "distortion": "-E log p(x|z)",
            "rate": "= mutual_information + marginal_kl",
            "mutual_information": f"at most log N = {self.information_ceiling:.3f}",
            "marginal_kl": "KL(q(z) || p(z))",
            "total_correlation": "part of marginal_kl",
            "dimension_wise_kl": "the rest of marginal_kl",
        }
        notes |= dict.fromkeys(self.level_rates, "part of rate")
        entries = self._entries()
        rows = [
            [name, f"{entries[name].mean:.3f}", f"{entries[name].standard_error:.3f}", note]
            for name, note in notes.items()
            if name in entries
        ]
        title = f"ELBO ledger of {self.num_points} points, nats per point"
        ledger = render_table(title, ["entry", "mean", "± s.e.", ""], rows)
        rows = [
            [name, f"{value.mean:+.1e}", f"{value.standard_error:.1e}"]
            for name, value in self.residuals.items()
        ]
        title = "Residuals, left side minus right side"
        residuals = render_table(title, ["identity", "mean", "± s.e."], rows)
        return f"{ledger}\n{residuals}"

    def _entries(self) -> dict[str, Estimate]:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values = {name: value for name, value in values.items() if isinstance(value, Estimate)}
        return {**values, **self.level_rates}


def decompose(
    model: LatentVariableModel,
    data: Any,
    *,
    num_samples: int = 10,
    evidence_samples: int = 1000,
    refine_steps: int = 0,
    batch_size: int = 250,
    seed: Seed = 0,
    verbose: bool = True,
) -> Decomposition:
    """Balances the ledger of the ELBO over all given points.

    The aggregated posterior is that of all N points: each draw is scored under each posterior,
    chunk against chunk, so that work grows with N**2 and memory does not grow with N but for the
    per-point results.

    Args:
        model: A trained model.
        data: Array `[N, ...]`, `tf.data.Dataset` or `keras.utils.PyDataset`. It is read more than
            once and must give the same points each time.
        num_samples: Draws of z per point for all entries but the evidence.
        evidence_samples: Draws of z per point for log p(x).
        refine_steps: Splits the gap: the posterior of each point is refined by so many steps of
            `tfvae.evaluation.refine`, 300 for instance, and log p(x) drawn from that. 0 does not.
        batch_size: Points per batch, for arrays.
        seed: Int or pair of ints; the same seed, data and `batch_size` give the same numbers.
        verbose: Shows a progress bar where it takes more than two seconds.

    Returns:
        `Decomposition`.

    Raises:
        ValueError: A number of samples is smaller than 1, the data is not what the model is for,
            or posteriors that are to be refined are not made by one layer of parameters.

    Example:
        >>> ledger = tfvae.decompose(vae, x, evidence_samples=100)
        >>> residual = ledger.residuals["rate = mutual_information + marginal_kl"]
        >>> abs(residual.mean) < 5 * residual.standard_error
        True

    References:
        ELBO surgery (Hoffman and Johnson, 2016)
        Isolating Sources of Disentanglement in VAEs (Chen et al., 2018),
        https://arxiv.org/abs/1802.04942
    """
    for name, value in (("num_samples", num_samples), ("evidence_samples", evidence_samples)):
        if int(value) != value or value < 1:
            raise ValueError(f"`{name}` must be a whole number >= 1. Received: {name}={value}")
    if refine_steps != 0:
        check_count("refine_steps", refine_steps)
    seed = stateless_seed(0 if seed is None else seed)
    stream = Stream(model, data, batch_size)
    if refine_steps:
        refinable(model)
    score = model.compiled_function(
        ("ledger", num_samples, evidence_samples, refine_steps),
        lambda: _scorer(model, num_samples, evidence_samples, int(refine_steps)),
    )
    compare = model.compiled_function("ledger pairs", lambda: _comparer(model))
    points: dict[str, list[np.ndarray]] = {}
    with progress(stream.num_points, "ELBO ledger", verbose) as bar:
        for index, (batch, count) in enumerate(stream):
            values, draws = score(batch, fold_in(seed, index))
            log_q_z, log_q_z_each = _aggregated(compare, stream, draws)
            values = {**values, **_entries_of_marginals(draws, log_q_z, log_q_z_each)}
            for name, value in values.items():
                points.setdefault(name, []).append(value.numpy()[:count])
            bar.update(count)
    values = {name: np.concatenate(parts) for name, parts in points.items()}
    sizes = {"num_samples": num_samples, "evidence_samples": evidence_samples}
    return _ledger(values, model.rate_names, refine_steps=refine_steps, **sizes)


def _scorer(
    model: LatentVariableModel, num_samples: int, evidence_samples: int, refine_steps: int
) -> Callable[[dict[str, Tensor], Tensor], tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Makes the pass over one chunk: per-point values `[B]`, and draws with their densities."""

    def score(
        batch: dict[str, Tensor], seed: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        terms = model.terms(num_samples=num_samples, seed=fold_in(seed, 0), **batch)
        block = min(evidence_samples, max(1, 5000 // max(1, batch["x"].shape[0] or 1)))
        best = None
        if refine_steps:
            start, draw = model.encode(**batch), fold_in(seed, 2)
            best = refined_posterior(model, batch, start, refine_steps, draw, num_samples)
        evidence = importance_evidence(
            model, batch, evidence_samples, fold_in(seed, 1), block, posterior=best
        )
        conditional = -terms.expect(terms.log_q_z)
        entropy = statistic(terms.q_z, "entropy")
        values = {
            "log_p_x": evidence.log_p_x,
            "gap": evidence.log_p_x - evidence.elbo,
            "elbo": terms.elbo,
            "sampled_elbo": terms.expect(terms.log_w),
            "distortion": terms.distortion,
            "rate": terms.rate,
            "entropy_z_given_x": conditional if entropy is None else entropy,
            "cross_entropy": -terms.expect(terms.log_p_z),
        }
        if best is not None:
            # Differences of ELBOs at the same noise; other draws behind the gap itself.
            refined, others = (
                model.terms(num_samples=num_samples, seed=draw, posterior=q, **batch)
                for q, draw in ((best, fold_in(seed, 0)), (None, fold_in(seed, 3)))
            )
            values["gap"] = evidence.log_p_x - others.elbo
            values["amortisation_gap"] = refined.elbo - terms.elbo
            values["approximation_gap"] = evidence.log_p_x - evidence.elbo
        rates = [] if terms.level_rates is None else tf.unstack(terms.level_rates, axis=-1)
        values |= dict(zip(model.rate_names, rates, strict=True))
        draws = {"z": terms.z, "log_q_z": terms.log_q_z, "log_p_z": terms.log_p_z}
        if as_factors(terms.p_z) is not None:
            draws["log_p_z_of_elements"] = terms.log_p_z  # their sum
        if terms.log_weights is not None:
            draws["log_weights"] = terms.log_weights
        return values, draws

    return score


def _comparer(model: LatentVariableModel) -> Callable[..., tuple[Tensor, ...]]:
    """Makes the pass of one chunk of draws over one chunk of posteriors: log-sums over these."""

    def compare(z: Tensor, batch: dict[str, Tensor], count: Tensor) -> tuple[Tensor, ...]:
        q_z = model.encode(**batch)
        surplus = tf.where(tf.range(tf.shape(batch["x"])[0]) < count, 0.0, -float("inf"))  # [M]
        log_q = pairwise_log_prob(q_z, z) + tf.cast(surplus, z.dtype)  # [S, B, M]
        totals = [tf.reduce_logsumexp(log_q, axis=-1)]
        each = pairwise_log_prob_of_elements(q_z, z)
        if each is not None:
            each += tf.cast(surplus, z.dtype)[:, None]  # [S, B, M, K]
            totals.append(tf.reduce_logsumexp(each, axis=2))
        return tuple(totals)

    return compare


def _aggregated(
    compare: Callable[..., tuple[Tensor, ...]], stream: Stream, draws: dict[str, Tensor]
) -> tuple[Tensor, Tensor | None]:
    """Returns log q(z) `[S, B]` and log q(z_k) `[S, B, K]` of draws, over all of the data."""
    sums: list[Tensor] = []
    for batch, count in stream:
        totals = compare(draws["z"], batch, tf.constant(count))
        pairs = zip(sums, totals, strict=True)
        sums = [tf.reduce_logsumexp(tf.stack(p), axis=0) for p in pairs] if sums else list(totals)
    log_size = math.log(stream.num_points or 1)
    return sums[0] - log_size, sums[1] - log_size if len(sums) > 1 else None


def _entries_of_marginals(
    draws: dict[str, Tensor], log_q_z: Tensor, log_q_z_each: Tensor | None
) -> dict[str, Tensor]:
    entries = {
        "mutual_information": draws["log_q_z"] - log_q_z,
        "marginal_kl": log_q_z - draws["log_p_z"],
        "entropy_z": -log_q_z,
    }
    if log_q_z_each is not None:
        independent = tf.reduce_sum(log_q_z_each, axis=-1)
        entries["total_correlation"] = log_q_z - independent
        if "log_p_z_of_elements" in draws:
            entries["dimension_wise_kl"] = independent - draws["log_p_z_of_elements"]
    if "log_weights" in draws:
        weights = tf.exp(draws["log_weights"])
        return {name: tf.reduce_sum(weights * value, axis=0) for name, value in entries.items()}
    return {name: tf.reduce_mean(value, axis=0) for name, value in entries.items()}


def _ledger(
    points: dict[str, np.ndarray],
    rate_names: tuple[str, ...],
    *,
    num_samples: int,
    evidence_samples: int,
    refine_steps: int,
) -> Decomposition:
    p = {name: value.astype(np.float64) for name, value in points.items()}
    residuals = {
        "log_p_x = elbo + gap": p["log_p_x"] - p["elbo"] - p["gap"],
        "elbo = -(distortion + rate)": p["sampled_elbo"] + p["distortion"] + p["rate"],
        "rate = mutual_information + marginal_kl": (
            p["rate"] - p["mutual_information"] - p["marginal_kl"]
        ),
        "mutual_information = H[z] - H[z|x]": (
            p["mutual_information"] - p["entropy_z"] + p["entropy_z_given_x"]
        ),
        "marginal_kl = CE[q(z)||p(z)] - H[z]": (
            p["marginal_kl"] - p["cross_entropy"] + p["entropy_z"]
        ),
    }
    if "dimension_wise_kl" in p:
        residuals["marginal_kl = total_correlation + dimension_wise_kl"] = (
            p["marginal_kl"] - p["total_correlation"] - p["dimension_wise_kl"]
        )
    if "amortisation_gap" in p:
        residuals["gap = amortisation_gap + approximation_gap"] = (
            p["gap"] - p["amortisation_gap"] - p["approximation_gap"]
        )
    del points["sampled_elbo"]
    entries: dict[str, Any] = {name: Estimate.of(value) for name, value in points.items()}
    rates = {name: entries.pop(name) for name in rate_names}
    return Decomposition(
        **{"total_correlation": None, "dimension_wise_kl": None, **entries},
        residuals={name: Estimate.of(value) for name, value in residuals.items()},
        num_samples=int(num_samples),
        evidence_samples=int(evidence_samples),
        level_rates=rates,
        refine_steps=int(refine_steps),
    )
