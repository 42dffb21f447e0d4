"""Figures of numbers: the ledger as a bar of nats, rates by dimension, the bound against draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfvae._words import kind_of
from tfvae.evaluation.collapse import CollapseReport
from tfvae.evaluation.estimate import Estimate
from tfvae.evaluation.ledger import Decomposition
from tfvae.evaluation.likelihood import LogLikelihood
from tfvae.evaluation.rate_distortion import RateDistortion
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
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["evidence_curve", "ledger", "rate_distortion", "rates"]

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
        TypeError: `decomposition` is none.

    Example:
        >>> from tfvae.demo import vae, x
        >>> figure = tfvae.plots.ledger(tfvae.decompose(vae, x, evidence_samples=50))
    """
    if not isinstance(decomposition, Decomposition):
        raise TypeError(
            "`decomposition` must be what `tfvae.decompose(model, data)` returned. "
            f"Received: {kind_of(decomposition)}"
        )
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
        ValueError: There are more names or fewer than dimensions.

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
    if len(names) != len(values):
        raise ValueError(
            f"`names` must hold one name for each of {len(values)} dimensions. "
            f"Received: {len(names)}"
        )
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


def rate_distortion(curve: RateDistortion) -> Figure:
    """Shows all models of a sweep in the plane of distortion and rate, with what bounds them.

    The line is `rate = entropy - distortion`, of which no model lies below: it begins where z is
    ignored, at rate 0 (the autodecoding limit), and of likelihoods that give probabilities it ends
    where z says all, at distortion 0 (the autoencoding limit). Densities have no such end. Hollow
    points are I[x;z], which lies between the line and the rate; of N points it shows log N at most.

    Args:
        curve: What `tfvae.rate_distortion` returned.

    Returns:
        Figure.

    Raises:
        ImportError: matplotlib is not installed.

    Example:
        >>> from tfvae.demo import decoder, encoder, x
        >>> def build():
        ...     return tfvae.VAE(*map(keras.models.clone_model, (encoder, decoder)), seed=0)
        >>> curve = tfvae.rate_distortion(build, [1.0], x, x, verbose=False)
        >>> figure = tfvae.plots.rate_distortion(curve)

    Reference: Fixing a Broken ELBO (Alemi et al., 2018), https://arxiv.org/abs/1711.00464
    """
    figure = new_figure(3.6, 2.8)
    axes = figure.add_subplot()
    order = np.argsort([entry.mean for entry in curve.distortion], kind="stable")
    (x, dx), (y, dy) = (
        np.nan_to_num([(entries[i].mean, entries[i].standard_error) for i in order]).T
        for entries in (curve.distortion, curve.rate)
    )
    axes.errorbar(
        x,
        y,
        xerr=dx,
        yerr=dy,
        color=BLUE,
        linewidth=1.0,
        marker="o",
        markersize=3.5,
        elinewidth=0.8,
        label="rate",
    )
    known = [(curve.distortion[i], curve.mutual_information[i]) for i in order]
    information = [(d.mean, i.mean) for d, i in known if i is not None]
    if information:
        axes.plot(*zip(*information, strict=True), "o", **_HOLLOW, label="I[x;z]")
        ceiling = curve.ledgers[0].information_ceiling
        axes.axhline(ceiling, color=GREEN, linewidth=0.6, linestyle=":", label="log N")
    for index, at in zip(order, zip(x, y, strict=True), strict=True):
        text, away = rf"$\beta$ = {curve.betas[index]:g}", (4, 4)
        axes.annotate(text, at, away, textcoords="offset points", fontsize=FONT_SIZE - 2)
    _bound(axes, curve)
    axes.set_xlabel("distortion, nats", fontsize=FONT_SIZE)
    axes.set_ylabel("rate, nats", fontsize=FONT_SIZE)
    axes.legend(fontsize=FONT_SIZE - 1, frameon=False)
    open_frame(axes)
    return figure


_HOLLOW: dict[str, Any] = {"color": GREEN, "markerfacecolor": "none", "markersize": 3.5}


def _bound(axes: Axes, curve: RateDistortion) -> None:
    """Draws the line that the evidence bounds, what lies below it, and its ends."""
    entropy = curve.entropy.mean
    if not np.isfinite(entropy):
        return
    low, high = axes.get_xlim()
    start = 0.0 if curve.discrete else min(low, entropy)
    line = np.array([start, entropy])
    axes.plot(line, entropy - line, color=GREY, linewidth=0.8, label="H - distortion")
    axes.fill_between(line, entropy - line, color=GREY, alpha=0.15, linewidth=0.0)
    ends = [("autodecoding", (entropy, 0.0), (-4, 4), "right")]
    if curve.discrete:
        ends.append(("autoencoding", (0.0, entropy), (4, 4), "left"))
    for name, place, away, side in ends:
        axes.plot(*place, marker="s", color=GREY, markersize=4)
        style = {"ha": side, "fontsize": FONT_SIZE - 2}
        axes.annotate(name, place, away, textcoords="offset points", **style)
    low, high = min(low, start), max(high, entropy)
    axes.set_xlim(low, high + 0.08 * (high - low))  # room for the weights
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
