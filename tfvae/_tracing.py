"""Graphs that are traced to be looked at, and what the process would keep of any graph for ever."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow.python.framework import ops
from tensorflow.python.ops import control_flow_util

__all__ = ["in_xla", "noting_graphs", "outputs_of", "release", "unconverted"]

_Method = TypeVar("_Method", bound=Callable[..., Any])

_CONTROL_FLOW = {"Case", "If", "StatelessCase", "StatelessIf", "StatelessWhile", "While"}


def unconverted(method: _Method) -> _Method:
    """Marks a method that AutoGraph leaves as it is, with all that it calls.

    In a `tf.function` of the user's it would translate this package and TFP, file by file, which
    takes seconds, cannot be done for all of it, and warns of that. Nothing here needs it.

    Args:
        method: Of a model; the same is returned, with its name and signature.
    """
    return tf.autograph.experimental.do_not_convert(method)


def in_xla() -> bool:
    """Whether what is traced now is for XLA: a function with `jit_compile=True`, or one within.

    A function that was traced before, and is called by one that XLA compiles, was not.
    """
    return control_flow_util.GraphOrParentsInXlaContext(ops.get_default_graph())


def outputs_of(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Returns what `function` returns, as tensors without values: it is traced, and never run.

    What makes weights makes them so outside of the graph, without a pass through the networks.

    Args:
        function: Takes tensors.
        *args: A `tf.TensorSpec` for each.
        **kwargs: The same, by name.
    """
    graphs: list[Any] = []
    noted = tf.function(noting_graphs(function, graphs), autograph=False)
    traced = noted.get_concrete_function(*args, **kwargs)
    release(graphs)
    return traced.structured_outputs


def noting_graphs(function: Callable[..., Any], graphs: list[Any]) -> Callable[..., Any]:
    """Returns `function`, which adds the graphs that it is traced in: two, where it makes weights.

    Args:
        function: What is to be traced.
        graphs: The list that they are added to.
    """

    @functools.wraps(function)
    def traced(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        finally:  # Not before, while another thread could take it for finished.
            graphs.append(tf.compat.v1.get_default_graph())

    # TensorFlow counts tracings by the code that is wrapped, which is one for all models, and warns
    # of "excessive" ones where each model is traced once. A partial function has no code to show.
    traced.__wrapped__ = functools.partial(function)
    return traced


def release(graphs: list[Any]) -> None:
    """Lets go of graphs that are traced and of which nobody takes a gradient from outside.

    Two registries of the process would hold them, with the Python objects of all operations, for
    ever:

    - each `tf.custom_gradient` in a graph is registered by a name of its own, together with the
      tensors that it closes over;
    - the cache that all bijectors share holds the input of a transformation as long as its output
      lives, and within one graph each tensor keeps all others alive.

    Args:
        graphs: Those of a `tf.function`, with those of their branches and loops. Left empty.
    """
    with contextlib.suppress(IndexError):  # Several threads may empty the list.
        while True:
            _release(graphs.pop())


def _release(graph: Any) -> None:
    definition = graph.as_graph_def()
    bodies = {f.signature.name: f.node_def for f in definition.library.function}
    for node in _own_nodes(definition.node, bodies):
        if node.op == "IdentityN" and "_gradient_op_type" in node.attr:
            _gradients().pop(node.attr["_gradient_op_type"].s.decode(), None)
    transformed = _transformed()
    for key in list(transformed):
        if any(_is_within(getattr(x, "graph", None), graph) for x in tf.nest.flatten(key())):
            transformed.pop(key, None)


def _own_nodes(nodes: Iterable[Any], bodies: dict[str, Any]) -> Iterator[Any]:
    """Yields nodes, with those of branches and loops: other functions may serve other graphs."""
    for node in nodes:
        yield node
        if node.op not in _CONTROL_FLOW:
            continue
        for attribute in node.attr.values():
            for function in (attribute.func, *attribute.list.func):
                yield from _own_nodes(bodies.get(function.name, ()), bodies)


def _is_within(inner: Any, graph: Any) -> bool:
    while inner is not None and inner is not graph:
        inner = getattr(inner, "outer_graph", None)
    return inner is graph


def _gradients() -> dict[str, Any]:
    """Returns the gradients of operations, by name, of this process."""
    return ops.gradient_registry._registry


def _transformed() -> dict[Any, Any]:
    """Returns what all bijectors have transformed."""
    return tfp.bijectors.Bijector._cache.storage
