"""Writes the report: numbers, then sections, then one file."""

from __future__ import annotations

import importlib.resources
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfvae._config import check_count
from tfvae._typing import Seed
from tfvae._words import kind_of
from tfvae.evaluation.streaming import first_rows
from tfvae.export.folders import file_written_beside
from tfvae.models import LatentVariableModel
from tfvae.plots.grid import fitting_shape
from tfvae.plots.latents import check_labels
from tfvae.plots.training import check_history
from tfvae.reporting.embedded import default_look
from tfvae.reporting.findings import gather
from tfvae.reporting.sections import Pages, sections
from tfvae.reporting.verdicts import verdicts

__all__ = ["report"]


def report(
    model: LatentVariableModel,
    data: Any,
    path: str | os.PathLike[str],
    history: Any = None,
    *,
    labels: Any = None,
    image_shape: Sequence[int] | None = None,
    title: str | None = None,
    num_samples: int = 1000,
    refine_steps: int = 100,
    max_points: int = 1000,
    seed: Seed = 0,
    verbose: bool = True,
) -> Path:
    """Writes one HTML page on what a model makes of data, that needs nothing but a browser.

    On it are the ledger as a tree and as bars of nats, training curves, reconstructions, samples,
    traversals that move with a slider, a latent map, rates by dimension, the bound on log p(x)
    against draws, anomalies at both ends, what made the model, and in plain words what is good,
    what is bad and what to try (`docs/report.md` has the rules). What does not apply to a model is
    left out, with a sentence. The same model, data and seed give the same page.

    Args:
        model: Any trained model.
        data: In any form that `fit` takes, best held-out data; a dict of `x` and `context` for a
            model with one. Samples are drawn for the contexts of the data.
        path: Of the HTML file. It is written beside and renamed: a page is whole or not there.
        history: What `fit` returned, or its dict `history`; None leaves training out.
        labels: `[N]`, for the colours of the latent map, as in `tfvae.plots.latent_space`.
        image_shape: `(H, W)` or `(H, W, C)` of one image, for models of flat vectors.
        title: Of the page; by default the name of the model.
        num_samples: Draws per point for log p(x).
        refine_steps: Steps that split the gap in two, see `tfvae.decompose`; 0 does not.
        max_points: The first so many points are looked at: the work grows with their square.
        seed: Int or pair of ints, of all draws.
        verbose: Shows progress bars where it takes more than two seconds.

    Returns:
        The path.

    Raises:
        ImportError: matplotlib or Jinja2 is not installed.
        OSError: Nothing can be written at `path`.
        TypeError: `model` is none of `tfvae`.
        ValueError: A number is too small, or data, history, labels or `image_shape` do not fit.

    Example:
        >>> from tfvae.demo import vae, x
        >>> path = tfvae.report(vae, x, "vae.html", num_samples=50, refine_steps=5)
        >>> path.read_text()[:15]
        '<!doctype html>'
    """
    template = _template()
    if not isinstance(model, LatentVariableModel):
        raise TypeError(
            f"`model` must be a model of `tfvae`, such as a `tfvae.VAE`. Received: {kind_of(model)}"
        )
    num_samples = check_count("num_samples", num_samples)
    max_points = check_count("max_points", max_points)
    if refine_steps != 0:
        refine_steps = check_count("refine_steps", refine_steps)
    target = Path(os.path.realpath(path))
    if target.is_dir() or not target.parent.is_dir():
        raise ValueError(
            "`path` must be a file in a folder that there is, such as 'report.html'. "
            f"Received: {path}"
        )
    parts = first_rows(model, data, max_points)
    size = len(parts[model.data.observed[0]])
    labels = _checked_labels(labels, size, may_be_more=size == max_points)
    shape = _checked_shape(image_shape, {n: parts[n].shape[1:] for n in model.data.observed})
    if history is not None:
        check_history(getattr(history, "history", history))
    found = gather(
        model,
        parts,
        history,
        num_samples=num_samples,
        refine_steps=refine_steps,
        max_points=max_points,
        seed=seed,
        verbose=verbose,
    )
    pages = Pages(found, labels, shape)
    from matplotlib import rc_context

    with rc_context(default_look()):
        made = sections(pages)
    text = template.render(
        title=title or model.name,
        model=type(model).__name__,
        found=found,
        verdicts=verdicts(found),
        sections=[section for section in made if not section.left_out],
        left_out=[section for section in made if section.left_out],
    )
    with file_written_beside(target) as file:
        Path(file).write_text(text + "\n", encoding="utf-8")
    return Path(path)


def _template() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise ImportError(
            "Reports are written by Jinja2, which cannot be imported. "
            'Run `pip install "tfvae[report]"`.'
        ) from error
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["words"] = _words
    source = importlib.resources.files("tfvae.reporting").joinpath("page.html.j2")
    return environment.from_string(source.read_text(encoding="utf-8"))


def _words(text: str) -> Any:
    """Returns text as HTML, with what stands between backticks as code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _checked_shape(
    image_shape: Sequence[int] | None, events: Mapping[str, Sequence[int]]
) -> tuple[int, ...] | None:
    if image_shape is None:
        return None
    shape = tuple(image_shape)
    if all(fitting_shape(event, shape) is None for event in events.values()):
        shown = ", ".join(f"{name} of shape {list(event)}" for name, event in events.items())
        raise ValueError(
            "`image_shape` fits none of the observed nodes. Expected (H, W) or (H, W, C), with 1 "
            f"or 3 channels, for one of: {shown}. Received: image_shape={shape}"
        )
    return shape


def _checked_labels(labels: Any, size: int, *, may_be_more: bool) -> np.ndarray | None:
    """Returns the labels of the rows that are looked at, the first so many of data."""
    if labels is None:
        return None
    labels = np.asarray(labels)
    return check_labels(labels[:size] if labels.ndim and may_be_more else labels, size)
