"""All that can be found out about a model on data, without training it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from tfvae._config import check_count
from tfvae._random import stateless_seed
from tfvae._typing import Seed
from tfvae.checking.bounds import of_evidence, of_kl, of_objective, of_scores, of_slopes
from tfvae.checking.data import of_scale, read, split
from tfvae.checking.draws import of_densities, of_likelihood_scale, of_rate, of_supports
from tfvae.checking.files import of_file
from tfvae.checking.findings import Checkup, Finding
from tfvae.checking.reading import of_context, of_decoders, of_encoder
from tfvae.checking.rows import of_rows
from tfvae.checking.subject import Subject
from tfvae.checking.weights import of_gradients, of_training
from tfvae.evaluation.streaming import check_model, progress
from tfvae.models import LatentVariableModel
from tfvae.training.guard import not_finite, not_finite_weights

__all__ = ["check"]

Rule = Callable[[Subject], Iterator[Finding]]

# Rows that are looked at, of which the first are scored.
_ROWS = 1000


def _scored(subject: Subject) -> Iterator[Finding]:
    """Works out all scores: an error of a part is told by its own name, before rules need them."""
    assert subject.terms is not None
    return iter(())


_RULES: tuple[tuple[str, Rule], ...] = (
    ("scale of data", of_scale),
    ("scores", _scored),
    ("values of q and p", of_supports),
    ("scores", of_scores),
    ("trained weights", of_training),
    ("gradients", of_gradients),
    ("slopes", of_slopes),
    ("encoder reads x", of_encoder),
    ("decoder reads z", of_decoders),
    ("context is read", of_context),
    ("rows", of_rows),
    ("scale of p(x|z)", of_likelihood_scale),
    ("rate", of_rate),
    ("draws", of_densities),
    ("closed KL", of_kl),
    ("bound and evidence", of_evidence),
    ("objective", of_objective),
)

# Where one of these is at fault, all that follows is too.
_FIRST = ("values of q and p", "scores")


def check(
    model: LatentVariableModel,
    data: Any,
    *,
    num_points: int = 64,
    num_samples: int = 64,
    save: bool = False,
    seed: Seed = 0,
    verbose: bool = True,
) -> Checkup:
    """Tries all that can be found out about a model on data; print what it returns.

    Before training it finds what would train badly or not at all, at any time what makes numbers
    wrong: data that cannot be read or is of another scale than the model, parts that are frozen,
    get no gradient or read nothing, draws that are not those of their density, priors without the
    values of the posterior, a KL that is not that of draws, gradients that are not slopes, rows
    that act on each other, an objective that is no bound.

    Nothing is trained: weights, seeds, and what is compiled stay as they are. A model that waits
    for data to tell its shapes is built by it.

    Args:
        model: A model, compiled or not.
        data: Array `[N, ...]`, or any other form that an evaluation takes. Of arrays 1,000 evenly
            spaced rows are looked at, of streams the first.
        num_points: How many of the rows are scored.
        num_samples: Draws of z per point.
        save: Whether the model is also saved to a temporary file and loaded.
        seed: Int or pair of ints; the same seed gives the same findings.
        verbose: Shows a progress bar where it takes more than two seconds.

    Returns:
        `tfvae.checking.Checkup`: a table of what was tried, what was found and what to do.

    Raises:
        TypeError: `model` is no latent variable model.
        ValueError: A number is too small.

    Example:
        >>> from tfvae.demo import vae, x
        >>> checkup = tfvae.check(vae, x)
        >>> checkup.level, checkup["gradients"].found
        ('ok', 'All 4 weights get one, all finite.')

    Reference: Getting It Right: Joint Distribution Tests of Posterior Simulators (Geweke, 2004)
    """
    check_model(model)
    num_points = check_count("num_points", num_points)
    num_samples = check_count("num_samples", num_samples)
    title = f"{type(model).__name__} '{model.name}'"
    names = not_finite(model) if model.built else []
    if names:
        text = not_finite_weights(names, "No number of this model means anything")
        return Checkup(title, 0, (Finding("weights", "fault", *split(text)),))
    rows, first = read(model, data, max(_ROWS, num_points))
    if rows is None:
        return Checkup(title, 0, (first,))
    subject = Subject(
        model, rows, num_points, num_samples, stateless_seed(0 if seed is None else seed)
    )
    rules = [*_RULES, ("file", of_file)] if save else list(_RULES)
    found = [first]
    with progress(len(rules), "Check", verbose, unit="rules") as bar:
        for name, rule in rules:
            found += _tried(name, rule, subject)
            bar.update()
            if name in _FIRST and found[-1].tried == name and found[-1].level == "fault":
                break
    return Checkup(title, subject.num_points, tuple(found))


def _tried(name: str, rule: Rule, subject: Subject) -> list[Finding]:
    """Returns what a rule finds: an error of a part of the user's own is a finding too."""
    found: list[Finding] = []
    try:
        with warnings.catch_warnings():  # what data says is a finding of its own
            warnings.simplefilter("ignore")
            found += rule(subject)
    except Exception as error:  # of any part of the user's
        text = " ".join(re.sub(r"\x1b\[\d*m", "", str(error)).split())  # Keras writes in bold
        what = f"{type(error).__name__}: {text}"
        found.append(
            Finding(
                name,
                "fault",
                what if len(what) <= 300 else f"{what[:300]} ...",
                "Mend the part that raises it: it stops training or evaluation too.",
            )
        )
    return found
