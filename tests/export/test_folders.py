"""Folders that are complete or not there, whatever happens while they are written."""

import contextlib
import errno
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import textwrap

import pytest

from tfvae.export import folders
from tfvae.export.folders import file_written_beside, whole_file, written_beside


def write(target, text):
    with written_beside(target) as folder:
        (folder / "part").mkdir(parents=True)
        (folder / "part" / "a").write_text(text)
        (folder / "b").write_text(text)


def fail(folder, error, is_so=lambda: True):
    """Stops in the middle of writing, where something is so."""
    assert is_so()
    folder.mkdir()
    (folder / "b").write_text("half")
    raise error


def contents(target):
    """Returns the files below a folder, with what is in them."""
    files = (path for path in target.rglob("*") if path.is_file())
    return {str(path.relative_to(target)): path.read_text() for path in files}


def whole(text):
    return {"part/a": text, "b": text}


def test_a_folder_is_there_when_all_is_written(tmp_path):
    target = tmp_path / "model" / "deep" / "1"
    with written_beside(target) as folder:
        assert not folder.exists()
        assert folder.parent.parent == target.parent
        assert folder.parent.name.startswith(".1.")
        folder.mkdir()
        (folder / "b").write_text("new")
        assert not target.exists()
    assert contents(target) == {"b": "new"}
    assert os.listdir(target.parent) == ["1"]


@pytest.mark.parametrize("before", [None, {}, "old"])
def test_it_takes_the_place_of_what_was_there(tmp_path, before):
    target = tmp_path / "1"
    if before is not None:
        target.mkdir()
    if before:
        write(target, before)
    write(target, "new")
    assert contents(target) == whole("new")
    assert os.listdir(tmp_path) == ["1"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_what_was_there_is_left_where_writing_fails(tmp_path, error):
    target = tmp_path / "1"
    write(target, "old")
    with pytest.raises(type(error)), written_beside(target) as folder:
        fail(folder, error)
    assert contents(target) == whole("old")
    assert os.listdir(tmp_path) == ["1"]
    with (
        pytest.raises(type(error)),
        written_beside(tmp_path / "new" / "model" / "1") as folder,
    ):
        fail(folder, error)
    assert os.listdir(tmp_path) == ["1"]


@pytest.mark.parametrize("step", [1, 2])
def test_what_was_there_is_put_back_where_a_name_cannot_be_changed(tmp_path, monkeypatch, step):
    target, calls = tmp_path / "1", []
    write(target, "old")

    def rename(source, goal):
        calls.append(goal)
        if len(calls) == step:
            raise OSError(errno.EBUSY, "Device or resource busy", str(goal))
        return os_rename(source, goal)

    os_rename = os.rename
    monkeypatch.setattr(folders.os, "rename", rename)
    with pytest.raises(OSError, match=r"a new folder in the place of .*1: Device or resource busy"):
        write(target, "new")
    assert contents(target) == whole("old")
    assert os.listdir(tmp_path) == ["1"]


def test_what_cannot_be_put_back_is_not_removed(tmp_path, monkeypatch):
    target = tmp_path / "1"
    write(target, "old")

    def rename(source, goal):
        if pathlib.Path(goal) == target:
            raise PermissionError(errno.EACCES, "Permission denied", str(goal))
        return os_rename(source, goal)

    os_rename = os.rename
    monkeypatch.setattr(folders.os, "rename", rename)
    with pytest.raises(PermissionError):
        write(target, "new")
    (kept,) = tmp_path.iterdir()
    assert contents(kept / "old") == whole("old")
    monkeypatch.undo()
    with pytest.raises(KeyError), written_beside(target) as folder:
        fail(folder, KeyError(), lambda: contents(target) == whole("old"))
    assert contents(target) == whole("old")
    assert os.listdir(tmp_path) == ["1"]


def test_of_two_at_once_the_last_stays(tmp_path, monkeypatch):
    """Between the two names of the first, the second puts its own folder there."""
    target, others = tmp_path / "1", ["other"]
    write(target, "old")

    def rename(source, goal):
        os_rename(source, goal)
        if pathlib.Path(goal).name == "old" and others:
            write(target, others.pop())

    os_rename = os.rename
    monkeypatch.setattr(folders.os, "rename", rename)
    write(target, "new")
    assert not others
    assert contents(target) == whole("new")
    assert os.listdir(tmp_path) == ["1"]


def test_only_what_no_process_holds_is_removed(tmp_path):
    target = tmp_path / "1"
    dead = tmp_path / ".1.dead0000.tfvae-export"
    foreign = [tmp_path / name for name in (".1.notes", ".1.2.dead0000.tfvae-export", ".1")]
    for folder in (dead, *foreign):
        (folder / "new").mkdir(parents=True)
    with written_beside(target) as first:
        assert not dead.exists()
        first.mkdir()
        write(target, "second")
        assert first.exists()
        assert contents(target) == whole("second")
        (first / "b").write_text("first")
    assert contents(target) == {"b": "first"}
    assert sorted(tmp_path.iterdir()) == sorted([target, *foreign])


def test_without_locks_nothing_is_taken_for_a_leftover(tmp_path, monkeypatch):
    left = tmp_path / ".1.dead0000.tfvae-export"
    left.mkdir()
    monkeypatch.setattr(folders, "fcntl", None)
    write(tmp_path / "1", "new")
    assert contents(tmp_path / "1") == whole("new")
    assert sorted(os.listdir(tmp_path)) == [".1.dead0000.tfvae-export", "1"]


def test_a_file_above_is_told_in_words(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match=r"Cannot write a folder beside .*file/1: Not a d"):
        write(tmp_path / "file" / "1", "new")


def test_a_folder_that_is_read_only_is_told_in_words(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with contextlib.suppress(OSError):
            (tmp_path / "probe").mkdir()
            pytest.skip("this user may write everywhere")
        with pytest.raises(PermissionError, match=r"Cannot write a folder beside .*: Permission"):
            write(tmp_path / "1", "new")
    finally:
        tmp_path.chmod(0o700)


KILLED = """
    import importlib.util, os, pathlib, signal, sys
    spec = importlib.util.spec_from_file_location("folders", sys.argv[1])
    folders = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(folders)
    target, moment = pathlib.Path(sys.argv[2]), sys.argv[3]

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def killed(function, count):
        calls = []
        def called(*arguments, **settings):
            calls.append(arguments)
            result = function(*arguments, **settings)
            if len(calls) == count:
                die()
            return result
        return called

    if moment == "flushing":
        os.fsync = killed(os.fsync, 1)
    elif moment == "between the names":
        os.rename = killed(os.rename, 1)
    elif moment == "after the names":
        os.rename = killed(os.rename, 2)
    with folders.written_beside(target) as folder:
        (folder / "part").mkdir(parents=True)
        (folder / "part" / "a").write_text("new")
        if moment == "writing":
            die()
        (folder / "b").write_text("new")
"""


@pytest.mark.parametrize(
    ("moment", "then", "next_one"),
    [
        ("writing", "old", "old"),
        ("flushing", "old", "old"),
        ("between the names", None, "old"),
        ("after the names", "new", "new"),
    ],
)
def test_a_killed_process_leaves_one_or_the_other(tmp_path, moment, then, next_one):
    """Without TensorFlow, which the module does not need: its file is run by itself."""
    target = tmp_path / "1"
    write(target, "old")
    program = [sys.executable, "-c", textwrap.dedent(KILLED), folders.__file__, str(target), moment]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(list(tmp_path.glob(".1.*"))) == 1
    if then is None:
        assert not target.exists()
    else:
        assert contents(target) == whole(then)

    with pytest.raises(KeyError), written_beside(target) as folder:
        fail(folder, KeyError(), lambda: contents(target) == whole(next_one))
    assert contents(target) == whole(next_one)
    assert os.listdir(tmp_path) == ["1"]


def test_a_folder_that_vanishes_before_its_lock_is_made_anew(tmp_path, monkeypatch):
    made = []

    def mkdtemp(*arguments):
        made.append(make(*arguments))
        if len(made) == 1:
            shutil.rmtree(made[0])
        return made[-1]

    make = folders.tempfile.mkdtemp
    monkeypatch.setattr(folders.tempfile, "mkdtemp", mkdtemp)
    write(tmp_path / "1", "new")
    assert len(made) == 2
    assert os.listdir(tmp_path) == ["1"]


def test_a_file_takes_the_place_of_what_was_there_when_all_is_written(tmp_path):
    target = tmp_path / "model.keras"
    for text in ("old", "new"):
        with file_written_beside(target) as path:
            assert path.name == target.name
            path.write_text(text)
            assert (text == "old") == (not target.exists())
        assert target.read_text() == text
    with contextlib.suppress(KeyError), file_written_beside(target) as path:
        path.write_text("half")
        raise KeyError
    with pytest.raises(FileNotFoundError), file_written_beside(target):
        pass  # Nothing was written.
    assert target.read_text() == "new"
    assert os.listdir(tmp_path) == [target.name]
    with (
        pytest.raises(OSError, match=r"Cannot write a file beside .*none.*Choose another"),
        file_written_beside(tmp_path / "none" / "a"),
    ):
        pass


def test_only_files_of_this_machine_are_written_beside(tmp_path):
    linked = tmp_path / "link.keras"
    linked.symlink_to(tmp_path / "a.keras")
    with whole_file(linked, ".keras") as path:
        pathlib.Path(path).write_text("a")
    assert linked.is_symlink()
    assert (tmp_path / "a.keras").read_text() == "a"
    others = ("hf://user/model.keras", tmp_path / "a.h5", None, tmp_path)
    for given in others:
        with whole_file(given, ".keras") as path:
            assert path is given
    with whole_file(linked, ".keras", may_replace=False) as path:
        assert path is linked  # Keras asks first.


KILLED_AT_A_FILE = """
    import os, pathlib, sys
    from tfvae.export.folders import file_written_beside
    with file_written_beside(pathlib.Path(sys.argv[1])) as path:
        path.write_text("half")
        os.kill(os.getpid(), 9)
"""


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_killed_process_leaves_the_file_and_the_next_one_its_folder_clean(tmp_path):
    target = tmp_path / "model.keras"
    target.write_text("old")
    command = [sys.executable, "-c", textwrap.dedent(KILLED_AT_A_FILE), str(target)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert target.read_text() == "old"
    assert len(os.listdir(tmp_path)) == 2
    with file_written_beside(target) as path:
        path.write_text("new")
    assert target.read_text() == "new"
    assert os.listdir(tmp_path) == [target.name]
