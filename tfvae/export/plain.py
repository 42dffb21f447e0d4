"""What some operations are in plain ones, which runtimes without TensorFlow know too.

`SoftmaxCrossEntropyWithLogits` is not known to TensorFlow.js, others are not to LiteRT. Densities
are finite where data is, so that no infinity is ever multiplied by zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

__all__ = ["PLAIN"]


class Graph(Protocol):
    """What is added to."""

    def add(self, op: str, name: str, inputs: Sequence[str], like: Any = None) -> str:
        """Adds an operation with the attributes of another, and returns its name."""
        ...

    def constant(self, value: np.ndarray) -> str:
        """Returns the name of a constant."""
        ...

    def num_states(self, node: Any) -> int:
        """Returns the last size of the first input of an operation."""
        ...


def _type(node: Any) -> Any:
    return tf.as_dtype(node.attr["T"].type).as_numpy_dtype


def _one(graph: Graph, node: Any) -> str:
    return graph.constant(np.array(1.0, _type(node)))


def _typed(node: Any, **types: int) -> Any:
    """Returns attributes of an operation on floats such as those of a node, and others."""
    like = tf.compat.v1.NodeDef()
    like.attr["T"].CopyFrom(node.attr["T"])
    for name, value in types.items():
        like.attr[name].type = value
    return like


def _product(graph: Graph, node: Any, inputs: list[str]) -> str:
    return graph.add("Mul", node.name, inputs, node)


def _expm1(graph: Graph, node: Any, inputs: list[str]) -> str:
    """exp(x) - 1 = tanh(x / 2) (exp(x) + 1), to all digits for small x too."""
    name, half = node.name, graph.constant(np.array(0.5, _type(node)))
    raised = graph.add("Exp", f"{name}/exp", inputs, node)
    more = graph.add("AddV2", f"{name}/more", [raised, _one(graph, node)], node)
    halved = graph.add("Mul", f"{name}/half", [*inputs, half], node)
    return graph.add("Mul", name, [graph.add("Tanh", f"{name}/tanh", [halved], node), more], node)


def _log1p(graph: Graph, node: Any, inputs: list[str]) -> str:
    """log(u) x / (u - 1) with u = 1 + x as it is rounded, to all digits for small x too."""
    name, one = node.name, _one(graph, node)
    more = graph.add("AddV2", f"{name}/more", [*inputs, one], node)
    less = graph.add("Sub", f"{name}/less", [more, one], node)
    rest = graph.add("DivNoNan", f"{name}/rest", [*inputs, less], node)
    log = graph.add("Log", f"{name}/log", [more], node)
    product = graph.add("Mul", f"{name}/product", [log, rest], node)
    zero = graph.constant(np.array(0.0, _type(node)))
    is_small = graph.add("Equal", f"{name}/small", [less, zero], node)
    return graph.add("SelectV2", name, [is_small, *inputs, product], node)


def _cross_entropy(graph: Graph, node: Any, inputs: list[str]) -> str:
    """-sum_k p_k log softmax(l)_k of logits l and probabilities p `[N, K]`."""
    name, like = node.name, _typed(node)
    log_p = graph.add("LogSoftmax", f"{name}/log_softmax", inputs[:1], like)
    parts = graph.add("Mul", f"{name}/parts", [log_p, inputs[1]], like)
    last = graph.constant(np.array([1], np.int32))
    summed = _typed(node, Tidx=tf.int32.as_datatype_enum)
    return graph.add("Neg", name, [graph.add("Sum", f"{name}/sum", [parts, last], summed)], like)


def _cross_entropy_of_states(graph: Graph, node: Any, inputs: list[str]) -> str:
    """-log softmax(l)_k of logits l `[N, K]` and states k `[N]`."""
    like = _typed(node, TI=node.attr["Tlabels"].type)
    like.attr["axis"].i = -1
    depth = graph.constant(np.array(graph.num_states(node), np.int32))
    zero = graph.constant(np.array(0.0, _type(node)))
    given = [inputs[1], depth, _one(graph, node), zero]
    states = graph.add("OneHot", f"{node.name}/one_hot", given, like)
    return _cross_entropy(graph, node, [inputs[0], states])


PLAIN: dict[str, Callable[[Any, Any, list[str]], str]] = {
    "MulNoNan": _product,
    "Expm1": _expm1,
    "Log1p": _log1p,
    "SoftmaxCrossEntropyWithLogits": _cross_entropy,
    "SparseSoftmaxCrossEntropyWithLogits": _cross_entropy_of_states,
}
