"""The sections of a report: each shows one thing, or says why it does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfvae import plots
from tfvae.data.spec import CONTEXT
from tfvae.latents.codes import latent_names
from tfvae.plots.grid import as_images, fitting_shape, limits_of
from tfvae.reporting.blocks import (
    Section,
    Table,
    picture,
    rows_of,
    walk_of_columns,
    walk_of_images,
)
from tfvae.reporting.configuration import parts_of, versions
from tfvae.reporting.findings import Findings

__all__ = ["Pages", "sections"]

_NUM_IMAGES, _NUM_ROWS, _NUM_SAMPLES = 20, 5, 64


@dataclass(frozen=True)
class Pages:
    """What sections need to know beside what was found.

    Attributes:
        found: The numbers.
        labels: Of the points `[N]`, for the latent map.
        image_shape: `(H, W)` or `(H, W, C)` of flat nodes that are images.
    """

    found: Findings
    labels: np.ndarray | None = None
    image_shape: tuple[int, ...] | None = None

    def images(self) -> dict[str, tuple[int, ...]]:
        """Returns the shapes `(H, W, C)` of the observed nodes that are images, by name."""
        found = {}
        for name, part in self.found.observed.items():
            event = part.shape[1:]
            shape = fitting_shape(event, None)
            if shape is None and self.image_shape is not None:
                shape = fitting_shape(event, self.image_shape)
            if shape is not None:
                found[name] = shape
        return found

    def tables(self, parts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns those of these parts that are no images."""
        return {name: part for name, part in parts.items() if name not in self.images()}


def sections(pages: Pages) -> list[Section]:
    """Returns all sections, in their order on the page."""
    return [make(pages) for make in _SECTIONS]


def _ledger(pages: Pages) -> Section:
    ledger = pages.found.ledger
    points = f"{ledger.num_points:,} point{'s' if ledger.num_points > 1 else ''}"
    rows = [
        [_kept(guide) + name, f"{entry.mean:.3f}", f"{entry.standard_error:.3f}", note]
        for guide, name, entry, note in ledger.tree()
    ]
    residuals = [
        [name, f"{value.mean:+.1e}", f"{value.standard_error:.1e}"]
        for name, value in ledger.residuals.items()
    ]
    blocks: list[Any] = [
        Table(["entry", "nats", "± s.e.", "what it is"], rows, numeric=(1, 2), kind="tree"),
        picture(lambda: plots.ledger(ledger), "The ledger as bars of nats"),
    ]
    if residuals:
        caption = "Each identity, left side minus right side, from different computations."
        table = Table(["identity", "nats", "± s.e."], residuals, caption, numeric=(1, 2))
        blocks.append(table)
    lead = f"Where every nat goes, per data point, over {points}, with standard errors."
    return Section("ledger", "Ledger", lead, blocks)


def _kept(guide: str) -> str:
    """Returns the guide of a tree with spaces that no browser takes away, wide as a line is."""
    return guide.replace("  ", "\u2007 ")


def _training(pages: Pages) -> Section:
    title = "Training"
    history = pages.found.history
    if history is None:
        return Section("training", title, left_out="No history of training was given.")
    curves = picture(
        lambda: plots.training_curves(history),
        "ELBO, distortion and rate over the epochs",
        narrow=lambda: plots.training_curves(history, columns=1),
    )
    return Section("training", title, "The ELBO and its terms over the epochs.", [curves])


def _reconstructions(pages: Pages) -> Section:
    title, found = "Reconstructions", pages.found
    if not found.model.graph.latents:
        text = "This model has no latents, and so nothing that data is made again from."
        return Section("reconstructions", title, left_out=text)
    blocks: list[Any] = []
    for name in pages.images():
        settings = {"node": name, "image_shape": pages.images()[name]}

        def draw(columns: int, settings: dict[str, Any] = settings) -> Any:
            number = _NUM_IMAGES if columns > 5 else 10
            model, parts = found.model, found.parts
            settings = {"num_images": number, "columns": columns, **settings}
            return plots.reconstructions(model, parts, **settings)

        caption = (
            f"{name}: data above, the mean of p(x|z) below." if len(found.observed) > 1 else ""
        )
        blocks.append(
            picture(lambda d=draw: d(10), f"{name} made again", caption, lambda d=draw: d(5))
        )
    flat = pages.tables(found.observed)
    if flat:
        rows = {name: part[:_NUM_ROWS] for name, part in found.parts.items()}
        made = found.model.reconstruct(rows)
        made = made if isinstance(made, dict) else {next(iter(found.observed)): made}
        of_both = {
            n: np.stack([np.asarray(p[:_NUM_ROWS], np.float64), np.asarray(made[n])], axis=1)
            for n, p in flat.items()
        }
        both = {name: part.reshape(-1, *part.shape[2:]) for name, part in of_both.items()}
        number = len(next(iter(both.values())))
        labels = [f"{i // 2} {'made again' if i % 2 else 'data'}" for i in range(number)]
        blocks.append(rows_of(both, labels, "row"))
    lead = "Data, and the centre of p(x|z) at the centre of q(z|x)."
    return Section("reconstructions", title, lead, blocks)


def _samples(pages: Pages) -> Section:
    found, blocks = pages.found, []
    for name, shape in pages.images().items():
        drawn = as_images(found.drawn[f"{name}_mean"][:_NUM_SAMPLES], name, shape)

        def draw(columns: int, drawn: np.ndarray = drawn) -> Any:
            return plots.images(drawn[: 64 if columns > 8 else 40], columns=columns)

        caption = name if len(found.observed) > 1 else ""
        blocks.append(picture(lambda d=draw: d(16), f"New {name}", caption, lambda d=draw: d(8)))
    flat = pages.tables(found.observed)
    for name, part in flat.items():
        both, names = (part, found.drawn[name]), _column_names(name, part)
        caption = f"{name}: data beside draws of the model." if len(flat) > 1 else ""
        figure = picture(
            lambda b=both, n=names: plots.columns(*b, n), f"Columns of {name}", caption
        )
        blocks.append(figure)
    lead = (
        "New data: z drawn from the prior, and the centre of p(x|z)."
        if pages.images()
        else ("Where the columns of new data lie, beside those of the data.")
    )
    if CONTEXT in found.parts:
        lead += " Contexts are those of the data."
    return Section("samples", "Samples", lead, blocks)


def _column_names(name: str, part: np.ndarray) -> list[str]:
    size = int(np.prod(part.shape[1:]))
    return [name] if part.ndim == 1 else [f"{name}[{index}]" for index in range(size)]


def _traversals(pages: Pages) -> Section:
    title, found = "Traversals", pages.found
    if not found.model.graph.latents:
        text = "This model has no latents to move."
        return Section("traversals", title, left_out=text)
    if not found.ways:
        text = "No dimension of z is active: nothing would move."
        return Section("traversals", title, left_out=text)
    blocks: list[Any] = []
    for name, shape in pages.images().items():
        data = found.observed[name]
        limits = limits_of(np.asarray(data, np.float64))
        blocks += [
            walk_of_images(way, as_images(way.means[name], name, shape), limits)
            for way in found.ways
        ]
    if not blocks:
        blocks += [walk_of_columns(way, way.means, found.observed) for way in found.ways]
    lead = (
        "One active dimension of z moves from one end of the posteriors to the other, all others "
        "stay at those of the first point. The widest come first."
    )
    return Section("traversals", title, lead, blocks)


def _map(pages: Pages) -> Section:
    title, found = "Latent map", pages.found
    graph = found.model.graph
    if not graph.latents:
        return Section("map", title, left_out="This model has no latents.")
    real = [n for n in graph.latents if not _is_finite(graph.supports[n])]
    size = sum(int(np.prod(graph.shapes[name])) for name in real)
    if size < 1 or found.num_points < 2:
        text = "A map takes latents that are real numbers, and two points of data."
        return Section("map", title, left_out=text)
    node = real[0] if len(real) < len(graph.latents) and len(real) == 1 else None
    labels = None if pages.labels is None else pages.labels[: found.num_points]
    figure = picture(
        lambda: plots.latent_space(found.model, found.parts, labels, node=node),
        "Posterior means in the plane",
    )
    return Section("map", title, "Where the posterior means of the data lie.", [figure])


def _is_finite(support: Any) -> bool:
    bounded = support.lower is not None and support.upper is not None
    return support.one_hot or support.categories is not None or (support.whole and bounded)


def _rates(pages: Pages) -> Section:
    title, report = "Rate per dimension", pages.found.collapse
    if report is None:
        text = "This takes a model with latents, and two points of data."
        return Section("rates", title, left_out=text)
    known = report.dimension_rates is not None
    lead = f"{report.active_units} of {len(report.activity)} dimensions are active" + (
        ", the others are grey."
        if known
        else "; the posterior or the prior does not factorise, so that no dimension has a rate of "
        "its own: the variance of the posterior mean is shown."
    )
    names = latent_names(pages.found.model)
    figure = picture(lambda: plots.rates(report, names), "Rate of each dimension")
    return Section("rates", title, lead, [figure])


def _curve(pages: Pages) -> Section:
    title, likelihood = "Evidence against draws", pages.found.likelihood
    if likelihood.is_known:
        text = "log p(x) is known exactly for this model, whatever the number of draws."
        return Section("curve", title, left_out=text)
    lead = (
        "The bound on log p(x) by more and more draws of q(z|x). Where it still rises at its right "
        "end, log p(x) lies above."
    )
    figure = picture(lambda: plots.evidence_curve(likelihood), "L_S against S")
    return Section("curve", title, lead, [figure])


def _anomalies(pages: Pages) -> Section:
    found = pages.found
    scores = found.likelihood.per_point
    order = np.argsort(scores, kind="stable")
    number = min(8, max(1, len(order) // 2))
    ends = {"least": order[:number]}
    if len(order) > 1:
        ends["most"] = order[::-1][:number]
    blocks: list[Any] = []
    for which, rows in ends.items():
        values = f"log p(x) from {scores[rows[0]]:.1f} to {scores[rows[-1]]:.1f} nats"
        caption = f"The {which} likely: rows {', '.join(map(str, rows))}; {values}."
        for name, shape in pages.images().items():
            shown = as_images(found.observed[name][rows], name, shape)
            blocks.append(
                picture(
                    lambda s=shown: plots.images(s, columns=8),
                    f"{which} likely {name}",
                    caption,
                )
            )
        flat = pages.tables(found.observed)
        if flat:
            parts = {"log p(x)": scores[rows], **{n: p[rows] for n, p in flat.items()}}
            caption = "" if pages.images() else f"The {which} likely."
            blocks.append(rows_of(parts, [str(row) for row in rows], "row", caption))
    return Section(
        "anomalies", "Anomalies", "Data at both ends of log p(x), by draws of q(z|x).", blocks
    )


def _configuration(pages: Pages) -> Section:
    made = Table(["part", "what it is"], parts_of(pages.found.model), kind="configuration")
    used = Table(["package", "version"], versions(), kind="configuration")
    return Section(
        "configuration", "Configuration", "What made this model, and this page.", [made, used]
    )


_SECTIONS: Sequence[Any] = (
    _ledger,
    _training,
    _reconstructions,
    _samples,
    _traversals,
    _map,
    _rates,
    _curve,
    _anomalies,
    _configuration,
)
