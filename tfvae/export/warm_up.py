"""Requests by which TensorFlow Serving warms up a version before it answers others."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfvae._protocols import Served
from tfvae.export.card import EXTRA
from tfvae.export.verification import request_of

__all__ = ["write_warm_up_requests"]

_FILE = "tf_serving_warmup_requests"


def write_warm_up_requests(
    model: Served, traced: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path
) -> None:
    """Writes one request for each signature, in the format of TensorFlow Serving.

    The first request of a signature waits for its graph to be rewritten and for kernels to be
    chosen. The server sends itself these before a version becomes available.

    Args:
        model: A built model.
        traced: Its signatures, as graphs.
        inputs: Valid inputs of all of them, by name.
        folder: The SavedModel, which nobody reads yet.

    Raises:
        ImportError: The protocols of TensorFlow Serving are not installed.

    Reference: https://www.tensorflow.org/tfx/serving/saved_model_warmup
    """
    try:
        logs: Any = importlib.import_module("tensorflow_serving.apis.prediction_log_pb2")
    except ImportError as error:
        raise ImportError(
            "Requests to warm up are written by the protocols of TensorFlow Serving, which are not "
            'installed: `pip install "tfvae[serving]"`.'
        ) from error
    extra = folder / EXTRA
    extra.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(extra / _FILE)) as writer:
        for name, function in traced.items():
            log = logs.PredictionLog()
            request = log.predict_log.request
            request.model_spec.name = str(getattr(model, "name", "model"))
            request.model_spec.signature_name = name
            for key, value in request_of(function, inputs).items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(value.numpy()))
            writer.write(log.SerializeToString())
