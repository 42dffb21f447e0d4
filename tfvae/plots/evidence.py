"""Figures of numbers: the ledger as a bar of nats, rates by dimension, the bound against draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfvae.evaluation.collapse import CollapseReport
from tfvae.evaluation.estimate import Estimate
from tfvae.evaluation.ledger import Decomposition
from tfvae.evaluation.likelihood import LogLikelihood
from tfvae.plots.style import (
    BLUE,
    FONT_SIZE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    new_figure,
    open_frame,
    plain_text,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["evidence_curve", "ledger", "rates"]

_COLOURS = {
    "distortion": BLUE,
    "rate": ORANGE,
    "mutual_information": GREEN,
    "marginal_kl": PURPLE,
    "total_correlation": PURPLE,
    "dimension_wise_kl": ORANGE,
}
_MOST_BARS = 128


def ledger(decomposition: Decomposition) -> Figure:
    """Shows what the ELBO is made of, one bar after the other, in nats per data point.

    The bars go from zero to -ELBO, and the gap back from there to -log p(x): what a code for x
    costs, first that of x given z, then that of z, less what a perfect posterior would save.
    Entries that are zero for each point, those of latents in a model without any, are left out.

    Args:
        decomposition: What `tfvae.decompose` returned.

    Returns:
        Figure.

    Raises:
        ImportError: matplotlib is not installed.

    Example:
        >>> from tfvae.demo import vae, x
        >>> figure = tfvae.plots.ledger(tfvae.decompose(vae, x, evidence_samples=50))
    """
    bars = list(_bars(decomposition))
    figure = new_figure(3.6, 0.55 + 0.26 * len(bars))
    axes = figure.add_subplot()
    for row, (name, start, end, error, colour) in enumerate(bars):
        error = float(np.nan_to_num(error))  # of one point there is none
        style: dict[str, Any] = {"ecolor": "#262626", "error_kw": {"linewidth": 0.8}}
        axes.barh(row, end - start, left=start, height=0.62, color=colour, xerr=error, **style)
        axes.annotate(
            f"{end - start:+.2f}" if name not in _TOTALS else f"{end:.2f}",
            (max(start, end + error), row),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=FONT_SIZE - 1,
        )
    axes.set_yticks(range(len(bars)), [name.replace("_", " ") for name, *_ in bars])
    axes.invert_yaxis()
    axes.axvline(0.0, color="#262626", linewidth=0.6)
    low, high = axes.get_xlim()
    axes.set_xlim(low, high + 0.2 * (high - low))  # room for the numbers
    axes.set_xlabel("nats per data point", fontsize=FONT_SIZE)
    open_frame(axes)
    axes.tick_params(axis="y", length=0)
    return figure


_TOTALS = ("-ELBO", "-log p(x)")


def _bars(entries: Decomposition) -> Iterator[tuple[str, float, float, float, str]]:
    """Yields name, start, end, standard error and colour of each bar, from the top."""
    if entries.marginal_kl is None:
        names = ["distortion", *(entries.level_rates or ["rate"])]
    elif entries.total_correlation is None or entries.dimension_wise_kl is None:
        names = ["distortion", "mutual_information", "marginal_kl"]
    else:
        names = ["distortion", "mutual_information", "total_correlation", "dimension_wise_kl"]
    levels = (GREEN, PURPLE, ORANGE)
    end = 0.0
    found = {n: entries.level_rates.get(n) or getattr(entries, n) for n in names}
    for index, (name, entry) in enumerate(found.items()):
        if _is_nothing(entry):
            continue
        start, end = end, end + entry.mean
        colour = _COLOURS.get(name) or levels[index % len(levels)]
        yield name, start, end, entry.standard_error, colour
    # Parts come from other draws than their sum: the ledger's residuals say by how much.
    end = -entries.elbo.mean
    yield _TOTALS[0], 0.0, end, entries.elbo.standard_error, GREY
    if entries.gap is not None and entries.log_p_x is not None:
        parts = ["amortisation_gap", "approximation_gap"] if entries.refine_steps else ["gap"]
        for name in parts:
            entry = getattr(entries, name)
            if not _is_nothing(entry):
                start, end = end, end - entry.mean
                yield name, start, end, entry.standard_error, "#56b4e9"
        error = entries.log_p_x.standard_error
        yield _TOTALS[1], 0.0, -entries.log_p_x.mean, error, GREY


def _is_nothing(entry: Estimate) -> bool:
    """Whether an entry is zero for each point: those of latents, in a model that has none."""
    return not np.any(entry.per_point)


def rates(report: CollapseReport, names: Sequence[str] | None = None) -> Figure:
    """Shows the rate of each dimension of z, the highest first, or their activity.

    Dimensions that are not active are grey. Where posterior or prior do not factorise there is no
    rate of one dimension, and the variance of the posterior mean is shown.

    Args:
        report: What `tfvae.evaluation.measure_collapse` returned.
        names: Of the dimensions `[K]`; by default their numbers.

    Returns:
        Figure.

    Raises:
        ImportError: matplotlib is not installed.

    Example:
        >>> from tfvae.demo import vae, x
        >>> figure = tfvae.plots.rates(tfvae.evaluation.measure_collapse(vae, x))
    """
    known = report.dimension_rates is not None
    values = report.dimension_rates if known else report.activity
    values = np.asarray(values, np.float64).reshape(-1)
    fits = len(values) == len(report.active)
    active = report.active if fits else np.ones(len(values), bool)
    order = np.argsort(-values, kind="stable")[:_MOST_BARS]
    names = [str(index) for index in range(len(values))] if names is None else list(names)
    figure = new_figure(3.6, 2.2)
    axes = figure.add_subplot()
    colours = [BLUE if active[index] else GREY for index in order]
    axes.bar(range(len(order)), values[order], color=colours, width=0.8)
    step = -(-len(order) // 16)  # as many names as can be read
    shown = [plain_text(names[index]) for index in order[::step]]
    axes.set_xticks(range(0, len(order), step), shown)
    if max(map(len, shown), default=0) > 3:
        axes.tick_params(axis="x", labelrotation=90)
    axes.set_xlabel("dimension of z", fontsize=FONT_SIZE)
    axes.set_xlim(-0.6, max(len(order), 4) - 0.4)
    label = "rate, nats" if known else "variance of the mean"
    axes.set_ylabel(label, fontsize=FONT_SIZE)
    open_frame(axes)
    return figure


def evidence_curve(result: LogLikelihood) -> Figure:
    """Shows the bound L_S on log p(x) against the number of draws S, with its standard errors.

    Where it still rises at its right end, log p(x) lies above.

    Args:
        result: What `tfvae.log_likelihood` returned.

    Returns:
        Figure.

    Raises:
        ImportError: matplotlib is not installed.

    Example:
        >>> from tfvae.demo import vae, x
        >>> figure = tfvae.plots.evidence_curve(tfvae.log_likelihood(vae, x, 100))
    """
    curve = result.curve
    figure = new_figure(3.6, 2.2)
    axes = figure.add_subplot()
    axes.errorbar(
        curve.num_draws,
        curve.mean,
        np.nan_to_num(curve.standard_error),
        color=BLUE,
        linewidth=1.2,
        marker="o",
        markersize=3,
        capsize=2,
        elinewidth=0.8,
    )
    axes.set_xscale("log")
    axes.set_xlabel("draws of z per point, S", fontsize=FONT_SIZE)
    axes.set_ylabel("$L_S$, nats", fontsize=FONT_SIZE)
    open_frame(axes)
    return figure
