"""Densities under the aggregated posterior: the mean of q(z|x) over all of the data.

Where the prior is p(z|c), it is the mean over those points that stand under the same condition c.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfvae._typing import Tensor
from tfvae.distributions.pairwise import log_sums
from tfvae.evaluation.streaming import Stream, progress
from tfvae.models import LatentVariableModel

__all__ = ["Aggregated", "Kept"]

# Draws that are scored at once: what is worked on stays in the caches.
_ROWS_AT_ONCE = 1000


class Aggregated(NamedTuple):
    """Densities of draws under the mean of the posteriors, of those of equal condition.

    Attributes:
        draws: What is known of the draws that were kept, by name, each `[S, n, ...]`.
        points: The points that they belong to `[n]`, ascending.
        log_q_z: log q(z) `[S, n]`.
        log_q_z_each: log q(z_k) `[S, n, K]`, None where posteriors do not factorise.
        ceiling: The mean over all points of the data of the logarithm of the number of posteriors
            that each is compared with.
    """

    draws: dict[str, np.ndarray]
    points: np.ndarray
    log_q_z: np.ndarray
    log_q_z_each: np.ndarray | None
    ceiling: float

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Returns all of it as arrays by name."""
        found = {f"compared {name}": value for name, value in self.draws.items()}
        found |= {"points": self.points, "log_q_z": self.log_q_z}
        if self.log_q_z_each is not None:
            found["log_q_z_each"] = self.log_q_z_each
        return {**found, "ceiling": np.array(self.ceiling)}

    @classmethod
    def of_parts(cls, parts: Sequence[Mapping[str, np.ndarray]]) -> Aggregated | None:
        """Puts together what several workers have found, each for draws of its own points.

        Args:
            parts: What `to_arrays` says, and perhaps other arrays; nothing of it where a worker
                has no such points.
        """
        parts = [part for part in parts if "points" in part]
        if not parts:
            return None
        order = np.argsort(np.concatenate([part["points"] for part in parts]))

        def joined(name: str) -> np.ndarray:
            axis = 0 if name == "points" else 1
            found = np.concatenate([part[name] for part in parts], axis)
            return np.ascontiguousarray(np.take(found, order, axis))

        names = [name for name in parts[0] if name.startswith("compared ")]
        return cls(
            {name.removeprefix("compared "): joined(name) for name in names},
            joined("points"),
            joined("log_q_z"),
            joined("log_q_z_each") if "log_q_z_each" in parts[0] else None,
            float(parts[0]["ceiling"]),
        )

    def expect(self, values: np.ndarray) -> np.ndarray:
        """Returns E_q of what is known of each draw `[S, n, ...]`, for each point `[n, ...]`."""
        if "log_weights" not in self.draws:
            # In float64, where sums of large scores are finite too.
            return np.mean(np.float64(values), axis=0)
        weights = np.exp(self.draws["log_weights"])
        weights = weights.reshape(*weights.shape, *[1] * (values.ndim - weights.ndim))
        # A state that cannot be has a log-density of minus infinity, and no weight.
        addends = np.where(weights == 0.0, 0.0, values) * weights
        return np.asarray(np.sum(addends, axis=0, dtype=np.float64))


class Kept:
    """Draws that are kept chunk by chunk, and then scored under all posteriors of the data.

    Where there are too many for `max_pairs`, fewer draws of each point are, and then those of some
    points that are drawn at random. Of several workers each keeps those of its own chunks.

    Args:
        stream: The data.
        max_pairs: The most pairs of a draw and a posterior to score.
        seed: Int32 pair `[2]`, of the choice.
    """

    def __init__(self, stream: Stream, max_pairs: int, seed: Tensor) -> None:
        self._stream = stream
        num_points = stream.count_points()
        bits = np.asarray(seed).astype(np.int32).view(np.uint32)
        self._order = np.random.default_rng(bits).permutation(num_points)
        self._num_rows = max(1, max_pairs // num_points)
        self._num_draws: int | None = None
        self._points = np.zeros([0], int)
        self._own: list[np.ndarray] = []
        self._start = 0
        self._parts: dict[str, list[np.ndarray]] = {}
        self._marks: list[np.ndarray] = []

    def add(
        self, batch: Mapping[str, Tensor], count: int, draws: Mapping[str, Tensor] | None
    ) -> None:
        """Keeps some draws of the next chunk.

        Args:
            batch: The chunk.
            count: How many of its points are data.
            draws: `z` `[S, B, *E]` and what is known of it, by name, each `[S, B, ...]`; None for
                a chunk of another worker.
        """
        marks = _fingerprints(self._stream.model, batch)
        if marks is not None:
            self._marks.append(marks[:count])
        first, self._start = self._start, self._start + count
        if draws is None:
            return
        if self._num_draws is None:
            self._choose(len(draws["z"]), all_states="log_weights" in draws)
        low, high = np.searchsorted(self._points, [first, self._start])
        points = self._points[low:high]
        self._own.append(points)
        for name, value in draws.items():
            part = np.asarray(value)[: self._num_draws, points - first]
            # In one order of memory, which is that of sums over the draws, whoever adds up.
            self._parts.setdefault(name, []).append(np.ascontiguousarray(part))

    def _choose(self, num_draws: int, *, all_states: bool) -> None:
        num_points, order = len(self._order), self._order
        # Points say more than several draws of one; all states belong together.
        self._num_draws = num_draws
        if not all_states:
            self._num_draws = max(1, min(num_draws, self._num_rows // num_points))
        self._points = np.sort(order[: max(1, self._num_rows // self._num_draws)])
        self._order = order[:0]  # It is as long as the data.

    def scored(self, verbose: bool) -> Aggregated | None:
        """Returns the kept draws with their densities, after one pass over all posteriors.

        None where none is this worker's.

        Args:
            verbose: Shows a progress bar where it takes more than two seconds.
        """
        points = np.concatenate([np.zeros([0], int), *self._own])
        if not len(points):
            return None
        stream, draws = self._stream, {n: np.concatenate(p, 1) for n, p in self._parts.items()}
        size = min(len(points), max(1, _ROWS_AT_ONCE // len(draws["z"])))
        starts = range(0, len(points), size)
        compare = stream.model.functions(
            "aggregated posterior",
            lambda: _comparer(stream.model),
            passes=float(self._start * len(starts)),
            pairs=float(self._start * math.prod(draws["z"].shape[:2])),
        )
        marks = np.concatenate(self._marks) if self._marks else None
        names = ["z"]
        drawn = "log_weights" not in draws and draws["z"].ndim == 3
        if "log_q_z_each" in draws and drawn:
            names += ["log_q_z", "log_q_z_each"]
        blocks = [tuple(_block(draws[name], i, size) for name in names) for i in starts]
        own = [None if marks is None else _block(marks[None, points], i, size)[0] for i in starts]
        sums: list[Any] = [None] * len(blocks)
        with progress(stream.num_points, "aggregated posterior", verbose) as bar:
            for others, count in stream:
                their = _fingerprints(stream.model, others)
                for b, block in enumerate(blocks):
                    given = _alike(own[b], their, count, len(others["x"]))
                    totals = compare(block, others, tf.constant(given))
                    found = [total.numpy() for total in totals]
                    sums[b] = found if sums[b] is None else _added(sums[b], found)
                bar.update(count)
        whole = [np.concatenate(p, 1)[:, : len(points)] for p in zip(*sums, strict=True)]
        log_size = _log_sizes(marks, self._start)
        sizes = log_size[points].astype(whole[0].dtype)
        each = whole[1] - sizes[:, None] if len(whole) > 1 else None
        del draws["z"]
        return Aggregated(draws, points, whole[0] - sizes, each, float(log_size.mean()))


def _block(part: np.ndarray, start: int, size: int) -> np.ndarray:
    """Returns `size` points of `[S, n, ...]` from one on, filled up with copies of the first."""
    block = part[:, start : start + size]
    missing = size - block.shape[1]
    return np.concatenate([block, np.repeat(block[:, :1], missing, axis=1)], axis=1)


def _added(sums: list[np.ndarray], others: list[np.ndarray]) -> list[np.ndarray]:
    return [np.logaddexp(one, other) for one, other in zip(sums, others, strict=True)]


def _comparer(model: LatentVariableModel) -> Callable[..., tuple[Tensor, ...]]:
    """Makes the pass of some draws over one chunk of posteriors: log-sums over these."""

    def compare(
        draws: tuple[Tensor, ...], batch: dict[str, Tensor], given: Tensor
    ) -> tuple[Tensor, ...]:
        shares = tf.where(given, 0.0, -float("inf"))  # [B, M], or [1, M]
        z, *own = draws
        found = log_sums(model.encode(**batch), z, shares, (own[0], own[1]) if own else None)
        return tuple(part for part in found if part is not None)

    return compare


def _log_sizes(marks: np.ndarray | None, num_points: int) -> np.ndarray:
    """Returns the logarithm `[N]` of how many points have the same condition as each."""
    if marks is None:
        return np.broadcast_to(np.log(num_points), [num_points])
    _, which, counts = np.unique(marks, axis=0, return_inverse=True, return_counts=True)
    return np.log(counts[which.reshape(-1)])


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
