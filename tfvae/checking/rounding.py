"""What 32 bits leave of scores: of those that are too large, and of draws far from zero."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfvae._typing import Tensor
from tfvae.checking.findings import Finding
from tfvae.checking.subject import Subject

__all__ = ["by_last_digits", "of_size", "scores_of"]


def of_size(subject: Subject, values: Mapping[str, Tensor]) -> Finding | None:
    """Returns what there is to say of scores so large that they are nats apart, by dimension."""
    size = max(float(np.max(np.abs(value))) for value in values.values())
    apart = size * max(_eps(value) for value in values.values())
    dimensions = sum(math.prod(part.shape[1:]) for part in subject.batch.values())
    if apart <= max(1, dimensions):
        return None
    return Finding(
        "scores",
        "fault",
        f"Rounding spoils scores: those of {size:.0e} nats are {apart:.0e} nats apart.",
        "Scale the data, or begin again with smaller steps: what trained so far has diverged.",
    )


def scores_of(subject: Subject, z: Tensor) -> dict[str, Tensor]:
    """Returns scores `[S, B]` of z by the distributions themselves, nothing where it is no draw."""
    terms, model = subject.terms, subject.model
    if not subject.latents or terms.log_weights is not None:
        return {}
    z = tf.stop_gradient(z)
    q_z, p_z = model.encode(**subject.batch), model.prior_of(subject.batch)
    found = {"log q(z|x)": q_z, "log p(z)": p_z}
    return {what: each.log_prob(tf.cast(z, each.dtype or z.dtype)) for what, each in found.items()}


def by_last_digits(subject: Subject, own: Mapping[str, Tensor]) -> float:
    """Returns by how much scores `[S, B]` change at most with the last digits of z.

    That is how well float32 tells draws apart, of Gaussians far from zero as of steep flows.
    """
    z = subject.terms.z
    if not z.dtype.is_floating:
        return 0.0
    signs = tf.sign(tf.random.stateless_normal(tf.shape(z), subject.seed("digits"), dtype=z.dtype))
    with subject.aside():
        moved = scores_of(subject, z * (1.0 + signs * _eps(z)))
    return max(float(np.max(np.abs(moved[what] - own[what]))) for what in own)


def _eps(value: Tensor) -> float:
    """Returns the share of itself by which a number is rounded; scores are of 32 bits at least."""
    return float(np.finfo("float64" if value.dtype == tf.float64 else "float32").eps)
