"""Folders and files that are complete or not there: written beside their target, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl: Any = None

__all__ = ["file_written_beside", "whole_file", "written_beside"]

# A folder `.<target>.<random>` of this ending holds a lock, what is written, and what goes.
_ENDING = ".tfvae-export"
_LOCK, _NEW, _OLD = "lock", "new", "old"


@contextlib.contextmanager
def written_beside(target: Path) -> Iterator[Path]:
    """Gives a path to write a folder at, which takes the place of `target` when all is written.

    The path lies beside `target`, on the same file system, below a name with a dot that servers do
    not read. What was written is brought to the disk before anything is renamed. A folder that
    stands at `target` is renamed aside, the new one renamed in, and the old one removed: no file
    system of Python's exchanges two folders at once, so a process that is killed between the two
    names leaves none, and the next one that writes there puts the old one back.

    Where writing fails, `target` is what it was, and nothing else is left. What killed processes
    left is removed by the next one that writes the same target, on file systems that have locks:
    a process holds one for as long as it lives.

    Args:
        target: The folder, an absolute path. Folders above it are made.

    Yields:
        A path at which there is nothing.

    Raises:
        OSError: Nothing can be written beside `target`, or it cannot be replaced.
    """
    made = []
    try:
        with _in_words(f"Cannot write a folder beside {target}"):
            for parent in [p for p in reversed(target.parents) if not p.exists()]:
                parent.mkdir(exist_ok=True)
                made.append(parent)
            _clear_leftovers(target)
            folder, lock = _claimed(target)
        with lock:
            try:
                yield folder / _NEW
                _flush(folder / _NEW)
                with _in_words(f"Cannot put a new folder in the place of {target}"):
                    _exchange(folder / _NEW, target, folder / _OLD)
                _flush_entries(target.parent)
            finally:
                _clear(folder, target)
    except BaseException:
        for parent in reversed(made):
            with contextlib.suppress(OSError):  # Somebody else may have found use for it.
                parent.rmdir()
        raise


@contextlib.contextmanager
def file_written_beside(target: Path) -> Iterator[Path]:
    """Gives a path to write a file at, which takes the place of `target` when all is written.

    As `written_beside` does for folders; here one step replaces the old file by the new one.

    Args:
        target: The file, an absolute path in a folder that there is.

    Yields:
        A path of the same name at which there is nothing.

    Raises:
        OSError: Nothing can be written beside `target`, or it cannot be replaced.
    """
    with _in_words(f"Cannot write a file beside {target}"):
        _clear_leftovers(target)
        folder, lock = _claimed(target)
    with lock:
        try:
            yield folder / target.name
            _flush_file(folder / target.name)
            with _in_words(f"Cannot put a new file in the place of {target}"):
                os.replace(folder / target.name, target)
            _flush_entries(target.parent)
        finally:
            _clear(folder, target)


@contextlib.contextmanager
def whole_file(filepath: Any, ending: str, may_replace: bool = True) -> Iterator[Any]:
    """Gives the path that Keras is to write a file at: one beside it where that is possible.

    Args:
        filepath: What the user gave: others than files of this machine are given back as they are.
        ending: Of the names of such files.
        may_replace: Whether a file that is there may be replaced without a question.
    """
    name = os.fspath(filepath) if isinstance(filepath, (str, os.PathLike)) else ""
    # Behind a link lies the file that is meant.
    target = Path(os.path.realpath(name))
    is_local = isinstance(name, str) and name.endswith(ending) and "://" not in name
    if not is_local or target.is_dir() or (target.exists() and not may_replace):
        yield filepath
        return
    with file_written_beside(target) as path:
        yield str(path)


@contextlib.contextmanager
def _in_words(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = f"{what}: {error.strerror or error}"
        remedy = "Choose another folder, or clear what stands in the way."
        raise OSError(error.errno, f"{reason}, at {error.filename}. {remedy}") from error


def _claimed(target: Path) -> tuple[Path, Any]:
    """Returns a new folder beside `target`, and what holds its lock until it is closed."""
    while True:
        made = tempfile.mkdtemp(_ENDING, f".{target.name}.", target.parent)
        folder = Path(made)
        try:
            return folder, _locked(folder)
        except (BlockingIOError, FileNotFoundError):
            continue  # It was taken for a leftover before it had its lock.
        except OSError:
            return folder, contextlib.nullcontext()  # There are no locks here.


def _locked(folder: Path) -> Any:
    """Returns an open file whose lock goes when it is closed or the process ends.

    Raises:
        BlockingIOError: It is held.
        FileNotFoundError: The folder was removed meanwhile.
        OSError: There are no locks here.
    """
    file = (folder / _LOCK).open("wb")
    try:
        if fcntl is None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.stat(file.name)
    except BaseException:
        file.close()
        raise
    return file


def _clear_leftovers(target: Path) -> None:
    """Puts back or removes what processes left that were killed while they wrote `target`."""
    name = re.compile(rf"\.{re.escape(target.name)}\.[^.]+{re.escape(_ENDING)}")
    for folder in [p for p in target.parent.iterdir() if name.fullmatch(p.name)]:
        # Held by a process that lives, gone by now, or nothing can be said of it.
        with contextlib.suppress(OSError), _locked(folder):
            _clear(folder, target)


def _clear(folder: Path, target: Path) -> None:
    """Puts back what was to be replaced and was not, and removes the rest."""
    old = folder / _OLD
    if old.exists() and not target.exists():
        os.rename(old, target)
    shutil.rmtree(folder, ignore_errors=True)


def _exchange(new: Path, target: Path, old: Path) -> None:
    while True:
        with contextlib.suppress(FileNotFoundError):
            os.rename(target, old)
        try:
            return os.rename(new, target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            shutil.rmtree(old, ignore_errors=True)  # Another process put its own in between.


def _flush(folder: Path) -> None:
    """Brings a folder and all that is in it to the disk."""
    for place, _, names in os.walk(folder):
        for name in names:
            _flush_file(Path(place) / name)
        _flush_entries(Path(place))


def _flush_file(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _flush_entries(folder: Path) -> None:
    if os.name != "posix":
        return  # Nobody else opens folders.
    entries = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(entries)
    finally:
        os.close(entries)
