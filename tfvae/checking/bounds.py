"""Rules about scores: what adds up, what lies below what, and whether gradients are slopes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._random import fold_in
from tfvae._typing import Distribution, Tensor
from tfvae.checking.findings import Finding
from tfvae.checking.rounding import by_last_digits, of_size, scores_of
from tfvae.checking.subject import Subject
from tfvae.distributions.finite import num_states
from tfvae.distributions.gaussian import as_diagonal_normal
from tfvae.distributions.hierarchy import Hierarchy

__all__ = ["of_evidence", "of_kl", "of_objective", "of_scores", "of_slopes"]

tfd = tfp.distributions

# What two ways to the same score may differ by, beside rounding in proportion to it.
_ROUNDING, _RELATIVE = 1e-2, 1e-3
# Standard errors, and what is added to them for each draw that there is: at seven draws five of
# Student's are as rare as twelve of them are.
_SURELY, _FEW = 5.0, 10.0
# The same where a few draws make up the mean, whose error is then one too.
_SURELY_BY_FEW = 15.0
# Steps of finite differences, in units of the size of the weights, each beside half of it: the
# shorter ones where the bound bends within the longer.
_STEPS = (1e-2, 1e-3, 3e-4)
# From so many equal numbers on they are an end at which draws are held.
_TIES = 5
# Share by which slopes at these steps may differ where there is one.
_SMOOTH = 0.25


def of_scores(subject: Subject) -> Iterator[Finding]:
    """Says whether scores are numbers, the same each time, and those of the distributions."""
    terms, name = subject.terms, "scores"
    values = {"log p(x|z)": terms.log_p_x, "log p(z)": terms.log_p_z, "log q(z|x)": terms.log_q_z}
    if terms.log_weights is not None:  # what is impossible counts nothing
        values = {"log p(x|z)": terms.log_p_x}
    bad = [what for what, value in values.items() if not np.all(np.isfinite(value))]
    if bad:
        yield Finding(
            name,
            "fault",
            f"Not finite: {', '.join(bad)}.",
            "Look at the factor whose draws have no finite density, and at its scale.",
        )
        return
    spoilt = of_size(subject, values)
    if spoilt is not None:
        yield spoilt
        return
    with subject.aside():  # one for both, so that generators within layers go on
        first, again = (subject.scored(2) for _ in range(2))
    fields = ("log_p_x", "log_p_z", "log_q_z")
    changed = [f for f in fields if not _equal(getattr(first, f), getattr(again, f))]
    if changed:
        yield Finding(
            name,
            "fault",
            f"With the same weights, data and seed {', '.join(changed)} come out otherwise.",
            "Take randomness out of layers, such as dropout that is called with `training=True`.",
        )
        return
    with subject.aside():
        own = scores_of(subject, subject.terms.z)
    off = [what for what, value in own.items() if not _close(value, values.get(what, value))]
    apart = max((float(np.max(np.abs(own[what] - values[what]))) for what in off), default=0.0)
    rounding = by_last_digits(subject, {what: own[what] for what in off}) if off else 0.0
    if off and rounding > 0.25 * apart:
        yield Finding(
            name,
            "fault",
            f"Rounding spoils draws of q(z|x): their last digit moves scores by {rounding:.2g} "
            "nats.",
            "Scale the data, or begin networks with `keras.layers.Normalization`.",
        )
        return
    if off:
        yield Finding(
            name,
            "fault",
            f"{', '.join(off)} in `terms` are not the densities of `encode` and of the prior.",
            "Mend `terms`, or `_sample_and_log_prob` beside `_log_prob` of the distribution.",
        )
        return
    if not _close(terms.elbo, -terms.distortion - terms.rate):
        yield Finding(
            name, "fault", "elbo = -distortion - rate does not hold.", "Mend `Terms.elbo`."
        )
        return
    elbo = float(tf.reduce_mean(terms.elbo))
    yield Finding(name, "ok", f"Finite and repeatable: elbo = -distortion - rate = {elbo:.4g}.")


def of_kl(subject: Subject) -> Iterator[Finding]:
    """Says whether the closed form of the rate is what draws say."""
    terms = subject.terms
    if not subject.latents or terms.kl is None or terms.log_weights is not None:
        return
    each = np.asarray(terms.log_q_z - terms.log_p_z, np.float64) - np.asarray(terms.kl)[None]
    off, error = _mean(each)
    size = float(np.mean(np.abs(terms.kl)))
    is_off = abs(off) > _SURELY * error + _ROUNDING + _RELATIVE * size
    supports = subject.model.graph.supports
    has_states = any(supports[name].whole for name in subject.model.graph.latents)
    held = 0.0 if has_states else _share_at_ends(np.asarray(terms.z))
    if is_off and held > 0.0:
        yield Finding(
            "closed KL",
            "warning",
            f"It differs from that of draws by {-off:.3g} nats: {held:.1%} of the numbers drawn "
            "lie at the ends of the values of q(z|x), which stand for all beyond them.",
            "Floors on the concentrations of the posterior, or inputs of smaller scale.",
        )
    elif is_off and _by_few(each) and abs(off) < _SURELY_BY_FEW * error:
        yield Finding(
            "closed KL",
            "note",
            f"Draws do not tell it: a few of {each.size} make up their mean.",
            "More draws, `num_samples=`, or a posterior whose tails are within those of the prior.",
        )
    elif is_off:
        yield Finding(
            "closed KL",
            "fault",
            f"It differs from that of draws by {-off:.3g} ± {error:.2g} nats.",
            "Mend the function that `tfd.RegisterKL` registers for these families.",
        )
    else:
        yield Finding("closed KL", "ok", f"That of draws within {_SURELY:g} standard errors.")


def of_evidence(subject: Subject) -> Iterator[Finding]:
    """Says whether more draws raise the bound, and whether log p(x) lies above, where known."""
    terms = subject.terms
    with subject.aside():
        exact = subject.model.exact_log_p_x(subject.batch["x"], subject.context)
    elbo, many = float(tf.reduce_mean(terms.elbo)), float(tf.reduce_mean(terms.log_evidence))
    said = f"ELBO {elbo:.4g}"
    if terms.log_weights is None and subject.latents:
        sampled = float(tf.reduce_mean(terms.expect(terms.log_w)))
        said = f"L_1 = {sampled:.4g}, L_{terms.z.shape[0]} = {many:.4g}"
    if exact is None:
        yield Finding("bound and evidence", "ok", f"{said} nats.")
        return
    known = float(tf.reduce_mean(exact))
    _, error = _mean(np.asarray(terms.log_w, np.float64))
    slack = _ROUNDING + _RELATIVE * abs(known)
    if elbo > known + _SURELY * error * (terms.log_weights is None) + slack:
        yield Finding(
            "bound and evidence",
            "fault",
            f"{said}, but log p(x) = {known:.4g} lies below.",
            "Mend what scores: a density that adds up to more than one, or a KL below zero.",
        )
    else:
        yield Finding("bound and evidence", "ok", f"{said}, log p(x) = {known:.4g} nats.")


def of_objective(subject: Subject) -> Iterator[Finding]:
    """Says whether what is maximised is a bound on log p(x)."""
    objective = subject.objective
    with subject.aside():
        terms = subject.loss_terms()
        bound = subject.bound(terms)
    title = type(objective).__name__
    if bound.shape.as_list() != [subject.num_points] or not np.all(np.isfinite(bound)):
        yield Finding(
            "objective",
            "fault",
            f"`{title}` gives {list(bound.shape)} numbers, finite or not, of {subject.num_points} "
            "points.",
            "An objective returns one finite number for each point, `[B]`.",
        )
        return
    above = float(tf.reduce_mean(bound) - tf.reduce_mean(subject.terms.log_evidence))
    where = f"{abs(above):.3g} nats {'above' if above > 0.0 else 'below'} log p(x) here"
    if objective.is_bound:
        yield Finding("objective", "ok", f"`{title}` is a bound on log p(x).")
        return
    what = "not known to be a" if objective.is_bound is None else "no"
    yield Finding(
        "objective",
        "note",
        f"`{title}` as it stands is {what} bound on log p(x): it lies {where}.",
        "Compare models by `elbo` in the logs or `log_likelihood`, not by `loss`.",
    )


def of_slopes(subject: Subject) -> Iterator[Finding]:
    """Says whether the gradient of the ELBO is its slope, by finite differences.

    Where draws follow the parameters of q(z|x) by a smooth path, which Gaussians do. Elsewhere z is
    held, and the gradients of the scores at these draws are looked at; nothing is where states are
    summed over beside such draws.
    """
    weights, is_pathwise = subject.own, _is_pathwise(subject)
    if not weights or not (is_pathwise or subject.terms.log_weights is None):
        return
    value = subject.elbo if is_pathwise else _held(subject)
    gradients, _ = subject.gradients(value, weights)
    filled = [
        tf.zeros_like(w) if g is None else tf.convert_to_tensor(g)
        for w, g in zip(weights.values(), gradients, strict=True)
    ]
    if not all(np.all(np.isfinite(g)) for g in filled):
        return  # said elsewhere
    worst, off = "", 0.0
    for index, (title, members) in enumerate(_groups(subject).items()):
        found = _slopes(subject, value, filled, members, index)
        if found is not None and found > off:
            worst, off = title, found
    if off > 1.0:
        yield Finding(
            "slopes",
            "fault",
            f"The gradient in the weights of {worst} is not the slope of the ELBO.",
            "Look for `tf.stop_gradient`, `tf.custom_gradient` and roundings in that part.",
        )
    else:
        yield Finding("slopes", "ok", "Gradients are finite differences.")


def _slopes(
    subject: Subject,
    value: Callable[[], Tensor],
    gradients: list[Tensor],
    members: set[int],
    index: int,
) -> float | None:
    """Returns how far a slope is from its gradient, in units of what it may be."""
    keys = list(subject.own)
    ways = []
    for place, (key, gradient) in enumerate(zip(keys, gradients, strict=True)):
        if key not in members:
            ways.append(None)
            continue
        seed = fold_in(fold_in(subject.seed("ways"), index), place)
        ways.append(tf.random.stateless_normal(tf.shape(gradient), seed, dtype=gradient.dtype))
    sizes = [subject.own[k] for k, way in zip(keys, ways, strict=True) if way is not None]
    number = sum(int(tf.size(s)) for s in sizes)
    size = max(0.1, math.sqrt(sum(float(tf.reduce_sum(tf.square(s))) for s in sizes) / number))
    # One half up the gradient, the other anywhere: a part that is lost is on the way.
    norm = math.sqrt(
        sum(
            float(tf.reduce_sum(tf.square(g)))
            for g, w in zip(gradients, ways, strict=True)
            if w is not None
        )
    )
    steep = 0.0 if norm == 0.0 else math.sqrt(number) / norm
    ways = [
        None if way is None else way + steep * gradient
        for way, gradient in zip(ways, gradients, strict=True)
    ]
    expected = sum(
        float(tf.reduce_sum(g * w)) for g, w in zip(gradients, ways, strict=True) if w is not None
    )

    def at(step: float) -> float:
        values = {
            key: own if way is None else own + tf.cast(step * size, own.dtype) * way
            for (key, own), way in zip(subject.own.items(), ways, strict=True)
        }
        with subject.aside(values):
            return float(value())

    here, least = abs(at(0.0)), None
    for step in _STEPS:
        large, small = ((at(s) - at(-s)) / (2.0 * s * size) for s in (step, 0.5 * step))
        rounding = 1e-6 * (1.0 + here) / (0.5 * step * size)
        if least is not None and rounding > 0.02 * abs(small):
            break  # shorter steps tell no more
        if not abs(large - small) <= _SMOOTH * max(abs(large), abs(small)) + 1e-6 * (1.0 + here):
            if least is None:
                return None  # a corner, of which there is no slope
            continue
        allowed = 4.0 * abs(large - small) + rounding + 0.02 * (abs(small) + abs(expected))
        off = abs(small - expected) / max(allowed, 1e-12)
        least = off if least is None else min(least, off)
        if least <= 1.0:
            break
    return least


def _groups(subject: Subject) -> dict[str, set[int]]:
    """Returns the weights of each network, by what it is called."""
    graph, found = subject.model.graph, {}
    for part in [*graph.posterior.parts.values(), *graph.generative.values()]:
        own = {id(w) for w in part.network.trainable_weights} & set(subject.own)
        own -= set().union(*found.values()) if found else set()
        if own:
            found[f"`{part.title}`"] = own
    rest = set(subject.own) - (set().union(*found.values()) if found else set())
    return {**found, "other parts": rest} if rest else found


def _is_pathwise(subject: Subject) -> bool:
    if not subject.latents:
        return True
    sums, levels = subject.terms.log_weights is not None, _levels(subject)
    return all(_follows(level) for level in levels if not sums or num_states(level) is None)


def _levels(subject: Subject) -> list[Distribution]:
    """Returns the posterior, or those of its levels at one draw of what they read."""
    with subject.aside():
        q = subject.model.encode(**subject.batch)
        if not isinstance(q, Hierarchy):
            return [q]
        found = q.draw(1, subject.seed("levels")).conditionals
        return [each.distribution for each in found.values()]


def _follows(q: Distribution) -> bool:
    """Whether draws are a smooth function of noise and parameters: no rejections, no choices."""
    if isinstance(q, tfd.TransformedDistribution) and not isinstance(
        q, tfd.MultivariateNormalLinearOperator
    ):
        return _follows(q.distribution)
    full = isinstance(q, tfd.MultivariateNormalLinearOperator)
    return full or as_diagonal_normal(q) is not None


def _held(subject: Subject) -> Callable[[], Tensor]:
    """Returns the mean score at draws that stay where they are, as a function of the weights."""
    with subject.aside():
        z = subject.scored(1).z
    model, batch = subject.model, subject.batch
    data = model.data.as_parts(batch)

    def value() -> Tensor:
        log_p = model.graph.log_p_observed(data, model.split(z))
        log_p += model.prior_of(batch).log_prob(z) + model.encode(**batch).log_prob(z)
        return tf.reduce_mean(log_p)

    return value


def _share_at_ends(z: np.ndarray) -> float:
    """Returns the share of the numbers of draws `[S, ...]` that lie at an end which many share."""
    flat = z.reshape(-1, int(np.prod(z.shape[2:])))
    ends = [flat == end for end in (flat.min(axis=0), flat.max(axis=0))]
    return float(sum(np.mean(each * (each.sum(axis=0) >= _TIES)) for each in ends))


def _by_few(each: np.ndarray) -> bool:
    """Whether the sum of squares of values `[S, B]` is that of a few, with zero in their range."""
    squares = np.square(each - each.mean())
    return bool(squares.max() > 0.1 * squares.sum() and each.min() < 0.0 < each.max())


def _equal(one: Tensor, other: Tensor) -> bool:
    return _close(one, other, 1e-5)


def _close(one: Tensor, other: Tensor, rounding: float = _ROUNDING) -> bool:
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    return np.allclose(one, other, rtol=min(rounding, _RELATIVE), atol=rounding, equal_nan=True)


def _mean(each: np.ndarray) -> tuple[float, float]:
    """Returns the mean of values `[S, B]`, and its standard error over the draws.

    It is enlarged where few draws tell it, since it then has an error itself.
    """
    spare = (len(each) - 1) * each.shape[1]
    if not spare:
        return float(each.mean()), math.inf
    error = each.std(axis=0, ddof=1) / math.sqrt(len(each))
    error = float(np.sqrt(np.sum(error**2)) / each.shape[1])
    return float(each.mean()), (1.0 + _FEW / spare) * error
