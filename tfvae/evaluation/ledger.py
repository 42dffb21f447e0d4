"""The ledger of the ELBO: where every nat of log p(x) goes."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from tfvae._words import counted
from tfvae.evaluation.aggregation import Aggregated
from tfvae.evaluation.dimensions import Dimensions
from tfvae.evaluation.estimate import Estimate, Shown, data_frame, render_table
from tfvae.evaluation.likelihood import LogLikelihood

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Decomposition", "balanced"]


@dataclass(frozen=True)
class Decomposition(Shown):
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
        log_p_x: Evidence, by importance sampling, with all that tells how far it can be trusted:
            a `tfvae.evaluation.LogLikelihood`, whose `message` is printed below the ledger; None
            without `evidence_samples`.
        gap: KL(q(z|x) || p(z|x)), from the draws of the evidence; the same.
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
            over the points of log N_c, of the number of points that have the same c: NaN where
            no points were compared.
        num_samples: Draws per point behind all entries but the evidence.
        evidence_samples: Draws per point behind the evidence.
        level_rates: Of a model of several latents, the addends of `rate`, by the names that
            training logs them by; else empty.
        amortisation_gap: The ELBO of the best posterior of the encoder's family that was found for
            each point, minus that of the encoder's; None without `refine_steps`.
        approximation_gap: What is left to log p(x) by the best posterior; the same.
        refine_steps: Steps behind both.
        conditions: Names of the parts of the data that the prior depends on, c; else empty.
        num_compared: Number of points behind the entries that compare points with each other: all,
            or as many as `max_pairs` allows, drawn at random. Their standard errors are those of
            so many points; each draw is scored under all N posteriors in any case.
        dimensions: Rate, information, dimension-wise KL and variance of the posterior mean of each
            dimension of z, `Dimensions`: print it for all, below the ledger are those that say
            most. None for a model without latents.
    """

    log_p_x: LogLikelihood | None
    gap: Estimate | None
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
    num_compared: int = 0
    dimensions: Dimensions | None = None

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
            "num_compared": self.num_compared,
            "num_samples": self.num_samples,
            "evidence_samples": self.evidence_samples,
            "refine_steps": self.refine_steps,
            "dimensions": {} if self.dimensions is None else self.dimensions.to_dict(),
            "levels": {} if self.dimensions is None else self.dimensions.levels,
        }

    @property
    def notes(self) -> dict[str, str]:
        """What each entry of the tree is, in a few words, by name; in their order as it is read."""
        ceiling = "E log N_c" if self.conditions else "log N"
        given = "|c" if self.conditions else ""
        compared = self.mutual_information is not None
        return {
            "log_p_x": "= elbo + gap",
            "elbo": "= -(distortion + rate)",
            "distortion": "-E log p(x|z)",
            "rate": "KL(q(z|x) || p(z))" if compared else f"at least I[x;z{given}]",
            "mutual_information": f"at most {ceiling} = {self.information_ceiling:.3f}"
            if math.isfinite(self.information_ceiling)
            else f"at most {ceiling}",
            "marginal_kl": f"KL(q(z{given}) || p(z{given}))",
            "total_correlation": "KL(q(z) || prod q(z_k))",
            "dimension_wise_kl": "sum KL(q(z_k) || p(z_k))",
            **dict.fromkeys(self.level_rates, "part of rate"),
            "gap": "KL(q(z|x) || p(z|x))",
            "amortisation_gap": "of gap: the encoder's",
            "approximation_gap": "of gap: the family's",
        }

    def tree(self) -> Iterator[tuple[str, str, Estimate, str]]:
        """Yields the guide, the name, the estimate and the note of each entry, as a tree is read.

        Example:
            >>> from tfvae.demo import vae, x
            >>> ledger = tfvae.decompose(vae, x, evidence_samples=50)
            >>> [guide + name for guide, name, *_ in ledger.tree()][:4]
            ['log_p_x', '├ elbo', '│ ├ distortion', '│ └ rate']
        """
        entries, notes = self._entries(), self.notes
        root = "log_p_x" if "log_p_x" in entries else "elbo"

        def below(name: str, guide: str, before: str) -> Iterator[tuple[str, str, Estimate, str]]:
            yield guide, name, entries[name], notes[name]
            parts = [part for part in self._parts_of(name) if part in entries]
            for part in parts:
                last = part == parts[-1]
                deeper = before + ("  " if last else "│ ")
                yield from below(part, before + ("└ " if last else "├ "), deeper)

        return below(root, "", "")

    def to_frame(self) -> Any:
        """Returns a `pandas.DataFrame`: a row for each entry, in nats, and what it is a part of.

        Behind them come the rows of each dimension of z, such as `rate of z[0]`.

        Raises:
            ImportError: pandas is not installed.
        """
        entries = self._entries()
        whole = {part: name for name in entries for part in self._parts_of(name)}
        names = [name for _, name, *_ in self.tree()]
        names += [name for name in entries if name not in names]
        rows = [
            {
                "entry": name,
                "mean": entries[name].mean,
                "standard_error": entries[name].standard_error,
                "part_of": whole.get(name),
            }
            for name in names
        ]
        parts = {"rate": "rate", "dimension_wise_kl": "dimension_wise_kl"}
        known = {} if self.dimensions is None else self.dimensions.to_dict()
        rows += [
            {"entry": f"{entry} of {name}", **value, "part_of": parts.get(entry)}
            for name, own in known.items()
            for entry, value in own.items()
            if isinstance(value, dict)
        ]
        return data_frame(rows, "entry")

    def plot(self) -> Figure:
        """Returns a picture of what the ELBO is made of, see `tfvae.plots.ledger`."""
        from tfvae import plots

        return plots.ledger(self)

    def __str__(self) -> str:
        rows = [
            [guide + name, f"{entry.mean:.3f}", f"{entry.standard_error:.3f}", note]
            for guide, name, entry, note in self.tree()
        ]
        title = f"ELBO ledger of {counted(self.num_points, 'point')}, nats per point"
        ledger = render_table(title, ["entry", "mean", "± s.e.", ""], rows)
        rows = [
            [name, f"{value.mean:+.1e}", f"{value.standard_error:.1e}"]
            for name, value in self.residuals.items()
        ]
        title = "Residuals, left side minus right side"
        residuals = render_table(title, ["identity", "mean", "± s.e."], rows)
        notes = [f"Given c: {', '.join(self.conditions)}."] if self.conditions else []
        if 0 < self.num_compared < self.num_points:
            notes.append(
                f"Entries that compare points with each other are from {self.num_compared} of the "
                f"{self.num_points}, drawn at random; `max_pairs=` takes more."
            )
        if self.log_p_x is not None and self.log_p_x.message is not None:
            notes.append(self.log_p_x.message)
        tables = [ledger, residuals]
        if self.dimensions is not None and len(self.dimensions.names) > 1:
            tables.insert(1, self.dimensions.to_text())
        return "\n".join([*tables, *(textwrap.fill(note, 80) for note in notes)])

    def _parts_of(self, name: str) -> tuple[str, ...]:
        """Returns the names of the entries that make up another, there or not."""
        return (*_PARTS.get(name, ()), *(self.level_rates if name == "rate" else ()))

    def _entries(self) -> dict[str, Estimate]:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values = {name: value for name, value in values.items() if isinstance(value, Estimate)}
        return {**values, **self.level_rates}


def _entries_of_marginals(of_all: Aggregated) -> dict[str, np.ndarray]:
    """Returns what compares points with each other, `[n]`, by name."""
    draws, log_q_z = of_all.draws, of_all.log_q_z
    entries = {
        "mutual_information": draws["log_q_z"] - log_q_z,
        "marginal_kl": log_q_z - draws["log_p_z"],
        "entropy_z": -log_q_z,
    }
    if of_all.log_q_z_each is not None:
        independent = np.sum(of_all.log_q_z_each, axis=-1)
        entries["total_correlation"] = log_q_z - independent
        if "log_p_z_each" in draws:
            entries["dimension_wise_kl"] = independent - draws["log_p_z"]
    return {name: of_all.expect(value) for name, value in entries.items()}


def balanced(
    points: dict[str, np.ndarray],
    of_all: Aggregated | None,
    rate_names: tuple[str, ...],
    dimensions: Callable[[Aggregated | None], Dimensions] | None = None,
    **settings: Any,
) -> Decomposition:
    """Returns the ledger of values of points.

    Args:
        points: Entries `[N]` by name, each point by itself.
        of_all: What is known of the aggregated posterior, None where nothing is.
        rate_names: Which of the entries are rates of levels.
        dimensions: From what is known of the aggregated posterior to that of each dimension; None
            for a model without latents.
        **settings: Of the ledger.
    """
    num_points = len(points["elbo"])
    # Of how many points have the same condition nothing is known where none were compared.
    unknown = math.nan if settings["conditions"] else math.log(num_points)
    ceiling = unknown if of_all is None else float(of_all.ceiling)
    compared: dict[str, np.ndarray] = {}
    if settings["conditions"] and ceiling == 0.0:
        of_all = None  # No two points can be compared.
    if of_all is not None:
        with np.errstate(invalid="ignore"):  # infinite scores
            compared = _entries_of_marginals(of_all)
    with np.errstate(invalid="ignore"):
        residuals = _residuals({**points, **compared}, None if of_all is None else of_all.points)
    evidence_samples = settings["evidence_samples"]
    evidence = LogLikelihood.of(points, evidence_samples) if evidence_samples else None
    points = {n: v for n, v in points.items() if n in _BY_POINT or n in rate_names}
    entries: dict[str, Any] = {n: Estimate.of(v) for n, v in {**points, **compared}.items()}
    rates = {name: entries.pop(name) for name in rate_names}
    return Decomposition(
        **{**dict.fromkeys(("gap", *_OF_AGGREGATED)), **entries, "log_p_x": evidence},
        residuals={name: Estimate.of(value) for name, value in residuals.items()},
        information_ceiling=ceiling,
        level_rates=rates,
        num_compared=0 if of_all is None else len(of_all.points),
        dimensions=None if dimensions is None else dimensions(of_all),
        **settings,
    )


def _residuals(p: dict[str, np.ndarray], compared: np.ndarray | None) -> dict[str, np.ndarray]:
    """Returns left side minus right side of each identity of which both are there, `[N]`.

    Where entries are in it of some points alone, those `compared`, it is of these.
    """
    found = {}
    for identity, terms in _IDENTITIES.items():
        if not all(name in p for _, name in terms):
            continue
        some = any(name in _OF_AGGREGATED for _, name in terms)
        of_all = [n for _, n in terms if some and n not in _OF_AGGREGATED]
        # One by one: of long data no more copies in float64 than it takes.
        found[identity] = 0.0
        for sign, name in terms:
            values = p[name][compared] if name in of_all else p[name]
            found[identity] += sign * values.astype(np.float64)
    return found


# Entry → what it is made of, but for the rates of levels, which are parts of the rate too.
_PARTS = {
    "log_p_x": ("elbo", "gap"),
    "elbo": ("distortion", "rate"),
    "rate": ("mutual_information", "marginal_kl"),
    "marginal_kl": ("total_correlation", "dimension_wise_kl"),
    "gap": ("amortisation_gap", "approximation_gap"),
}
# Entries of each point by itself.
_BY_POINT = (
    "gap",
    "elbo",
    "distortion",
    "rate",
    "entropy_z_given_x",
    "cross_entropy",
    "amortisation_gap",
    "approximation_gap",
)
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
