"""Rules about draws: whether they are those of their densities, where they lie, and how large."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf

from tfvae._typing import Distribution
from tfvae.checking.findings import Finding
from tfvae.checking.subject import Subject
from tfvae.checking.swaps import match
from tfvae.data.spec import CONTEXT
from tfvae.distributions.labelled import Labelled
from tfvae.distributions.support import Support, support_of

__all__ = ["of_densities", "of_likelihood_scale", "of_rate", "of_supports"]

# Points of which p(x|z) draws; draws of the whole model.
_POINTS, _DRAWS = 16, 256
# Factors between spreads, and spreads between centres, from which draws are nothing like the data.
_FAR, _AWAY = 10.0, 5.0
# Nats per dimension of z: as far as no posterior begins.
_MANY_NATS = 200.0


def of_densities(subject: Subject) -> Iterator[Finding]:
    """Says of each factor whether its draws fit its density, and whether that adds up."""
    with subject.aside():
        found = _factors(subject)
    for name, distributions in found.items():
        with subject.aside():
            yield _judged(f"draws of {name}", distributions, subject)


def of_supports(subject: Subject) -> Iterator[Finding]:
    """Says whether prior and posterior have values in common: all of them."""
    if not subject.latents:
        return
    with subject.aside():
        q, p = (
            {name: support_of(_inner(c)) for name, c in found.items()}
            for found in (_posteriors(subject), _priors(subject))
        )
        scores = subject.terms.log_p_z
    name = "values of q and p"
    outside = float(np.mean(~np.isfinite(scores))) if subject.terms.log_weights is None else 0.0
    narrow = [node for node in q if not _within(q[node], p[node])]
    wide = [node for node in q if not _within(p[node], q[node])]
    if outside > 0.0 or narrow:
        yield Finding(
            name,
            "fault",
            f"The prior has other values of {', '.join(narrow or q)} than q(z|x): its density is "
            f"not finite at {outside:.0%} of the draws, and none of them elsewhere.",
            "Give the prior the values of the posterior, such as `priors.Parametric` of its layer.",
        )
    elif wide:
        yield Finding(
            name,
            "warning",
            f"The prior draws values of {', '.join(wide)} that no posterior has: p(x|z) never "
            "learns of them.",
            "End the encoder with a family over all values of the prior, or change the prior.",
        )
    else:
        yield Finding(name, "ok", "Posterior and prior have the same values.")


def of_rate(subject: Subject) -> Iterator[Finding]:
    """Says whether q(z|x) begins near the prior."""
    if not subject.latents:
        return
    rate = float(tf.reduce_mean(subject.terms.rate))
    each = rate / max(1, int(np.prod(subject.model.latent_shape)))
    if not each <= _MANY_NATS:
        yield Finding(
            "rate",
            "warning",
            f"q(z|x) lies {each:.3g} nats per dimension from the prior.",
            "Smaller inputs or weights of the encoder's last layer; a warm-up of the rate.",
        )
    else:
        yield Finding("rate", "ok", f"{rate:.3g} nats, {each:.2g} per dimension of z.")


def of_likelihood_scale(subject: Subject) -> Iterator[Finding]:
    """Says whether draws of the model are of the place and the size of the data."""
    model, name, number = subject.model, "scale of p(x|z)", _DRAWS
    context = subject.rows.get(CONTEXT)
    if context is not None:
        number = len(context)
    with subject.aside():
        drawn = model.generate(number, subject.seed("scale"), context)
    far = []
    compared = 0
    for node in model.graph.observed:
        for label, columns, support in _parts(model.data.supports[node], node):
            if support.categories or support.one_hot or support.norm or _is_binary(support):
                continue
            compared += 1
            parts = (np.asarray(v)[..., columns] for v in (drawn[node], subject.rows[node]))
            said = _apart(*parts)
            far += [f"{label} {said}"] if said else []
    if far:
        yield Finding(
            name,
            "warning",
            f"What the model draws is nothing like the data: {', '.join(far[:3])}.",
            "Scale the data, or wrap the likelihood in `layers.Adapted(likelihood, x)`.",
        )
    elif compared:
        yield Finding(name, "ok", "Draws are of the place and the size of the data.")


def _factors(subject: Subject) -> Mapping[str, list[Distribution]]:
    model = subject.model
    found: dict[str, list[Distribution]] = {}
    if subject.latents:
        found["q(z|x)"] = [_inner(d) for d in _posteriors(subject).values()]
        found["p(z)"] = list(_priors(subject).values())
    few = {name: part[:_POINTS] for name, part in subject.batch.items()}
    terms = model.terms(num_samples=1, seed=subject.seed("likelihood"), **few)
    observed = terms.observed or {}
    found["p(x|z)" if subject.latents else "p(x)"] = [each.p_x for each in observed.values()]
    return found


def _posteriors(subject: Subject) -> Mapping[str, Distribution]:
    """Returns the conditionals of q by node, at draws of the others."""
    return _conditionals(subject, subject.model.encode(**subject.without_labels()))


def _priors(subject: Subject) -> Mapping[str, Distribution]:
    return _conditionals(subject, subject.model.prior_of(subject.batch))


def _conditionals(subject: Subject, distribution: Distribution) -> dict[str, Distribution]:
    levels = subject.model.graph.levels(distribution)
    found = levels.draw(1, subject.seed("levels")).conditionals
    return {name: each.distribution for name, each in found.items()}


def _inner(distribution: Distribution) -> Distribution:
    """Returns what values are drawn from where none is known."""
    return distribution.distribution if isinstance(distribution, Labelled) else distribution


def _judged(name: str, distributions: list[Distribution], subject: Subject) -> Finding:
    found = [match(d, subject.num_samples, subject.seed(name)) for d in distributions]
    for distribution, each in zip(distributions, found, strict=True):
        family = type(distribution).__name__
        if each.not_finite > 0.0:
            return Finding(
                name,
                "fault",
                f"{each.not_finite:.1%} of the draws of {family} have a density that is not "
                "finite.",
                "Keep draws and parameters off the border, by floors and by families of "
                "`tfvae.layers`.",
            )
        if not each.fits:
            return Finding(
                name,
                "fault",
                f"Draws of {family} are not those of its density: {each.deviation:.0f} standard "
                "errors off.",
                "Mend `_sample_n` or `_log_prob`: scales, signs, the log-determinant of a map.",
            )
        if not each.adds_up:
            return Finding(
                name,
                "fault",
                f"The density of {family} adds up to {each.total:.3g}, not to 1.",
                "Mend the constant in `_log_prob`; no number made of it is in nats.",
            )
    return Finding(name, "ok", "They are those of their density, all of it finite.")


def _within(inner: Support, outer: Support) -> bool:
    """Whether all values of one support are values of another, as far as bounds tell."""
    if inner.columns or outer.columns:
        return True
    other = (inner.norm, inner.one_hot) != (outer.norm, outer.one_hot)
    if (other and outer.norm is not None) or (outer.whole and not inner.whole):
        return False
    below = outer.lower is not None and (inner.lower is None or inner.lower < outer.lower)
    above = outer.upper is not None and (inner.upper is None or inner.upper > outer.upper)
    ends = (inner.lower, outer.lower), (inner.upper, outer.upper)
    # States have a mass at an end that a density leaves out.
    at_end = inner.whole and outer.exclusive and any(a == b is not None for a, b in ends)
    return not (below or above or at_end)


def _parts(support: Support, name: str) -> Iterator[tuple[str, slice, Support]]:
    """Yields name, place along the last axis and support of each part."""
    if not support.columns:
        yield name, slice(None), support
    start = 0
    for column, size, own in support.columns:
        yield column, slice(start, start + size), own
        start += size


def _is_binary(support: Support) -> bool:
    bounds = (support.lower, support.upper)
    return support.whole and None not in bounds and bounds == (0.0, support.spacing)


def _apart(drawn: np.ndarray, data: np.ndarray) -> str:
    """Returns how draws `[N, ...]` lie far from data `[M, ...]`; nothing where they do not."""
    drawn, data = (v.reshape(len(v), -1).astype(np.float64) for v in (drawn, data))
    seen = ~np.all(np.isnan(data), axis=0)  # of entries that are always missing there is no place
    if not np.any(seen):
        return ""
    own, other = _place(drawn[:, seen]), _place(data[:, seen])
    (middle, wide), (true_middle, true_wide) = own, other
    spread, true_spread = np.mean(wide), np.mean(true_wide)
    if true_spread > 0.0 and not 1.0 / _FAR <= spread / true_spread <= _FAR:
        return f"spreads {spread / true_spread:.2g} times as far"
    away = np.mean(np.abs(middle - true_middle)) / max(spread, true_spread, 1e-30)
    return "" if away <= _AWAY else f"lies {away:.2g} spreads away"


def _place(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the middle of each entry over the rows, and how far values lie from it."""
    low, middle, high = np.nanquantile(values, [0.1, 0.5, 0.9], axis=0)
    # Of sparse values most are the same.
    wide = np.where(high > low, 0.5 * (high - low), np.nanmean(np.abs(values - middle), axis=0))
    return middle, wide
