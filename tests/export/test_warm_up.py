"""Requests to warm up, where the extra `serving` is installed, and what is said where it is not."""

import importlib.util
import json

import pytest
import tensorflow as tf

from tests.kinds import kind

installed = importlib.util.find_spec("tensorflow_serving") is not None


@pytest.mark.skipif(installed, reason="needs the extra `serving` not to be there")
@pytest.mark.slow
def test_the_extra_is_named(tmp_path):
    with pytest.raises(ImportError, match=r"not installed: `pip install \"tfvae\[serving\]\"`"):
        kind("plain")[0].export(tmp_path / "1", signatures=["encode"], warm_up=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not installed, reason="needs the extra `serving`")
@pytest.mark.slow
def test_requests_are_answered(tmp_path):
    from tensorflow_serving.apis import prediction_log_pb2

    model, _ = kind("plain")
    names = ["encode", "generate", "portable_generate"]
    for _ in range(2):  # Requests of our own are replaced.
        model.export(tmp_path / "1", signatures=names, warm_up=True, verbose=False)
    extra = tmp_path / "1" / "assets.extra"
    assert list(json.loads((extra / "model_card.json").read_text())["files"]) == [
        "tf_serving_warmup_requests"
    ]
    loaded = tf.saved_model.load(str(tmp_path / "1")).signatures
    asked = []
    for record in tf.data.TFRecordDataset(str(extra / "tf_serving_warmup_requests")):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        inputs = {n: tf.constant(tf.make_ndarray(value)) for n, value in request.inputs.items()}
        asked.append(request.model_spec.signature_name)
        assert loaded[asked[-1]](**inputs)
    assert asked == names
