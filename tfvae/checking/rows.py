"""Rules about rows: each point is encoded and decoded by itself, whatever stands beside it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tfvae._typing import Tensor
from tfvae.checking.findings import Finding
from tfvae.checking.subject import Subject
from tfvae.terms import Terms

__all__ = ["of_rows"]

# Share of a score that rounding may change: products of matrices of other sizes round otherwise.
_ROUNDING = 1e-4


def of_rows(subject: Subject) -> Iterator[Finding]:
    """Says whether the scores of a point are the same beside other points."""
    name = "rows"
    if subject.num_points < 2:
        yield Finding(name, "ok", "One point: there is none beside it.")
        return
    guilty = _guilty(subject, training=False)
    if guilty:
        yield Finding(
            name,
            "fault",
            f"What `{guilty}` makes of a point depends on the points beside it.",
            "Take reductions over the batch axis out of the network.",
        )
        return
    guilty = _guilty(subject, training=True)
    if guilty:
        yield Finding(
            name,
            "note",
            f"In training what `{guilty}` makes of a point depends on its batch, as with batch "
            "normalization; not in evaluations.",
            "If that is not meant: `keras.layers.LayerNormalization`.",
        )
        return
    yield Finding(name, "ok", "Each point is scored by itself.")


def _guilty(subject: Subject, *, training: bool) -> str | None:
    """Returns the part by which the scores of the first half of a batch change with the others."""
    half = (subject.num_points + 1) // 2
    others = {
        key: tf.concat([part[:half], tf.repeat(part[:1], subject.num_points - half, axis=0)], 0)
        for key, part in subject.batch.items()
    }

    def terms(batch: dict[str, Tensor]) -> Terms:
        with subject.aside():  # anew each time, so that noise in training is the same
            return subject.model.terms(
                num_samples=2, seed=subject.seed("rows"), training=training, **batch
            )

    here, there = terms(subject.batch), terms(others)
    for part, field in (("encode", "log_q_z"), ("decode", "log_p_x")):
        one, other = (np.asarray(getattr(t, field), np.float64)[:, :half] for t in (here, there))
        if not np.allclose(one, other, rtol=_ROUNDING, atol=_ROUNDING, equal_nan=True):
            return part
    return None
