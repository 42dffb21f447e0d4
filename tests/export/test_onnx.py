"""ONNX files, where the extra `onnx` is installed, and what is said where it is not."""

import importlib.util

import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import slow_but
from tests.kinds import KINDS, kind
from tfvae.export.portable import NotPortable

installed = all(importlib.util.find_spec(name) for name in ("tf2onnx", "onnxruntime"))
with_onnx = pytest.mark.skipif(not installed, reason="needs the extra `onnx`")


def ask(path, **inputs):
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return dict(
        zip([o.name for o in session.get_outputs()], session.run(None, inputs), strict=True)
    )


@pytest.mark.skipif(installed, reason="needs the extra `onnx` not to be there")
def test_the_extra_is_named(tmp_path):
    with pytest.raises(ImportError, match=r"not installed: `pip install \"tfvae\[onnx\]\"`"):
        kind("plain")[0].export_onnx(tmp_path)


@with_onnx
@pytest.mark.slow
def test_files_answer_what_the_model_does(tmp_path, capsys):
    model, x = kind("plain")
    model.export_onnx(tmp_path / "onnx")
    assert "encode.onnx(x), " in capsys.readouterr().out
    for rows in (1, 7):
        found = ask(tmp_path / "onnx" / "encode.onnx", x=x[:rows])
        q_z = model.encode(tf.constant(x[:rows]))
        np.testing.assert_allclose(found["z_mean"], q_z.mean(), atol=1e-5)
        z = np.random.default_rng(0).normal(size=(rows, 2)).astype("float32")
        found = ask(tmp_path / "onnx" / "decode.onnx", z=z)
        np.testing.assert_allclose(found["x_mean"], model.decode(z).mean(), atol=1e-5)
        noise = np.random.default_rng(1).normal(size=(rows, 50, 2)).astype("float32")
        found = ask(tmp_path / "onnx" / "log_prob.onnx", x=x[:rows], noise_1=noise)
        z = q_z.mean() + q_z.stddev() * np.moveaxis(noise, 1, 0)
        log_w = model.decode(z).log_prob(np.tile(x[:rows], [50, 1, 1])) - q_z.log_prob(z)
        log_w += model.prior_distribution().log_prob(z)
        expected = tf.reduce_logsumexp(log_w, axis=0) - np.log(50.0)
        np.testing.assert_allclose(found["log_prob"], expected, rtol=1e-5)


@with_onnx
@pytest.mark.parametrize("name", slow_but(of=list(KINDS)))
def test_every_kind_of_model_has_files_that_are_compared(name, tmp_path):
    model, _ = kind(name)
    model.export_onnx(tmp_path, verbose=False)
    assert {"encode.onnx", "decode.onnx"} & {path.name for path in tmp_path.iterdir()}


@with_onnx
def test_what_cannot_be_is_refused_and_leaves_no_file(tmp_path):
    model, _ = kind("directions")
    with pytest.raises(NotPortable, match="by trial and error"):
        model.export_onnx(tmp_path / "new", signatures=["portable_elbo"])
    with pytest.raises(ValueError, match=r"must name some of portable_encode, .*\['encode'\]"):
        model.export_onnx(tmp_path / "new", signatures=["encode"])
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match=r"must name a folder .* Received: .*file"):
        model.export_onnx(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
