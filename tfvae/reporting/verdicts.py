"""What is good, what is bad and what to try, in plain words: one rule with a number for each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tfvae._words import counted
from tfvae.evaluation.collapse import CollapseReport
from tfvae.evaluation.estimate import Estimate
from tfvae.evaluation.ledger import Decomposition
from tfvae.evaluation.likelihood import LogLikelihood
from tfvae.reporting.findings import Findings

__all__ = ["Verdict", "verdicts"]

# Nats per point from which something is said: a factor of e in the probability of each.
_ONE_NAT = 1.0
# Standard errors by which a number has to be beyond its limit to be said to be, and by which the
# sides of an identity may differ; of either, what rounding in float32 may leave of the ELBO.
_SURELY, _BALANCED, _ROUNDING = 2.0, 4.0, 1e-5
# Points from which standard errors say that much: of three, means lie two of them off one in five
# times.
_FEWEST = 10


@dataclass(frozen=True)
class Verdict:
    """One thing that is said of a model.

    Attributes:
        kind: Whether it is good, bad, or only worth knowing.
        text: What was found, with its number.
        remedy: What to try; empty where there is nothing to mend.
    """

    kind: Literal["good", "bad", "note"]
    text: str
    remedy: str = ""


def verdicts(found: Findings) -> list[Verdict]:
    """Returns all that is to be said, what is bad first.

    What z says is judged by `CollapseReport.message`, the evidence by `LogLikelihood.message`;
    gaps, the prior and training are, each in its own rule, at one nat per point. Of fewer than ten
    points nothing is said but of the evidence and training.
    """
    few = found.num_points < _FEWEST
    rules = [_of_few_points, _of_evidence, _of_training] if few else _RULES
    said = [verdict for rule in rules for verdict in rule(found)]
    return sorted(said, key=lambda verdict: ("bad", "note", "good").index(verdict.kind))


def _of_few_points(found: Findings) -> Iterator[Verdict]:
    points = counted(found.num_points, "point")
    yield Verdict(
        "note",
        f"The latents, the gaps, the prior and the ledger are not judged by {points}: their "
        "numbers stand below.",
        f"{_FEWEST} points or more",
    )


def _of_latents(found: Findings) -> Iterator[Verdict]:
    collapse = found.collapse
    if collapse is None:
        return
    if collapse.message is not None:
        text, _, remedy = collapse.message.partition(" Try: ")
        yield Verdict("note" if _only_idle(collapse) else "bad", text, remedy)
        if not _only_idle(collapse):
            return
    information = collapse.mutual_information
    said = f"x is told worse by {collapse.shuffle_cost:.1f} nats with the z of others"
    if information is not None:
        ceiling = collapse.information_ceiling
        said = f"z says {information:.1f} nats of x, of at most {ceiling:.1f}"
    of = len(collapse.activity)
    by = f", by {collapse.active_units} of {counted(of, 'dimension')}"
    # Where codes move less than counts as active, all the same sharp posteriors tell them apart.
    yield Verdict("good", f"The latents are used: {said}{by if collapse.active_units else ''}.")


def _only_idle(collapse: CollapseReport) -> bool:
    """Whether there is nothing to say but that z has more dimensions than it needs."""
    finite = math.isfinite(collapse.rate) and math.isfinite(collapse.distortion)
    return finite and not collapse.collapsed and not collapse.idle_levels


def _of_evidence(found: Findings) -> Iterator[Verdict]:
    likelihood = found.likelihood
    if likelihood.message is not None:
        text, _, remedy = likelihood.message.partition(" Take ")
        kind = "bad" if likelihood.likely_too_low else "note"
        if found.is_refined:  # whose log p(x) stands above
            text = f"By draws of q(z|x) as it is: {text[0].lower()}{text[1:]}"
        yield Verdict(kind, text, f"take {remedy}" if remedy else "")
    elif likelihood.is_known:
        yield Verdict("good", "log p(x) is known: nothing had to be drawn for it.")
    else:
        k_hat = likelihood.share_of_large_k_hat
        above = f"have a k-hat above {likelihood.largest_k:.2g}"
        tail = "" if math.isnan(k_hat) else f", {k_hat:.0%} of points {above}"
        yield Verdict(
            "good",
            f"The estimate of log p(x) by draws of q(z|x) can be trusted: {_count(likelihood)} "
            f"effective draws at the median{tail}.",
        )


def _count(likelihood: LogLikelihood) -> str:
    return f"{float(np.median(likelihood.ess)):,.0f} of {likelihood.num_samples:,}"


def _of_gaps(found: Findings) -> Iterator[Verdict]:
    ledger = found.ledger
    if ledger.gap is None or not found.model.graph.latents:
        return
    least = "at least " if found.likelihood.likely_too_low else ""
    encoder, family = ledger.amortisation_gap, ledger.approximation_gap
    if encoder is None or family is None:
        if _above(ledger.gap):
            yield Verdict(
                "note",
                f"The ELBO lies {least}{ledger.gap.mean:.1f} nats below log p(x).",
                "a richer posterior, or more updates of the encoder",
            )
        return
    if _above(encoder):
        yield Verdict(
            "bad",
            f"The encoder leaves {encoder.mean:.1f} nats per point on the table: posteriors of its "
            "own family that are fitted point by point are so much better (amortisation gap).",
            "a larger encoder, or more updates of it: `compile(scheme=Alternating(5))` or "
            "`SemiAmortised(...)` of `tfvae.learning`",
        )
    if _above(family):
        yield Verdict(
            "bad",
            f"The best posterior of its family stays {least}{family.mean:.1f} nats per point below "
            "log p(x) (approximation gap).",
            "a richer posterior: `MultivariateNormalTriL`, or `TransformedDistribution` by a flow",
        )
    if not (_above(encoder) or _above(family)):
        yield Verdict(
            "good",
            f"The posterior follows: the ELBO lies {least}{ledger.gap.mean:.2f} nats below "
            f"log p(x), {encoder.mean:.2f} of it by the encoder.",
        )


def _of_prior(found: Findings) -> Iterator[Verdict]:
    ledger = found.ledger
    if ledger.mutual_information is None or ledger.marginal_kl is None:
        return
    if not found.model.graph.latents:
        return
    marginal, ceiling = ledger.marginal_kl, ledger.information_ceiling
    if ledger.mutual_information.mean > ceiling - math.log(2.0):
        yield Verdict(
            "note",
            f"The mutual information is at its ceiling: {found.num_points} points cannot show more "
            f"than {ceiling:.1f} nats. Of the marginal KL, {marginal.mean:.1f}, a part is its own.",
            "more points: `max_points=`",
        )
    elif _above(marginal):
        yield Verdict(
            "bad",
            f"The prior is not where the data is: KL(q(z) || p(z)) is {marginal.mean:.1f} nats, so "
            "that some samples come from where nothing was learned.",
            "a prior that learns: `tfvae.priors.VampPrior`, `GaussianMixture` or `FlowPrior`",
        )
    else:
        yield Verdict(
            "good", f"The prior is where the data is: KL(q(z) || p(z)) is {marginal.mean:.2f} nats."
        )


def _of_balance(found: Findings) -> Iterator[Verdict]:
    ledger = found.ledger
    off = {name: r for name, r in ledger.residuals.items() if not _balances(r, ledger)}
    for name, residual in off.items():
        yield Verdict(
            "bad",
            f"The ledger does not balance: {name} is off by {residual.mean:.2g} nats, "
            f"{_BALANCED:g} standard errors are {_BALANCED * residual.standard_error:.2g}.",
            "more draws, `tfvae.decompose(..., num_samples=100)`; what stays is worth a report",
        )
    if ledger.residuals and not off:
        yield Verdict(
            "good",
            f"The ledger balances: all {len(ledger.residuals)} identities hold within "
            f"{_BALANCED:g} standard errors.",
        )


def _balances(residual: Estimate, ledger: Decomposition) -> bool:
    if not math.isfinite(residual.mean):
        return False
    error = residual.standard_error if math.isfinite(residual.standard_error) else math.inf
    return abs(residual.mean) <= _BALANCED * error + _ROUNDING * (1.0 + abs(ledger.elbo.mean))


def _of_training(found: Findings) -> Iterator[Verdict]:
    history = found.history or {}
    elbo, valid = (_finite(history, name) for name in ("elbo", "val_elbo"))
    if len(valid):
        best, lost = int(np.argmax(valid)), float(np.max(valid) - valid[-1])
        if lost > _ONE_NAT:
            yield Verdict(
                "note",
                f"The validation ELBO was best in epoch {best + 1} of {len(valid)}, and "
                f"{lost:.1f} nats lower at the end.",
                "the weights of the best epoch: `EarlyStopping('val_elbo', mode='max', "
                "restore_best_weights=True)` of Keras",
            )
    course = valid if len(valid) else elbo
    tenth = len(course) // 10
    if tenth >= 2:
        rise = float(np.mean(course[-tenth:]) - np.mean(course[-2 * tenth : -tenth]))
        if rise > _ONE_NAT:
            yield Verdict(
                "note",
                f"Training has not ended: the ELBO rose by {rise:.1f} nats over the last tenth.",
                "more epochs",
            )


def _finite(history: Mapping[str, Sequence[float]], name: str) -> np.ndarray:
    values = np.asarray(history.get(name, ()), np.float64)
    return values if np.all(np.isfinite(values)) else np.zeros(0)


def _above(estimate: Estimate) -> bool:
    error = estimate.standard_error if math.isfinite(estimate.standard_error) else 0.0
    return estimate.mean - _SURELY * error > _ONE_NAT


_RULES: list[Callable[[Findings], Iterator[Verdict]]] = [
    _of_latents,
    _of_evidence,
    _of_gaps,
    _of_prior,
    _of_training,
    _of_balance,
]
