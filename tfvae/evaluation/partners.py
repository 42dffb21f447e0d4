"""For each point of a stream another point, from anywhere in it."""

from __future__ import annotations

import numpy as np

from tfvae._typing import Tensor
from tfvae.evaluation.streaming import Stream

__all__ = ["Pool"]

_LEAST_POINTS = 100


class Pool:
    """Points drawn at random from all of a stream, about as many as one chunk holds.

    The first reading of the stream draws them, so that memory holds no more of it, and that the
    others of a point are of all kinds in whatever order the data comes.

    Args:
        stream: The data.
        seed: Int32 pair `[2]`, of all choices.

    Attributes:
        num_points: Number of points of the stream, N.

    Raises:
        ValueError: The stream has one point only.
    """

    def __init__(self, stream: Stream, seed: Tensor) -> None:
        self._generator = np.random.default_rng(np.asarray(seed, np.int32).view(np.uint32))
        self.num_points = 0
        self._rows: dict[str, np.ndarray] = {}
        self._index, ranks, size = np.zeros(0, np.int64), np.zeros(0), _LEAST_POINTS
        for batch, count in stream:
            size = max(size, count)
            rows = {name: np.asarray(part)[:count] for name, part in batch.items()}
            if self._rows:
                rows = {name: np.concatenate([self._rows[name], rows[name]]) for name in rows}
            ranks = np.append(ranks, self._generator.random(count))
            index = np.append(self._index, self.num_points + np.arange(count))
            # Those of the smallest random numbers: any points are as likely as any others.
            kept = np.argsort(ranks)[:size]
            self._rows = {name: part[kept] for name, part in rows.items()}
            self._index, ranks = index[kept], ranks[kept]
            self.num_points += count
        if self.num_points < 2:
            raise ValueError("At least two points are needed to compare. Received: one.")

    def others(self, start: int, count: int, size: int) -> dict[str, np.ndarray]:
        """Returns another point for each of a chunk, in random order, `[B, ...]` by name.

        Where the pool holds all points, and one chunk too, each is the other of one point.

        Args:
            start: Number of points before the chunk.
            count: Points of the chunk that are data.
            size: B; the others of what is beyond `count` do not matter.
        """
        chosen = self._without_fixed_points(start + np.arange(count))
        chosen = np.append(chosen, np.repeat(chosen[:1], size - count))
        return {name: part[chosen] for name, part in self._rows.items()}

    def _without_fixed_points(self, own: np.ndarray) -> np.ndarray:
        """Returns rows of the pool `[B]` that are not the points `own` `[B]` themselves."""
        chosen = np.resize(self._generator.permutation(len(self._index)), len(own))
        (fixed,) = np.nonzero(self._index[chosen] == own)
        if len(fixed) == 1:
            (free,) = np.nonzero(chosen != chosen[fixed])
            if not len(free):  # nobody to swap with
                return (chosen + 1) % len(self._index)
            fixed = np.append(fixed, self._generator.choice(free))
        chosen[fixed] = np.roll(chosen[fixed], 1)
        return chosen
