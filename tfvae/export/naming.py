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
_NO_GRADIENT = b"an export does not hold it. Take gradients of the model that was exported."
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
        _hold_gradients(meta.graph_def)
        for name, signature in _own(meta).items():
            for output, info in signature.outputs.items():
                node = meta.graph_def.node.add(name=f"{_PLACE}/{name}/{output}", op="Identity")
                node.input.append(info.name)
                node.attr["T"].type = info.dtype
                info.name = f"{node.name}:0"
    path.write_bytes(saved.SerializeToString(deterministic=True))
    fingerprinting_utils.write_fingerprint(str(folder))


def _hold_gradients(graph: Any) -> None:
    """Refuses gradients of operations that had one of their own, which no file holds.

    Python would warn of each whenever the file is loaded, whoever asks for gradients.
    """
    bodies = [(graph.node, ""), *((f.node_def, ":output:0") for f in graph.library.function)]
    for nodes, place in bodies:
        own = [n for n in nodes if n.op == "IdentityN" and "_gradient_op_type" in n.attr]
        for node in own:
            node.attr.pop("_gradient_op_type")
            for index, dtype in enumerate(node.attr["T"].list.type):
                held = nodes.add(name=f"{node.name}/held_{index}", op="PreventGradient")
                held.input.append(node.input[index])
                held.attr["T"].type = dtype
                held.attr["message"].s = _NO_GRADIENT
                node.input[index] = held.name + place


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
