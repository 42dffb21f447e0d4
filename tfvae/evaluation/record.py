"""Results point by point, kept in a file from which an interrupted evaluation goes on."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfvae._version import __version__
from tfvae.export.folders import file_written_beside
from tfvae.models import LatentVariableModel

__all__ = ["Record"]

# Between two writings of the file: what is lost at most, but for one pass.
_SECONDS = 10.0
_ABOUT, _PARTIAL = "about", "partial"


class Record:
    """Results of the points so far, in memory, and in a file where one is named.

    The file is replaced as a whole, so that a process that is killed leaves the one before. It says
    which evaluation it is of: settings, weights of the model, and the data that was read. Where
    these are others, it is refused.

    Args:
        filepath: The file, or None. Where it exists, the evaluation goes on from it.
        model: Whose weights these are results of.
        settings: What else the results depend on, plain data by name.

    Raises:
        ValueError: The file is no such record, or one of another evaluation.
        OSError: It cannot be written.

    Example:
        >>> from tfvae.demo import vae
        >>> from tfvae.evaluation.record import Record
        >>> data = {"x": np.zeros([2, 3])}
        >>> record = Record("found.npz", vae, {"num_samples": 9})
        >>> record.holds(data, 2)
        False
        >>> record.add({"log_p_x": np.ones(2)})
        >>> record.close()
        >>> again = Record("found.npz", vae, {"num_samples": 9})
        >>> again.holds(data, 2), again.values["log_p_x"]
        (True, array([1., 1.]))
    """

    def __init__(
        self, filepath: Any, model: LatentVariableModel, settings: Mapping[str, Any]
    ) -> None:
        self._parts: dict[str, list[np.ndarray]] = {}
        self._counts: dict[str, int] = {}
        self._num_parts, self._num_seen, self._num_stored = 0, 0, 0
        self._stored_digest, self._partial = "", {}
        self._hash = hashlib.blake2b(digest_size=16)
        self._path = None if filepath is None else Path(os.path.realpath(os.fspath(filepath)))
        if self._path is None:
            return
        self._about = {
            "model": f"{type(model).__name__}, weights {_digest_of(model.weights)}",
            **{name: str(value) for name, value in settings.items()},
            "version": __version__,
        }
        if self._path.exists():
            self._read(self._path)
        self._write(self._path)  # What cannot be written is known before anything is computed.

    @property
    def is_kept(self) -> bool:
        """Whether there is a file."""
        return self._path is not None

    @property
    def values(self) -> dict[str, np.ndarray]:
        """Results of all points `[N, ...]`, by name, but those that not all points have."""
        for name, count in self._counts.items():
            if (
                count == self._num_parts
            ):  # In one piece from here on: of long data there is no copy.
                self._parts[name] = [np.concatenate(self._parts[name])]
        return {
            n: self._parts[n][0] for n, count in self._counts.items() if count == self._num_parts
        }

    def holds(self, batch: Mapping[str, Any], count: int) -> bool:
        """Whether the next points are in the record already.

        Args:
            batch: All that is known of them, by name, `[B, ...]`.
            count: How many of them are data.

        Raises:
            ValueError: The file is of other data, or of other batches of it.
        """
        if self._path is None:
            return False
        for name, part in sorted(batch.items()):
            rows = np.ascontiguousarray(np.asarray(part)[:count])
            self._hash.update(f"{name} {rows.shape} {rows.dtype.name}".encode())
            self._hash.update(rows.tobytes())
        self._num_seen += count
        if self._num_seen - count < self._num_stored < self._num_seen:
            self._refuse(f"it ends after {self._num_stored} points, within a batch of this data")
        if self._num_seen == self._num_stored and self._hash.hexdigest() != self._stored_digest:
            self._refuse(f"the first {self._num_stored} points of its data are others")
        return self._num_seen <= self._num_stored

    def take_partial(self) -> dict[str, np.ndarray]:
        """Returns what was noted of the points that come next, once; nothing if there is nothing.

        Raises:
            ValueError: The file is of other data.
        """
        found, self._partial = self._partial, {}
        if not found:
            return {}
        if str(found.pop("digest")) != self._hash.hexdigest():
            self._refuse(f"the points after the first {self._num_stored} of its data are others")
        return found

    def note(self, partial: Callable[[], Mapping[str, np.ndarray]]) -> None:
        """Keeps what is known of the points at work, where the file is due.

        Args:
            partial: Returns it, by name.
        """
        if self._path is not None and time.monotonic() - self._written >= _SECONDS:
            self._write(self._path, {**partial(), "digest": np.array(self._hash.hexdigest())})

    def add(self, values: Mapping[str, np.ndarray]) -> None:
        """Adds results of the points that `holds` was asked of last, `[count, ...]` by name."""
        for name, value in values.items():
            self._parts.setdefault(name, []).append(value)
            self._counts[name] = self._counts.get(name, 0) + 1
        self._num_parts += 1
        if self._path is None:
            return
        self._num_stored, self._stored_digest = self._num_seen, self._hash.hexdigest()
        if time.monotonic() - self._written >= _SECONDS:
            self._write(self._path)

    def close(self) -> None:
        """Keeps the results of all points, when the data has ended.

        Raises:
            ValueError: The file holds more points than there are.
        """
        if self._path is None:
            return
        if self._num_seen < self._num_stored:
            self._refuse(f"it is of {self._num_stored} points, here there are {self._num_seen}")
        self._write(self._path)

    def _write(self, path: Path, partial: Mapping[str, np.ndarray] | None = None) -> None:
        about = {**self._about, "points": self._num_stored, "digest": self._stored_digest}
        arrays = {f"value {name}": value for name, value in self.values.items()}
        arrays |= {f"{_PARTIAL} {name}": np.asarray(v) for name, v in (partial or {}).items()}
        with file_written_beside(path) as beside, beside.open("wb") as file:
            np.savez(file, **{_ABOUT: np.array(json.dumps(about))}, **arrays)  # pyright: ignore
        self._written = time.monotonic()

    def _read(self, path: Path) -> None:
        try:
            # Of a file that is none NumPy leaves open what it opens itself.
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            about = json.loads(str(arrays.pop(_ABOUT)))
            self._num_stored, self._stored_digest = int(about.pop("points")), about.pop("digest")
        except Exception as error:
            raise ValueError(
                f"`resume` must name a file that an evaluation of `tfvae` has written, or none. "
                f"Received: {path}, which is torn or of another kind ({type(error).__name__}). "
                "Remove it, or choose another name."
            ) from error
        for name in dict.fromkeys(["task", *self._about, *about]):
            there, here = about.get(name), self._about.get(name)
            if there != here:
                self._refuse(f"there, {name} is {there}, here {here}")
        for name, value in arrays.items():
            kind, _, own = name.partition(" ")
            if kind == _PARTIAL:
                self._partial[own] = value
            else:
                self._parts[own], self._counts[own] = [value], 1
        self._num_parts = 1 if self._parts else 0

    def _refuse(self, reason: str) -> None:
        raise ValueError(
            f"`resume` names a file of another evaluation, {self._path}: {reason}. Give what it "
            "was written for, choose another name, or remove it."
        )


def _digest_of(weights: Iterable[Any]) -> str:
    """Returns a fingerprint of weights, with their names and shapes."""
    found = hashlib.blake2b(digest_size=16)
    for weight in weights:
        value = np.asarray(weight)
        found.update(f"{weight.name} {value.shape} {value.dtype.name}".encode())
        found.update(np.ascontiguousarray(value).tobytes())
    return found.hexdigest()
