"""The ledger of the ELBO: where every nat of log p(x) goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae._config import check_count
from tfvae._random import fold_in, stateless_seed
from tfvae._typing import Seed, Tensor
from tfvae.distributions.factors import as_factors
from tfvae.distributions.statistics import statistic
from tfvae.evaluation.aggregation import Aggregated, aggregated
from tfvae.evaluation.estimate import Estimate, render_table
from tfvae.evaluation.refinement import refined_posterior
from tfvae.evaluation.streaming import Stream, progress
from tfvae.graph.evidence import importance_evidence
from tfvae.learning.semi_amortised import refinable
from tfvae.models import LatentVariableModel

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

    Where the prior depends on a condition c (`conditions`), q(z|c) takes the place of q(z), and
    p(z|c) that of p(z): the mean over the points of equal c. The rate is then I[x;z|c] plus
    E KL(q(z|c) || p(z|c)), and everything about z is given c, H[z|c] for one. Where no two points
    have equal c, nothing can be told of q(z|c), and entries that need it are None: the rate is the
    most that I[x;z|c] can be. Of a context that the prior does not read, but q(z|x,c) does,
    `mutual_information` is I[(x,c);z].

    The two sides of an identity come from different computations where there are two (closed
    forms against draws, one set of draws against another): `residuals` shows how they agree.

    Attributes:
        log_p_x: Evidence, by importance sampling.
        gap: KL(q(z|x) || p(z|x)), from the draws of the evidence.
        elbo: E_q[log p(x|z)] - KL(q(z|x) || p(z)).
        distortion: -E_q[log p(x|z)].
        rate: KL(q(z|x) || p(z)); in closed form where one exists.
        mutual_information: I[x;z] under q(z|x) and these N points; at most `information_ceiling`.
        marginal_kl: KL(q(z) || p(z)).
        total_correlation: KL(q(z) || prod_k q(z_k)); None unless q(z|x) factorises.
        dimension_wise_kl: sum_k KL(q(z_k) || p(z_k)); None unless q(z|x) and p(z) factorise.
        entropy_z: H[z] = -E log q(z).
        entropy_z_given_x: H[z|x] = -E log q(z|x); in closed form where one exists.
        cross_entropy: CE[q(z) || p(z)] = -E log p(z).
        residuals: Identity → `Estimate` of left side minus right side.
        information_ceiling: The most that `mutual_information` can be, nats: log N, or the mean
            over the points of log N_c, of the number of points that have the same c.
        num_samples: Draws per point behind all entries but the evidence.
        evidence_samples: Draws per point behind the evidence.
        level_rates: Of a model of several latents, the addends of `rate`, by the names that
            training logs them by; else empty.
        amortisation_gap: The ELBO of the best posterior of the encoder's family that was found for
            each point, minus that of the encoder's; None without `refine_steps`.
        approximation_gap: What is left to log p(x) by the best posterior; the same.
        refine_steps: Steps behind both.
        conditions: Names of the parts of the data that the prior depends on, c; else empty.
    """

    log_p_x: Estimate
    gap: Estimate
    elbo: Estimate
    distortion: Estimate
    rate: Estimate
    mutual_information: Estimate | None
    marginal_kl: Estimate | None
    total_correlation: Estimate | None
    dimension_wise_kl: Estimate | None
    entropy_z: Estimate | None
    entropy_z_given_x: Estimate
    cross_entropy: Estimate
    residuals: dict[str, Estimate]
    information_ceiling: float
    num_samples: int
    evidence_samples: int
    level_rates: dict[str, Estimate] = field(default_factory=dict)
    amortisation_gap: Estimate | None = None
    approximation_gap: Estimate | None = None
    refine_steps: int = 0
    conditions: tuple[str, ...] = ()

    @property
    def num_points(self) -> int:
        """Number of data points, N."""
        return len(self.elbo.per_point)

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
        ceiling = "mean log N_c" if self.conditions else "log N"
        given = f"|{','.join(self.conditions)}" if self.conditions else ""
        parts = "= mutual_information + marginal_kl"
        notes = {
            "log_p_x": "= elbo + gap",
            "gap": "KL(q(z|x) || p(z|x))",
            "amortisation_gap": "part of gap: the encoder's",
            "approximation_gap": "the rest of gap: the family's",
            "elbo": "= -(distortion + rate)",
            "distortion": "-E log p(x|z)",
            "rate": f"at least I[x;z{given}]" if self.mutual_information is None else parts,
            "mutual_information": f"at most {ceiling} = {self.information_ceiling:.3f}",
            "marginal_kl": f"KL(q(z{given}) || p(z{given}))",
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
    num_samples = check_count("num_samples", num_samples)
    evidence_samples = check_count("evidence_samples", evidence_samples)
    refine_steps = 0 if refine_steps == 0 else check_count("refine_steps", refine_steps)
    seed = stateless_seed(0 if seed is None else seed)
    stream = Stream(model, data, batch_size)
    if refine_steps:
        refinable(model)
    score = model.functions(
        ("ledger", num_samples, evidence_samples, refine_steps),
        lambda: _scorer(model, num_samples, evidence_samples, refine_steps),
    )
    points: dict[str, list[np.ndarray]] = {}
    with progress(stream.num_points, "ELBO ledger", verbose) as bar:
        for index, (batch, count) in enumerate(stream):
            values, draws = score(batch, fold_in(seed, index))
            of_all = aggregated(stream, batch, draws["z"])
            values = {**values, **_entries_of_marginals(draws, of_all)}
            for name, value in values.items():
                points.setdefault(name, []).append(np.asarray(value)[:count])
            bar.update(count)
    values = {name: np.concatenate(parts) for name, parts in points.items()}
    return _ledger(
        values,
        model.graph.rate_names,
        num_samples=num_samples,
        evidence_samples=evidence_samples,
        refine_steps=refine_steps,
        conditions=model.graph.conditions,
    )


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
        values |= dict(zip(model.graph.rate_names, rates, strict=True))
        draws = {"z": terms.z, "log_q_z": terms.log_q_z, "log_p_z": terms.log_p_z}
        if as_factors(terms.p_z) is not None:
            draws["log_p_z_of_elements"] = terms.log_p_z  # their sum
        if terms.log_weights is not None:
            draws["log_weights"] = terms.log_weights
        return values, draws

    return score


def _entries_of_marginals(draws: dict[str, Tensor], of_all: Aggregated) -> dict[str, Any]:
    log_q_z, log_q_z_each, log_size = of_all
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
    if "log_weights" not in draws:
        means = {name: tf.reduce_mean(value, axis=0) for name, value in entries.items()}
        return {**means, "log_size": log_size}
    weights = tf.exp(draws["log_weights"])
    sums = {
        # A state that cannot be has a log-density of minus infinity, and no weight.
        name: tf.reduce_sum(tf.math.multiply_no_nan(value, weights), axis=0)
        for name, value in entries.items()
    }
    return {**sums, "log_size": log_size}


def _ledger(
    points: dict[str, np.ndarray], rate_names: tuple[str, ...], **settings: Any
) -> Decomposition:
    ceiling = float(points.pop("log_size").mean())
    if settings["conditions"] and ceiling == 0.0:
        for name in _OF_AGGREGATED:
            points.pop(name, None)
    p = {name: value.astype(np.float64) for name, value in points.items()}
    with np.errstate(invalid="ignore"):  # infinite scores
        residuals = _residuals(p)
    del points["sampled_elbo"]
    entries: dict[str, Any] = {name: Estimate.of(value) for name, value in points.items()}
    rates = {name: entries.pop(name) for name in rate_names}
    return Decomposition(
        **{**dict.fromkeys(_OF_AGGREGATED), **entries},
        residuals={name: Estimate.of(value) for name, value in residuals.items()},
        information_ceiling=ceiling,
        level_rates=rates,
        **settings,
    )


def _residuals(p: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns left side minus right side of each identity of which both are there, `[N]`."""
    return {
        identity: np.sum([sign * p[name] for sign, name in terms], axis=0)
        for identity, terms in _IDENTITIES.items()
        if all(name in p for _, name in terms)
    }


# Entries that compare points with each other.
_OF_AGGREGATED = (
    "mutual_information",
    "marginal_kl",
    "total_correlation",
    "dimension_wise_kl",
    "entropy_z",
)
# Identity → what is added up to left side minus right side.
_IDENTITIES = {
    "log_p_x = elbo + gap": ((1, "log_p_x"), (-1, "elbo"), (-1, "gap")),
    "elbo = -(distortion + rate)": ((1, "sampled_elbo"), (1, "distortion"), (1, "rate")),
    "rate = mutual_information + marginal_kl": (
        (1, "rate"),
        (-1, "mutual_information"),
        (-1, "marginal_kl"),
    ),
    "mutual_information = H[z] - H[z|x]": (
        (1, "mutual_information"),
        (-1, "entropy_z"),
        (1, "entropy_z_given_x"),
    ),
    "marginal_kl = CE[q(z)||p(z)] - H[z]": (
        (1, "marginal_kl"),
        (-1, "cross_entropy"),
        (1, "entropy_z"),
    ),
    "marginal_kl = total_correlation + dimension_wise_kl": (
        (1, "marginal_kl"),
        (-1, "total_correlation"),
        (-1, "dimension_wise_kl"),
    ),
    "gap = amortisation_gap + approximation_gap": (
        (1, "gap"),
        (-1, "amortisation_gap"),
        (-1, "approximation_gap"),
    ),
}
