"""Results point by point, kept in a file from which an interrupted evaluation goes on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae._version import __version__
from tfvae.evaluation.sharding import Part, Shard, Stored, checked_shard
from tfvae.models import LatentVariableModel

__all__ = ["Record"]

# Between two writings of the file: what is lost at most, but for one pass.
_SECONDS = 10.0
# Strings of a configuration that name no layer, though one may be called the same.
_WORDS = ("activation", "class_name")


class Record:
    """Results of the points so far, in memory, and in a file where one is named.

    The file is replaced as a whole, so that a process that is killed leaves the one before. It says
    which evaluation it is of: settings, weights of the model, the data that was read, and the share
    of it. Where these are others, it is refused.

    Args:
        filepath: The file, or None. Where it exists, the evaluation goes on from it.
        model: Whose weights these are results of.
        settings: What else the results depend on, plain data by name.
        shard: The share of the data that is evaluated; None for all of it.

    Attributes:
        shard: That share.

    Raises:
        TypeError: `shard` is none.
        ValueError: The file is no such record, or one of another evaluation.
        OSError: It cannot be written.

    Example:
        >>> from tfvae.demo import vae
        >>> from tfvae.evaluation.record import Record
        >>> data = {"x": np.zeros([2, 3])}
        >>> record = Record("found.npz", vae, {"num_samples": 9})
        >>> record.needs_nothing(data, 2)
        False
        >>> record.add({"log_p_x": np.ones(2)})
        >>> record.close()
        >>> again = Record("found.npz", vae, {"num_samples": 9})
        >>> again.needs_nothing(data, 2), again.values["log_p_x"]
        (True, array([1., 1.]))
    """

    def __init__(
        self,
        filepath: Any,
        model: LatentVariableModel,
        settings: Mapping[str, Any],
        shard: Shard | None = None,
    ) -> None:
        self.shard = checked_shard(shard)
        self._parts: dict[str, list[np.ndarray]] = {}
        self._counts: dict[str, int] = {}
        self._num_parts, self._num_seen, self._num_stored = 0, 0, 0
        self._sizes: list[int] = []
        self._stored_digest, self._partial = "", {}
        self._extras: dict[str, np.ndarray] = {}
        self._hash = hashlib.blake2b(digest_size=16)
        self._path = None if filepath is None else Path(os.path.realpath(os.fspath(filepath)))
        if self._path is not None and self._path.is_dir():
            raise ValueError(
                "`resume` must be the name of a file, such as `evidence.npz` in that folder. "
                f"Received: the folder {str(self._path)!r}"
            )
        # What results are of matters to those who read them elsewhere.
        self.travels = self._path is not None or shard is not None
        if not self.travels:
            return
        self._settings = {
            "model": f"{type(model).__name__}, weights {_digest_of(model.weights)}, "
            f"configuration {_digest_of_config(model)}",
            **{name: f"{value}{_held_by(value)}" for name, value in settings.items()},
            "version": __version__,
        }
        if self._path is None:
            return
        # What cannot be written is known before anything is computed.
        if self._path.exists():
            self._read(self._path).write(self._path)
            self._written = time.monotonic()
        else:
            self._write(self._path)

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

    @property
    def part(self) -> Part[Any]:
        """What was found, of all data that has been seen, to be merged with that of others."""
        return Part(
            self.shard,
            self._settings,
            self._hash.hexdigest(),
            np.array(self._sizes, np.int64),
            self.values,
            self._extras,
        )

    def needs_nothing(self, batch: Mapping[str, Any], count: int) -> bool:
        """Whether the next points are in the record already, or in the share of another worker.

        Args:
            batch: All that is known of them, by name, `[B, ...]`.
            count: How many of them are data.

        Raises:
            ValueError: The file is of other data, or of other batches of it.
        """
        if not self.travels:
            return False
        is_own = self.shard.has(len(self._sizes))
        for name, part in sorted(batch.items()):
            rows = np.ascontiguousarray(np.asarray(part)[:count])
            self._hash.update(f"{name} {rows.shape} {rows.dtype.name}".encode())
            self._hash.update(rows.tobytes())
        self._sizes.append(count)
        self._num_seen += count
        if self._num_seen - count < self._num_stored < self._num_seen:
            self._refuse(f"it ends after {self._num_stored} points, within a batch of this data")
        if self._num_seen == self._num_stored and self._hash.hexdigest() != self._stored_digest:
            self._refuse(f"the first {self._num_stored} points of its data are others")
        return not is_own or self._num_seen <= self._num_stored

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
        """Adds results of the points that `needs_nothing` was asked of last, `[count, ...]`."""
        for name, value in values.items():
            self._parts.setdefault(name, []).append(value)
            self._counts[name] = self._counts.get(name, 0) + 1
        self._num_parts += 1
        if self._path is None:
            return
        self._num_stored, self._stored_digest = self._num_seen, self._hash.hexdigest()
        if time.monotonic() - self._written >= _SECONDS:
            self._write(self._path)

    def close(self, extras: Mapping[str, np.ndarray] | None = None) -> None:
        """Keeps the results of all points, when the data has ended.

        Args:
            extras: What else was found, by name.

        Raises:
            ValueError: The file holds more points than there are.
        """
        self._extras = dict(extras or {})
        if self._path is None:
            return
        if self._num_seen < self._num_stored:
            self._refuse(f"it is of {self._num_stored} points, here there are {self._num_seen}")
        self._num_stored, self._stored_digest = self._num_seen, self._hash.hexdigest()
        self._write(self._path, is_complete=True)

    def _write(
        self,
        path: Path,
        partial: Mapping[str, np.ndarray] | None = None,
        is_complete: bool = False,
    ) -> None:
        Stored(
            settings={**self._settings, "shard": str(self.shard)},
            num_points=self._num_stored,
            digest=self._stored_digest,
            is_complete=is_complete,
            sizes=np.array(self._sizes, np.int64),
            values=self.values,
            extras=self._extras,
            partial=partial or {},
        ).write(path)
        self._written = time.monotonic()

    def _read(self, path: Path) -> Stored:
        stored = Stored.read(path, "resume")
        there, here = stored.settings, {**self._settings, "shard": str(self.shard)}
        for name in dict.fromkeys(["task", *here, *there]):
            if there.get(name) != here.get(name):
                self._refuse(f"there, {name} is {there.get(name)}, here {here.get(name)}")
        self._num_stored, self._stored_digest = stored.num_points, stored.digest
        self._partial = dict(stored.partial)
        for name, value in stored.values.items():
            self._parts[name], self._counts[name] = [value], 1
        self._num_parts = 1 if self._parts else 0
        return stored

    def _refuse(self, reason: str) -> None:
        raise ValueError(
            f"`resume` names a file of another evaluation, {self._path}: {reason}. Give what it "
            "was written for, choose another name, or remove it."
        )


def _held_by(value: Any) -> str:
    """Returns a fingerprint of the weights that an object such as a proposal holds, if any."""
    if isinstance(value, tf.Variable | keras.Variable):
        return f", {_digest_of([value])}"
    if isinstance(value, keras.layers.Layer):
        return f", {_digest_of(value.weights)}"
    if dataclasses.is_dataclass(value):
        fields = (getattr(value, each.name) for each in dataclasses.fields(value) if each.compare)
        return "".join(map(_held_by, fields))
    return "".join(map(_held_by, value)) if isinstance(value, tuple) else ""


def _digest_of_config(model: Any) -> str:
    """Returns a fingerprint of what a model is made with, but for names of layers.

    Those that Keras gives count how many layers a process has made before. Of parts of the user's
    own that do not say what they are made with there is none.
    """
    try:
        config = model.get_config()
    except Exception:  # whatever a part of the user's own raises
        return "unknown"
    numbers: dict[str, int] = {}

    def plain(value: Any, key: str = "") -> Any:
        if isinstance(value, Mapping):
            left = {k: v for k, v in value.items() if k not in ("module", "registered_name")}
            return {str(k): plain(v, str(k)) for k, v in left.items()}
        if isinstance(value, (list, tuple)):
            return [plain(each) for each in value]
        if isinstance(value, str):
            is_name = key == "name" or (value in numbers and key not in _WORDS)
            return numbers.setdefault(value, len(numbers)) if is_name else value
        if value is None or isinstance(value, (bool, int, float)):
            return value
        return np.asarray(value).tolist() if hasattr(value, "__array__") else type(value).__name__

    text = json.dumps(plain(config), sort_keys=True, default=repr)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _digest_of(weights: Iterable[Any]) -> str:
    """Returns a fingerprint of weights, with their names and shapes."""
    found = hashlib.blake2b(digest_size=16)
    for weight in weights:
        value = np.asarray(weight)
        found.update(f"{weight.name} {value.shape} {value.dtype.name}".encode())
        found.update(np.ascontiguousarray(value).tobytes())
    return found.hexdigest()
