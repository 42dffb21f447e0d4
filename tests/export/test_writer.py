"""Where a SavedModel is written, what it replaces, and what a failed one leaves."""

import errno
import os
import signal
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import binary_data, mlp_vae


@pytest.fixture(scope="module")
def vae():
    return mlp_vae()


@pytest.fixture(scope="module")
def x():
    return tf.constant(binary_data(3))


@pytest.fixture
def exported(vae, tmp_path):
    """Returns a new export of `vae`."""
    target = tmp_path / "model" / "1"
    vae.export(target, verbose=False, signatures=["encode"])
    return target


def other():
    keras.utils.set_random_seed(1)
    return mlp_vae()


def z_mean(model, x):
    return model.encode(x).mean().numpy()


def served(folder, x):
    return tf.saved_model.load(str(folder)).signatures["encode"](x=x)["z_mean"].numpy()


@pytest.mark.slow
def test_a_version_is_replaced(vae, x, exported):
    np.testing.assert_allclose(served(exported, x), z_mean(vae, x), rtol=1e-5)
    model = other()
    assert np.abs(z_mean(model, x) - z_mean(vae, x)).max() > 0.01
    model.export(exported, verbose=False, signatures=["encode"])
    np.testing.assert_allclose(served(exported, x), z_mean(model, x), rtol=1e-5)
    assert os.listdir(exported.parent) == ["1"]
    assert exported.stat().st_mode == exported.parent.stat().st_mode


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        tf.errors.ResourceExhaustedError(None, None, "No space left on device"),
    ],
    ids=["of Python", "of TensorFlow"],
)
def test_a_write_that_fails_leaves_the_old_version(vae, x, exported, monkeypatch, error):
    """Loaded in the middle of writing, and after: all of it is the old one."""
    found = []

    def save(served_, folder, **settings):
        write(served_, folder, **settings)
        found.append(served(exported, x))
        assert [name for name in os.listdir(exported.parent) if name[0] != "."] == ["1"]
        raise error

    write = tf.saved_model.save
    monkeypatch.setattr(tf.saved_model, "save", save)
    with pytest.raises(type(error), match="No space left"):
        other().export(exported, verbose=False, signatures=["encode"])
    np.testing.assert_allclose([*found, served(exported, x)], [z_mean(vae, x)] * 2, rtol=1e-5)
    with pytest.raises(type(error), match="No space left"):
        other().export(exported.parent / "2", verbose=False, signatures=["encode"])
    assert os.listdir(exported.parent) == ["1"]


def foreign_file(folder):
    folder.parent.mkdir()
    folder.write_text("mine")


def foreign_folder(folder):
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")


def no_graph(folder):
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_text("mine")


def foreign_model(folder):
    module = tf.Module()
    module.f = tf.function(lambda x: x, input_signature=[tf.TensorSpec([])])
    tf.saved_model.save(module, str(folder))


def versions(folder):
    (folder / "1" / "variables").mkdir(parents=True)


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (foreign_file, r"model/1, a file\. Choose another, or remove it\."),
        (
            foreign_folder,
            r"model/1, a folder with notes\.txt\. Choose another, such as .*/1/1",
        ),
        (no_graph, r"a folder with saved_model\.pb\. "),
        (foreign_model, r"a folder with .*saved_model\.pb"),
        (versions, r"a folder with 1\. "),
    ],
)
def test_what_others_made_is_not_replaced(vae, tmp_path, make, found):
    target = tmp_path / "model" / "1"
    make(target)
    before = sorted(target.parent.rglob("*"))
    with pytest.raises(
        ValueError, match="`filepath` must name a new folder, .*Received: .*" + found
    ):
        vae.export(target, verbose=False, signatures=["encode"])
    assert sorted(target.parent.rglob("*")) == before


@pytest.mark.slow
@pytest.mark.parametrize("place", [".", "assets.extra"])
def test_files_of_others_in_an_export_are_not_lost(vae, exported, place, monkeypatch):
    """Nor those that are put there while the next one is written."""

    def save(served_, folder, **settings):
        write(served_, folder, **settings)
        (exported / place).mkdir(exist_ok=True)
        (exported / place / "requests").write_text("mine")

    write = tf.saved_model.save
    monkeypatch.setattr(tf.saved_model, "save", save)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"a folder with (requests|assets\.extra/requests)\. "):
            vae.export(exported, verbose=False, signatures=["encode"])
        assert (exported / place / "requests").read_text() == "mine"
        monkeypatch.undo()


@pytest.mark.slow
def test_the_path_is_understood(vae, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    vae.export("~/home/1", signatures=["encode"])
    assert "Exported to ~/home/1," in capsys.readouterr().out
    vae.export("here/1/", verbose=False, signatures=["encode"])
    (tmp_path / "link").symlink_to("here/1")
    vae.export("link", verbose=False, signatures=["encode"])
    assert (tmp_path / "link").is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["here", "home", "link"]
    for folder in ("home", "here"):
        assert os.listdir(tmp_path / folder) == ["1"]
        assert (tmp_path / folder / "1" / "saved_model.pb").is_file()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", r"`filepath` must name the folder to write, .*Received: ''"),
        ("gs://bucket/1", r"`filepath` must be a folder of a local .*Received: gs://bucket/1"),
    ],
)
def test_paths_that_name_no_folder_are_refused(vae, tmp_path, monkeypatch, path, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        vae.export(path, verbose=False, signatures=["encode"])
    assert os.listdir(tmp_path) == []


KILLED = """
    import os, signal, sys
    import keras
    import tensorflow as tf
    from tests.conftest import mlp_vae

    def save(*arguments, **settings):
        write(*arguments, **settings)
        os.kill(os.getpid(), signal.SIGKILL)

    write, tf.saved_model.save = tf.saved_model.save, save
    mlp_vae().export(sys.argv[1], verbose=False, signatures=["encode"])
"""


@pytest.mark.slow
def test_a_killed_process_leaves_the_old_version(vae, x, exported):
    """Other moments are those of `test_folders.py`."""
    program = [sys.executable, "-c", textwrap.dedent(KILLED), str(exported)]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    np.testing.assert_allclose(served(exported, x), z_mean(vae, x), rtol=1e-5)
    (left,) = [name for name in os.listdir(exported.parent) if name != "1"]
    assert (exported.parent / left / "new" / "saved_model.pb").is_file()
    other().export(exported, verbose=False, signatures=["encode"])
    np.testing.assert_allclose(served(exported, x), z_mean(other(), x), rtol=1e-5)
    assert os.listdir(exported.parent) == ["1"]


@pytest.mark.slow
def test_whoever_sees_a_new_version_can_load_it(vae, x, tmp_path, monkeypatch):
    """Before and after each change of a name a server looks for versions, and loads all of them."""
    model, found = tmp_path / "model", []

    def look():
        versions = sorted(name for name in os.listdir(model) if name.isdigit())
        for name in versions:
            assert served(model / name, x).shape == (3, 2)
        found.append(versions)

    def rename(source, goal):
        look()
        os_rename(source, goal)
        look()

    os_rename = os.rename
    monkeypatch.setattr(os, "rename", rename)
    for version in ("1", "2"):
        vae.export(model / version, verbose=False, signatures=["encode"])
    # The first look of each is for a version to replace, which is not there.
    assert found == [[], [], ["1"], ["1"], ["1"], ["1", "2"]]
