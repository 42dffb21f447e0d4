"""A file that is whole or told apart, with the one before it."""

import errno
import os

import numpy as np
import pytest
import tensorflow as tf

from tfvae.callbacks import files
from tfvae.callbacks.files import CheckedFile

CONTENT = {
    "numbers": [1, 2.5, None, True, "text", float("inf")],
    "arrays": [np.arange(6.0).reshape(2, 3), np.zeros([0, 4], "int32"), np.array(7, "uint8")],
    "deep": {"a": {"b": np.float32(0.1)}},
    "other types": tf.constant([1.5, -2.0], tf.bfloat16).numpy(),
}


def written(path, *contents):
    file = CheckedFile(path)
    for content in contents:
        file.write(content)
    return file


def test_what_is_written_is_read(tmp_path):
    file = written(tmp_path / "deep" / "run", CONTENT)
    found = CheckedFile(file.path).read()
    assert found["numbers"] == CONTENT["numbers"]
    for one, other in zip(found["arrays"], CONTENT["arrays"], strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
    assert found["deep"]["a"]["b"] == np.float32(0.1)
    assert found["other types"].dtype == CONTENT["other types"].dtype
    np.testing.assert_array_equal(found["other types"], CONTENT["other types"])
    assert os.listdir(file.path.parent) == ["run"]
    assert CheckedFile(tmp_path / "none").read() is None


def damaged(stored, how, place):
    """Returns bytes with something gone, changed, or from elsewhere."""
    if how == "cut":
        return stored[:place]
    if how == "changed":
        return stored[:place] + bytes([stored[place] ^ 1]) + stored[place + 1 :]
    return {"empty": b"", "zeros": bytes(len(stored)), "foreign": b"\x89HDF\r\n" + stored}[how]


@pytest.mark.parametrize("how", ["cut", "changed", "empty", "zeros", "foreign"])
def test_a_damaged_file_is_named_and_the_one_before_it_used(tmp_path, how):
    file = written(tmp_path / "run", {"a": 1}, {"a": 2})
    whole = file.path.read_bytes()
    for place in np.random.default_rng(0).integers(0, len(whole), 20):
        file.path.write_bytes(damaged(whole, how, place))
        again = CheckedFile(file.path)
        with pytest.warns(UserWarning, match=rf"{file.path}: (its checksum|it is no checkpoint)"):
            assert again.read() == {"a": 1}
    # The good one is not given away for what is written next.
    again.write({"a": 3})
    assert CheckedFile(file.path).read() == {"a": 3}
    file.path.write_bytes(b"")
    with pytest.warns(UserWarning, match="it is no checkpoint"):
        assert CheckedFile(file.path).read() == {"a": 1}
    file.previous.write_bytes(b"")
    with pytest.raises(ValueError, match=r"No checkpoint can be used.*run: .*run\.previous: "):
        CheckedFile(file.path).read()


def test_the_one_before_it_is_used_where_there_is_no_other(tmp_path):
    file = written(tmp_path / "run", {"a": 1}, {"a": 2})
    file.path.unlink()  # as between the two names
    assert CheckedFile(file.path).read() == {"a": 1}


def test_no_file_holds_code(tmp_path):
    """An object that would run code when it is unpickled is refused where it is written."""

    class Bomb:
        def __reduce__(self):
            return os.system, ("touch exploded",)

    with pytest.raises(TypeError, match=r"no other objects\. Received: Bomb"):
        written(tmp_path / "run", {"a": Bomb()})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_what_is_there_stays_where_nothing_can_be_written(tmp_path, monkeypatch, call):
    file = written(tmp_path / "run", {"a": 1}, {"a": 2})

    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(files.os, call, fail)
        with pytest.raises(OSError, match="No space"):
            file.write({"a": 3})
    found = [CheckedFile(file.path).read(), CheckedFile(file.previous).read()]
    assert found == [{"a": 2}, {"a": 1}]
    assert sorted(os.listdir(tmp_path)) == ["run", "run.previous"]
