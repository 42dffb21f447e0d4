"""What one of several workers evaluates of the data, and what it has found."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

import numpy as np

from tfvae._words import kind_of
from tfvae.export.folders import file_written_beside

__all__ = ["Part", "Shard", "Stored"]

Result = TypeVar("Result")
_ABOUT, _SIZES = "about", "sizes"
# The other arrays of a file are of one of these kinds: `value log_p_x`.
_VALUE, _EXTRA, _PARTIAL = "value", "extra", "partial"


@dataclass(frozen=True)
class Shard:
    """The share of one of several workers: every `count`-th batch of the data.

    Batches keep the seeds that their numbers give them, so that it makes no difference who
    evaluates which. A worker for which there is no batch has an empty share, and merges too.

    Args:
        index: The worker's number, from 0 on.
        count: How many workers there are.

    Raises:
        TypeError: A number is no int.
        ValueError: `count` is below 1, or `index` is none of 0, ..., `count` - 1.

    Example:
        >>> shard = tfvae.evaluation.Shard(1, 3)
        >>> [batch for batch in range(8) if shard.has(batch)]
        [1, 4, 7]
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        for name, value in (("index", self.index), ("count", self.count)):
            if isinstance(value, bool) or not isinstance(value, int | np.integer):
                raise TypeError(f"`{name}` must be an int. Received: {name}={value!r}")
            object.__setattr__(self, name, int(value))
        if self.count < 1 or not 0 <= self.index < self.count:
            raise ValueError(
                "A shard is one of 0, ..., count - 1. "
                f"Received: index={self.index}, count={self.count}"
            )

    def has(self, batch: int) -> bool:
        """Whether the batch of that number, from 0 on, is in the share."""
        return batch % self.count == self.index

    def __str__(self) -> str:
        return f"{self.index} of {self.count}"


WHOLE = Shard(0, 1)


def checked_shard(shard: Any) -> Shard:
    """Returns a share of the data, which None says is all of it.

    Raises:
        TypeError: It is neither.
    """
    if shard is None:
        return WHOLE
    if not isinstance(shard, Shard):
        raise TypeError(
            "`shard` must be a `tfvae.evaluation.Shard`, such as `Shard(0, 2)`, or None. "
            f"Received: {kind_of(shard)}"
        )
    return shard


@dataclass(frozen=True, eq=False)
class Part(Generic[Result]):
    """What one worker has found on its share; `tfvae.evaluation.merged` makes the whole of all.

    Evaluations return it where they are given a `shard`. It holds arrays and plain data, and may be
    sent to another process as it is (pickled), or by way of the file that `resume=` names.

    Attributes:
        shard: Whose share it is.
        settings: What the results depend on, in words by name: the task, its settings, and a
            fingerprint of the weights.
        digest: Fingerprint of all of the data, batch by batch.
        sizes: Points of each batch of the data, those of other shares too.
        values: Results `[n, ...]` of the points of the share, by name.
        extras: What else was found, by name.

    Example:
        >>> from tfvae.demo import vae, x
        >>> from tfvae.evaluation import Shard, merged
        >>> part = tfvae.log_likelihood(vae, x, 10, shard=Shard(0, 1), verbose=False)
        >>> part.num_points == len(x), merged([part]).mean < 0.0
        (True, True)
    """

    shard: Shard
    settings: Mapping[str, str]
    digest: str
    sizes: np.ndarray
    values: Mapping[str, np.ndarray]
    extras: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def num_points(self) -> int:
        """Number of points of the share, n."""
        return int(np.sum(self.sizes[self.shard.index :: self.shard.count]))

    @property
    def rows(self) -> np.ndarray:
        """The numbers of these points in the data, int64 `[n]`, ascending."""
        batches = np.repeat(np.arange(len(self.sizes)), self.sizes)
        return np.flatnonzero(batches % self.shard.count == self.shard.index)

    @classmethod
    def load(cls, filepath: Any) -> Part[Any]:
        """Reads the file that an evaluation with `resume=` has left; of one without `shard`, all.

        Raises:
            ValueError: It is no such file, or the evaluation has not come to its end.
            OSError: It cannot be read.

        Example:
            >>> from tfvae.demo import vae, x
            >>> from tfvae.evaluation import Part, merged
            >>> found = tfvae.log_likelihood(vae, x, 10, resume="found.npz", verbose=False)
            >>> merged([Part.load("found.npz")]).mean == found.mean
            True
        """
        path = Path(os.fspath(filepath))
        stored = Stored.read(path, "filepath")
        if not stored.is_complete:
            raise ValueError(
                f"A part is complete once its evaluation has ended. Received: {path}, with "
                f"{stored.num_points} points done. Let the evaluation go on, by the same call."
            )
        settings = dict(stored.settings)
        index, count = map(int, settings.pop("shard").split(" of "))
        return cls(
            Shard(index, count), settings, stored.digest, stored.sizes, stored.values, stored.extras
        )

    def __str__(self) -> str:
        return f"part {self.shard} of {self.settings['task']}: {self.num_points} points"


@dataclass(frozen=True, eq=False)
class Stored:
    """What a file holds.

    Attributes:
        settings: As of `Part`, and the `shard`.
        num_points: Points of the data up to the last one that is done, other shares' among them.
        digest: Fingerprint of the data so far.
        is_complete: Whether that is all of the data.
        sizes: Points of each batch so far.
        values: Results of points by name.
        extras: What else was found.
        partial: What was noted of a batch at work.
    """

    settings: Mapping[str, str]
    num_points: int
    digest: str
    is_complete: bool
    sizes: np.ndarray
    values: Mapping[str, np.ndarray]
    extras: Mapping[str, np.ndarray] = field(default_factory=dict)
    partial: Mapping[str, np.ndarray] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Replaces the file as a whole, so that a process that is killed leaves the one before."""
        about = {
            "settings": dict(self.settings),
            "points": self.num_points,
            "digest": self.digest,
            "complete": self.is_complete,
        }
        arrays = {_ABOUT: np.array(json.dumps(about)), _SIZES: self.sizes}
        for kind, named in (
            (_VALUE, self.values),
            (_EXTRA, self.extras),
            (_PARTIAL, self.partial),
        ):
            arrays |= {f"{kind} {name}": np.asarray(value) for name, value in named.items()}
        with file_written_beside(path) as beside, beside.open("wb") as file:
            np.savez(file, **arrays)  # pyright: ignore

    @classmethod
    def read(cls, path: Path, argument: str) -> Stored:
        """Reads a file.

        Args:
            path: The file.
            argument: What names it, for the message.

        Raises:
            ValueError: It is torn, or another kind of file.
            OSError: It cannot be read.
        """
        with path.open("rb") as opened:  # Of a file that is none NumPy leaves open what it opens.
            try:
                return cls._of(opened)
            except Exception as error:
                raise ValueError(
                    f"`{argument}` must name a file that an evaluation of `tfvae` has written, or "
                    f"none. Received: {path}, which is torn or of another kind "
                    f"({type(error).__name__}). Remove it, or choose another name."
                ) from error

    @classmethod
    def _of(cls, opened: IO[bytes]) -> Stored:
        with np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(str(arrays.pop(_ABOUT)))
        sizes = arrays.pop(_SIZES)
        kinds: dict[str, dict[str, np.ndarray]] = {_VALUE: {}, _EXTRA: {}, _PARTIAL: {}}
        for name, value in arrays.items():
            kind, _, own = name.partition(" ")
            kinds[kind][own] = value
        numbers = int(about["points"]), str(about["digest"]), bool(about["complete"])
        return cls(dict(about["settings"]), *numbers, sizes, *kinds.values())


def joined(arrays: Iterable[np.ndarray], rows: Iterable[np.ndarray]) -> np.ndarray:
    """Returns rows of several arrays, each at its place.

    Args:
        arrays: `[n, ...]` each.
        rows: The places of their rows, int `[n]` each: together, 0, 1, ...

    Example:
        >>> from tfvae.evaluation.sharding import joined
        >>> joined([np.array([1.0, 3.0]), np.array([2.0])], [[0, 2], [1]])
        array([1., 2., 3.])
    """
    places = np.concatenate([np.asarray(each) for each in rows])
    found = np.concatenate(list(arrays))
    whole = np.empty_like(found)
    whole[places] = found
    return whole
