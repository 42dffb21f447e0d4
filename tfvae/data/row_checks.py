"""Whether rows fit together: as many of each part, weights for them, labels known as a whole."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfvae._typing import Tensor
from tfvae.data.checks import assertion

__all__ = [
    "NOT_FINITE_WEIGHTS",
    "check_known_whole",
    "known_whole",
    "same_rows",
    "weighed_rows",
]

NOT_FINITE_WEIGHTS = (
    "`sample_weight` must hold finite numbers, none of them negative. Remove the rows of others, "
    "or give them the weight 0."
)
_KNOWN_WHOLE = (
    "`{name}` must be known as a whole in each row, or NaN as a whole: of a row that is known in "
    "part, what is known would be dropped."
)


def check_known_whole(x: np.ndarray, name: str) -> None:
    """Checks that rows `[N, ...]` of a node that is observed of some are known, or not, as a whole.

    Raises:
        ValueError: A row is known in part.
    """
    unknown = np.isnan(x.astype("float64")).reshape(len(x), -1)
    some = np.flatnonzero(unknown.any(axis=1) & ~unknown.all(axis=1))
    if some.size:
        text = _KNOWN_WHOLE.format(name=name)
        raise ValueError(f"{text} Received: {some.size} such rows, row {some[0]} for one.")


def known_whole(x: Tensor, name: str, place: str = "") -> list[tf.Operation]:
    """Returns assertions of the same of a batch `[B, ...]`."""
    if not x.dtype.is_floating:
        return []
    unknown = tf.reshape(tf.math.is_nan(x), [tf.shape(x)[0], -1])
    same = tf.reduce_all(unknown, axis=1) | ~tf.reduce_any(unknown, axis=1)
    return [assertion(tf.reduce_all(same), place + _KNOWN_WHOLE.format(name=name))]


def same_rows(parts: Mapping[str, Tensor], place: str = "") -> list[tf.Operation]:
    """Returns assertions that each part `[B, ...]` has as many rows as the first."""
    (first, one), *others = parts.items()
    checks = []
    for name, part in others:
        rows, expected = tf.shape(part)[0], tf.shape(one)[0]
        text = f"`{name}` must have one row per row of `{first}`. Received: {{}} rows for {{}}."
        checks.append(assertion(rows == expected, place + text, rows, expected))
    return checks


def weighed_rows(x: Tensor, sample_weight: Tensor | None) -> list[tf.Operation]:
    """Returns assertions that a part `[B, ...]` has rows, and a finite weight for each if any."""
    rows = tf.shape(x)[0]
    checks = [assertion(rows > 0, "A batch of the data is empty. Expected: one row or more.")]
    if sample_weight is None:
        return checks
    weights = tf.convert_to_tensor(sample_weight)
    text = "`sample_weight` must have one number for each row of `x`. Received: {} for {} rows."
    checks.append(assertion(tf.size(weights) == rows, text, tf.size(weights), rows))
    weights = tf.cast(weights, tf.float64)
    fine = tf.reduce_all(tf.math.is_finite(weights) & (weights >= 0.0))
    return [*checks, assertion(fine, NOT_FINITE_WEIGHTS)]
