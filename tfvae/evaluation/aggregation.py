"""Densities under the aggregated posterior: the mean of q(z|x) over all of the data.

Where the prior is p(z|c), it is the mean over those points that stand under the same condition c.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfvae._typing import Tensor
from tfvae.distributions.pairwise import pairwise_log_prob, pairwise_log_prob_of_elements
from tfvae.evaluation.streaming import Stream
from tfvae.models import LatentVariableModel

__all__ = ["Aggregated", "aggregated"]


class Aggregated(NamedTuple):
    """Densities of draws under the mean of the posteriors, of those of equal condition.

    Attributes:
        log_q_z: log q(z) `[S, B]`.
        log_q_z_each: log q(z_k) `[S, B, K]`, None where posteriors do not factorise.
        log_size: Logarithm `[B]` of the number of posteriors that each is a mean of.
    """

    log_q_z: Tensor
    log_q_z_each: Tensor | None
    log_size: np.ndarray


def aggregated(stream: Stream, batch: Mapping[str, Tensor], z: Tensor) -> Aggregated:
    """Scores draws under all posteriors of the data, chunk by chunk.

    Args:
        stream: The data.
        batch: The chunk of it that the draws belong to.
        z: The draws `[S, B, *E]`.
    """
    model = stream.model
    compare = model.functions("aggregated posterior", lambda: _comparer(model))
    own = _fingerprints(model, batch)
    sums: list[Tensor] = []
    sizes: Any = 0
    for others, count in stream:
        given = _alike(own, _fingerprints(model, others), count, len(others["x"]))
        totals = compare(z, others, tf.constant(given))
        pairs = zip(sums, totals, strict=True)
        sums = [tf.reduce_logsumexp(tf.stack(p), axis=0) for p in pairs] if sums else list(totals)
        sizes = sizes + given.sum(axis=1)
    log_size = np.log(np.broadcast_to(sizes, [z.shape[1]]))
    each = None
    if len(sums) > 1:
        each = sums[1] - tf.cast(log_size, sums[1].dtype)[:, None]
    return Aggregated(sums[0] - tf.cast(log_size, sums[0].dtype), each, log_size)


def _comparer(model: LatentVariableModel) -> Callable[..., tuple[Tensor, ...]]:
    """Makes the pass of one chunk of draws over one chunk of posteriors: log-sums over these."""

    def compare(z: Tensor, batch: dict[str, Tensor], given: Tensor) -> tuple[Tensor, ...]:
        q_z = model.encode(**batch)
        log_q = pairwise_log_prob(q_z, z)  # [S, B, M]
        shares = tf.where(given, 0.0, -float("inf"))  # [B, M], or [1, M]
        totals = [tf.reduce_logsumexp(log_q + tf.cast(shares, log_q.dtype), axis=-1)]
        each = pairwise_log_prob_of_elements(q_z, z)
        if each is not None:
            each += tf.expand_dims(tf.cast(shares, each.dtype), -1)  # [S, B, M, K]
            totals.append(tf.reduce_logsumexp(each, axis=2))
        return tuple(totals)

    return compare


def _fingerprints(model: LatentVariableModel, batch: Mapping[str, Tensor]) -> np.ndarray | None:
    """Returns numbers `[B, 2]` that are the same where c is; None where p(z) depends on nothing.

    They are two universal hashes of 64 bits: other c share both with a probability below 1e-18.
    """
    if not model.graph.conditions:
        return None
    parts = model.data.as_parts(batch)
    columns = [_words(np.asarray(parts[name])) for name in model.graph.conditions]
    words = np.concatenate(columns, axis=1)
    factors = np.random.default_rng(0).integers(0, 2**64, (words.shape[1], 2), np.uint64)
    # Sums of whole numbers, modulo 2**64: the same for equal rows wherever they stand.
    return np.stack([np.sum(words * factors[:, k], axis=1) for k in range(2)], axis=1)


def _alike(own: np.ndarray | None, others: np.ndarray | None, count: int, size: int) -> np.ndarray:
    """Returns which points may be compared, bool `[B, M]`, or `[1, M]` where all may.

    Args:
        own: Fingerprints `[B, 2]`, or None.
        others: Those of a chunk `[M, 2]`, or None.
        count: How many points of the chunk are data.
        size: M.
    """
    given = np.arange(size)[None] < count
    if own is None or others is None:
        return given
    return given & np.all(own[:, None] == others, axis=-1)


def _words(part: np.ndarray) -> np.ndarray:
    """Returns the bytes of each row as whole numbers `[B, W]`."""
    rows = part.reshape(len(part), -1)
    if np.issubdtype(rows.dtype, np.floating):
        rows = rows + 0.0  # minus zero is zero
    octets = np.ascontiguousarray(rows).view(np.uint8).reshape(len(part), -1)
    octets = np.pad(octets, [(0, 0), (0, -octets.shape[1] % 4)])
    return octets.view(np.uint32).astype(np.uint64)
