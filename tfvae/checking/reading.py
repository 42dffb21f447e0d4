"""Rules about what parts read: x, z and the context, each of which has to change something."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from tfvae._typing import Tensor
from tfvae.checking.findings import Finding
from tfvae.checking.subject import Subject
from tfvae.data.spec import CONTEXT
from tfvae.graph.parts import Network

__all__ = ["of_context", "of_decoders", "of_encoder"]

# Nats by which a score changes, below which it does not: what rounding leaves of one.
_NOTHING = 1e-6


def of_encoder(subject: Subject) -> Iterator[Finding]:
    """Says whether q(z|x) is another for another x."""
    if subject.latents:
        yield from _told("encoder reads x", "q(z|x)", "x", _by_x, subject)


def of_decoders(subject: Subject) -> Iterator[Finding]:
    """Says of each node with latent parents whether it is another for other values of each."""
    for child, part in subject.model.graph.generative.items():
        if not isinstance(part, Network):
            continue
        for parent in (name for name in part.reads if name in subject.latents):
            by = functools.partial(_by_parent, child=child, parent=parent)
            name = "decoder reads z" if part.title == "decoder" else f"{child} reads {parent}"
            yield from _told(name, f"p({child}|{', '.join(part.reads)})", parent, by, subject)


def of_context(subject: Subject) -> Iterator[Finding]:
    """Says whether anything is another for another context."""
    if subject.context is not None:
        yield from _told("context is read", "The ELBO", CONTEXT, _by_context, subject)


def _told(
    name: str, what: str, of: str, change: Callable[[Subject], float | None], subject: Subject
) -> Iterator[Finding]:
    """Says what a change of `of` does to a score, at the weights and near them."""
    with subject.aside():
        own = change(subject)
    if own is None:
        yield Finding(name, "ok", f"Nothing to compare: all examples have one value of {of}.")
        return
    if own > _NOTHING:
        yield Finding(name, "ok", f"Another {of} changes its score by {own:.2g} nats.")
        return
    with subject.aside(subject.near):
        near = change(subject)
    if near is not None and near > _NOTHING:
        yield Finding(
            name,
            "note",
            f"{what} is the same for each {of} with the weights as they are, not with others.",
            "Expected of weights that start at zero; after training it is a collapse.",
        )
        return
    yield Finding(
        name,
        "warning",
        f"{what} is the same for each {of}, whatever the weights.",
        f"Have the output of the network depend on its input {of}.",
    )


def _by_x(subject: Subject) -> float | None:
    here, there = subject.without_labels(), subject.without_labels(roll="x")
    if not _differs(here["x"], there["x"]):
        return None
    q = subject.model.encode(**here)
    z = q.sample(seed=subject.seed("encoder"))
    return _change(q.log_prob(z), subject.model.encode(**there).log_prob(z))


def _by_parent(subject: Subject, child: str, parent: str) -> float | None:
    graph = subject.model.graph
    terms = subject.scored(2)
    draws = int(terms.z.shape[0])
    data = subject.model.data.as_parts(subject.batch)
    values = {
        name: tf.tile(value, [draws, *[1] * (value.shape.rank - 1)]) for name, value in data.items()
    }
    for name, value in graph.split(terms.z).items():
        values[name] = tf.reshape(value, [-1, *graph.shapes[name]])
    other = tf.roll(values[parent], 1, axis=0)
    if not _differs(values[parent], other):
        other = tf.reverse(values[parent], [0])  # of few states, each of all points in turn
    if not _differs(values[parent], other):
        return None
    part = graph.generative[child]
    make = part.maker(f"`{child}`", False)
    reads = {name: values[name] for name in part.reads}
    here, there = make(reads), make({**reads, parent: other})
    value = tf.cast(values[child], here.dtype)
    return _change(here.log_prob(value), there.log_prob(value))


def _by_context(subject: Subject) -> float | None:
    batch = dict(subject.batch)
    batch[CONTEXT] = tf.roll(batch[CONTEXT], 1, axis=0)
    if not _differs(batch[CONTEXT], subject.batch[CONTEXT]):
        return None
    seed = subject.seed("context")
    return _change(*(subject.model.terms(seed=seed, **b).elbo for b in (subject.batch, batch)))


def _differs(one: Tensor, other: Tensor) -> bool:
    one, other = np.asarray(one), np.asarray(other)
    return not np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def _change(here: Tensor, there: Tensor) -> float:
    """Returns the largest change of a score; what is impossible in one alone is a change."""
    here, there = np.asarray(here, np.float64), np.asarray(there, np.float64)
    with np.errstate(invalid="ignore"):
        change = np.where(here == there, 0.0, np.abs(here - there))
    return float(np.max(np.nan_to_num(change / (1.0 + np.abs(here)), nan=np.inf), initial=0.0))
