"""What is written over in the graph of a SavedModel: names of outputs, which clients address."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.saved_model import fingerprinting_utils

__all__ = ["GRAPH", "is_export", "name_outputs"]

GRAPH = "saved_model.pb"
_PLACE = "answers"
_OF_OLD = {"serving_default", "encode", "decode", "generate", "elbo", "log_prob"}


def name_outputs(folder: Path) -> None:
    """Names each output of a SavedModel by its signature: `answers/encode/z_mean`.

    TensorFlow numbers the calls of signatures in the order of their names, and outputs in the order
    of theirs: `StatefulPartitionedCall_2:1` is another one where a signature is added. Programs in
    C address tensors by these names. Those of inputs, `encode_x`, are TensorFlow's own.

    Args:
        folder: A SavedModel that nobody reads yet.
    """
    path = folder / GRAPH
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for meta in saved.meta_graphs:
        _forget_gradients(meta.graph_def)
        for name, signature in _own(meta).items():
            for output, info in signature.outputs.items():
                node = meta.graph_def.node.add(name=f"{_PLACE}/{name}/{output}", op="Identity")
                node.input.append(info.name)
                node.attr["T"].type = info.dtype
                info.name = f"{node.name}:0"
    path.write_bytes(saved.SerializeToString(deterministic=True))
    fingerprinting_utils.write_fingerprint(str(folder))


def _forget_gradients(graph: Any) -> None:
    """Takes the names of gradients off operations: Python warns of those that no file holds."""
    for nodes in [graph.node, *(function.node_def for function in graph.library.function)]:
        for node in nodes:
            node.attr.pop("_gradient_op_type", None)


def is_export(folder: Path) -> bool:
    """Whether at a path there is a SavedModel of this package.

    All of its outputs are named by `name_outputs`, or it has the six signatures of all before.
    """
    try:
        saved = saved_model_pb2.SavedModel.FromString((folder / GRAPH).read_bytes())
    except (OSError, DecodeError):
        return False
    signatures = [_own(meta) for meta in saved.meta_graphs]
    if any(set(each) >= _OF_OLD for each in signatures):
        return True
    called = [signature for each in signatures for signature in each.values()]
    names = [info.name for signature in called for info in signature.outputs.values()]
    return bool(names) and all(name.startswith(f"{_PLACE}/") for name in names)


def _own(meta: Any) -> dict[str, Any]:
    """Returns the signatures but that by which TensorFlow restores weights."""
    found = meta.signature_def.items()
    return {name: each for name, each in found if not name.startswith("__")}
