"""One file that holds arrays and plain data, is whole or told apart, and has one before it."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae.export.folders import file_written_beside

__all__ = ["CheckedFile"]

# The file: this line, the SHA-256 of what follows, the length of the description, the description
# in JSON, and the arrays one after the other.
_FIRST_LINE = b"tfvae checkpoint 1\n"
_DIGEST, _LENGTH = 32, 8

_ARRAY = "__array__"


class CheckedFile:
    """A file of plain data with arrays in it, and the one that it replaced, `<name>.previous`.

    It holds numbers and names: no code, and reading it runs none.

    Args:
        path: Of the file.
    """

    def __init__(self, path: Any) -> None:
        self.path = Path(os.path.abspath(os.path.realpath(os.fspath(path))))
        self.previous = self.path.with_name(f"{self.path.name}.previous")
        self._is_good = False

    def write(self, content: dict[str, Any]) -> None:
        """Puts content in the place of what is there, which becomes the previous one.

        A process that is killed meanwhile leaves one of the two.

        Args:
            content: Dicts, lists, text, numbers and arrays.

        Raises:
            OSError: It cannot be written; what was there stays.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with file_written_beside(self.path) as beside:
            with beside.open("wb") as file:
                for part in _as_bytes(content):
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())  # A full disk may tell no sooner.
            if self._is_good and self.path.exists():
                os.replace(self.path, self.previous)
        self._is_good = True

    def read(self) -> dict[str, Any] | None:
        """Returns the content of the file, or of the previous one with a warning; None of neither.

        Raises:
            ValueError: There are files, and none of them is whole.
        """
        said, self._is_good = [], False
        for path in (self.path, self.previous):
            if not path.exists():
                continue
            try:
                content = _content(path.read_bytes())
            except (OSError, ValueError) as error:
                said.append(f"{path}: {error}")
                continue
            self._is_good = path == self.path
            if said:
                warnings.warn(
                    f"A checkpoint cannot be used. {said[0]} The one before it is: {path}.",
                    UserWarning,
                    stacklevel=2,
                )
            return content
        if said:
            raise ValueError(
                f"No checkpoint can be used. {' '.join(said)} Give another path, or remove what "
                "is there to begin anew."
            )
        return None


def _as_bytes(content: dict[str, Any]) -> list[bytes]:
    arrays: list[np.ndarray] = []
    plain = _without_arrays(content, arrays)
    kinds = [[tf.as_dtype(array.dtype).name, array.shape] for array in arrays]
    description = json.dumps({"arrays": kinds, "content": plain}).encode()
    parts = [len(description).to_bytes(_LENGTH, "little"), description]
    parts += [np.ascontiguousarray(array).tobytes() for array in arrays]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return [_FIRST_LINE, digest.digest(), *parts]


def _content(stored: bytes) -> dict[str, Any]:
    """Returns what `_as_bytes` made bytes of.

    Raises:
        ValueError: It did not.
    """
    if not stored.startswith(_FIRST_LINE):
        raise ValueError(
            f"it is no checkpoint of `tfvae`, or torn: its {len(stored)} bytes begin with "
            f"{stored[:8]!r}."
        )
    start = len(_FIRST_LINE)
    digest, body = stored[start : start + _DIGEST], memoryview(stored)[start + _DIGEST :]
    if hashlib.sha256(body).digest() != digest:
        raise ValueError(
            f"its checksum does not belong to its {len(stored)} bytes: it is torn, or was changed."
        )
    length = int.from_bytes(body[:_LENGTH], "little")
    description = json.loads(bytes(body[_LENGTH : _LENGTH + length]))
    arrays, place = [], _LENGTH + length
    for dtype, shape in description["arrays"]:
        kind = np.dtype(tf.as_dtype(dtype).as_numpy_dtype)
        size = kind.itemsize * int(np.prod(shape, dtype=np.int64))
        arrays.append(np.frombuffer(body[place : place + size], kind).reshape(shape))
        place += size
    return _with_arrays(description["content"], arrays)


def _without_arrays(value: Any, arrays: list[np.ndarray]) -> Any:
    """Returns plain data, with the arrays in it put into a list, and numbers in their places."""
    if isinstance(value, dict):
        return {str(key): _without_arrays(part, arrays) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_arrays(part, arrays) for part in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    array = np.asarray(value)
    if array.dtype.kind in "OSUMm":
        raise TypeError(
            "A checkpoint holds numbers, text, lists, dicts and arrays of numbers, and no other "
            f"objects. Received: {type(value).__name__}. Return such from `get_state`."
        )
    arrays.append(array)
    return {_ARRAY: len(arrays) - 1}


def _with_arrays(value: Any, arrays: Sequence[np.ndarray]) -> Any:
    if isinstance(value, dict):
        if set(value) == {_ARRAY}:
            return arrays[value[_ARRAY]]
        return {key: _with_arrays(part, arrays) for key, part in value.items()}
    return [_with_arrays(part, arrays) for part in value] if isinstance(value, list) else value
