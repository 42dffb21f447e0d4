"""How does a program ask TensorFlow Serving, by its own protocols?

Sends digits to a server and prints log p(x) of each: rows with seeds of their own, which the server
may put into one batch with those of others. Needs no TensorFlow, only numpy and the protocols:

    pip install grpcio numpy tensorflow-serving-api
    python examples/serving/grpc_client.py --server localhost:8500 --model digits_small

(`tensorflow-serving-api` brings TensorFlow along, for its protocols of tensors.)
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
import numpy as np
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

TYPES = {
    "float32": types_pb2.DT_FLOAT,
    "float64": types_pb2.DT_DOUBLE,
    "int32": types_pb2.DT_INT32,
    "int64": types_pb2.DT_INT64,
}
ARRAYS = {number: np.dtype(name) for name, number in TYPES.items()}
FIELDS = {
    types_pb2.DT_FLOAT: "float_val",
    types_pb2.DT_DOUBLE: "double_val",
    types_pb2.DT_INT32: "int_val",
    types_pb2.DT_INT64: "int64_val",
}


def to_proto(array: np.ndarray) -> tensor_pb2.TensorProto:
    """Returns an array as the server takes it."""
    sizes = [tensor_shape_pb2.TensorShapeProto.Dim(size=size) for size in array.shape]
    return tensor_pb2.TensorProto(
        dtype=TYPES[array.dtype.name],
        tensor_shape=tensor_shape_pb2.TensorShapeProto(dim=sizes),
        tensor_content=np.ascontiguousarray(array).tobytes(),
    )


def to_array(proto: tensor_pb2.TensorProto) -> np.ndarray:
    """Returns an answer of the server as an array."""
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_content:
        return np.frombuffer(proto.tensor_content, ARRAYS[proto.dtype]).reshape(shape)
    values = np.array(getattr(proto, FIELDS[proto.dtype]), ARRAYS[proto.dtype])
    # One value stands for all where they are the same.
    return np.broadcast_to(values, shape) if values.size == 1 else values.reshape(shape)


def predict(
    stub: Any, model: str, signature: str, inputs: Mapping[str, np.ndarray], timeout: float = 10.0
) -> dict[str, np.ndarray]:
    """Returns the outputs of a signature by name.

    Raises:
        grpc.RpcError: The server refused; `details()` has the sentence of the model.
    """
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(to_proto(np.asarray(value)))
    answer = stub.Predict(request, timeout)
    return {name: to_array(proto) for name, proto in answer.outputs.items()}


def sentence_of(details: str) -> str:
    """Returns what the model said within what the server made of it."""
    found = re.search("<tfvae>(.*?)</tfvae>", details, re.DOTALL)
    return found.group(1) if found else details


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description="Ask TensorFlow Serving for log p(x) of digits.")
    parser.add_argument("--server", default="localhost:8500", help="host and port of gRPC")
    parser.add_argument("--model", default="digits_small", help="name of the model")
    parser.add_argument("--num", type=int, default=4, help="digits to draw and score")
    options = parser.parse_args(argv)
    # Plain text: for a server of this machine, or behind a proxy that encrypts.
    with grpc.insecure_channel(options.server) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        rows = np.arange(options.num, dtype="int32")
        seeds = np.stack([rows, rows + 1], axis=-1)
        ones = np.ones(options.num, "int32")
        drawn = predict(stub, options.model, "generate", {"num_samples": ones, "seed": seeds})
        request = {"x": drawn["x"], "num_samples": 100 * ones, "seed": seeds}
        scores = predict(stub, options.model, "log_prob", request)
        pairs = zip(scores["log_prob"], scores["standard_error"], strict=True)
        for row, (score, error) in enumerate(pairs):
            print(f"digit {row}: log p(x) = {score:.2f} +- {error:.2f} nats")
        try:
            predict(stub, options.model, "encode", {"x": np.full_like(drawn["x"], np.nan)})
        except grpc.RpcError as error:
            print(f"refused, as it should be: {sentence_of(error.details())}")


if __name__ == "__main__":
    main()
