"""Graphs of few plain operations: what depends on nothing but sizes is worked out beforehand.

Distributions ask again and again for shapes, compare and join them: nine tenths of the operations
of a graph, of which some are known to TensorFlow alone. What comes of them is a constant, or a size
that is given. They are run for a few sizes, and what they gave is written in their place.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae._typing import Tensor
from tfvae.export.plain import PLAIN

__all__ = ["RUNS", "Specialised", "outputs_of", "reached", "size_of"]

# Which sizes stand for which numbers in each run: products of them are told apart.
RUNS = ({"S": 2, "B": 5}, {"S": 3, "B": 5}, {"S": 2, "B": 7})
_MONOMIALS = ((), ("B",), ("S",), ("S", "B"))

_SAME = {"CheckNumerics", "EnsureShape", "Identity", "PreventGradient", "Snapshot", "StopGradient"}
# Whose result is their first input where both have one shape.
_MAYBE_SAME = {"BroadcastTo", "Reshape"}


def size_of(values: Sequence[int]) -> tuple[int, tuple[str, ...]] | None:
    """Returns a number in each run as a multiple of sizes, or None.

    Example:
        >>> from tfvae.export.specialised import size_of
        >>> size_of([4, 4, 4]), size_of([20, 30, 28]), size_of([5, 6, 7])
        ((4, ()), (2, ('S', 'B')), None)
    """
    for names in _MONOMIALS:
        units = [int(np.prod([run[name] for name in names], dtype=int)) for run in RUNS]
        factor = int(values[0]) // units[0]
        if all(int(v) == factor * unit for v, unit in zip(values, units, strict=True)):
            return factor, names
    return None


def outputs_of(traced: Any) -> dict[str, str]:
    """Returns the tensors of a graph that its outputs are, by name."""
    return {n: out.name.removesuffix(":0") for n, out in traced.structured_outputs.items()}


def reached(
    nodes: Mapping[str, Any], tensors: Iterable[str], cut: Container[str] = ()
) -> dict[str, None]:
    """Returns the tensors that others are made of, with them, first those that make.

    Args:
        nodes: Those of a graph, by name.
        tensors: Where to begin.
        cut: Names of nodes whose inputs do not count.
    """
    found: dict[str, None] = {}
    stack = [(tensor, False) for tensor in tensors]
    while stack:
        tensor, done = stack.pop()
        if done:
            found[tensor] = None
        elif tensor not in found:
            stack.append((tensor, True))
            node = nodes[tensor.split(":")[0]]
            stack += [(read, False) for read in _data_inputs(node) if node.name not in cut]
    return found


class Specialised:
    """A traced function as a graph of few operations, of which some give way to inputs.

    Args:
        traced: A concrete function with named inputs, and a dict of outputs.
        inputs: From a run, sizes by name, to values of the inputs.
        cut: Names of nodes in whose place there are inputs.
    """

    def __init__(
        self,
        traced: Any,
        inputs: Callable[[Mapping[str, int]], Mapping[str, Tensor]],
        cut: Sequence[str] = (),
    ) -> None:
        self._traced, self._inputs, self._cut = traced, inputs, set(cut)
        definition = traced.graph.as_graph_def()
        self._library = definition.library
        for inner in (node for function in self._library.function for node in function.node_def):
            inner.attr.pop("_gradient_op_type", None)  # TensorFlow cannot write such in a copy.
        self.nodes = {node.name: node for node in definition.node}
        self._outputs = outputs_of(traced)
        self._graph = tf.compat.v1.GraphDef()
        self._made: dict[str, str] = {}
        self._names: set[str] = set()
        self._constants: dict[Any, str] = {}
        self._reads = {}
        for variable in traced.graph.variables:
            self._reads[traced.graph.capture(variable.handle).op.name] = variable
        self._sized: dict[str, bool] = {}
        self.values = self._run([*self._reached(self._outputs.values())])
        self._results = {name: self._resolved(tensor) for name, tensor in self._outputs.items()}
        self._forget_unread()

    @property
    def ops(self) -> dict[str, int]:
        """How often there is each operation."""
        found: dict[str, int] = {}
        for node in self._graph.node:
            found[node.op] = found.get(node.op, 0) + 1
        return found

    def __call__(self, given: Mapping[str, Tensor], sizes: Mapping[str, Tensor]) -> Any:
        """Returns outputs by name.

        Args:
            given: By the names of inputs and of nodes that are cut.
            sizes: The sizes that there are, int32 scalars.
        """
        names = {node.name for node in self._graph.node}
        places = {f"{name}:0": value for name, value in given.items() if name in names}
        places |= {f"size_{name}:0": v for name, v in sizes.items() if f"size_{name}" in names}
        for place, variable in self._reads.items():
            if f"{place}/read" in names:
                places[f"{place}/read:0"] = variable.value()
        found = tf.graph_util.import_graph_def(
            self._graph, places, [_with_place(each) for each in self._results.values()], name=""
        )
        return {n: tf.identity(t) for n, t in zip(self._results, found, strict=True)}

    def _reached(self, tensors: Any) -> dict[str, None]:
        return reached(self.nodes, tensors, self._cut)

    def _node(self, tensor: str) -> Any:
        return self.nodes[tensor.split(":")[0]]

    def _run(self, tensors: list[str]) -> list[dict[str, np.ndarray]]:
        """Returns the value of each tensor in each run."""
        graph = self._traced.graph
        names = [_with_place(tensor) for tensor in tensors]
        kept = [(t, n) for t, n in zip(tensors, names, strict=True) if _is_array(graph, n)]

        def run(sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
            given = self._inputs(sizes)

            @tf.function(autograph=False)
            def everything() -> list[Tensor]:
                places = {f"{name}:0": tf.identity(value) for name, value in given.items()}
                captured = {
                    inner.name: tf.compat.v1.get_default_graph().capture(outer)
                    for outer, inner in graph.captures
                }
                return tf.graph_util.import_graph_def(
                    graph.as_graph_def(), {**places, **captured}, [n for _, n in kept], name=""
                )

            values = everything.get_concrete_function()()
            return {t: v.numpy() for (t, _), v in zip(kept, values, strict=True)}

        return [run(sizes) for sizes in RUNS]

    def _depends_on_values(self, tensor: str) -> bool:
        """Whether a tensor depends on more than sizes."""
        name = tensor.split(":")[0]
        if name not in self._sized:
            for each in self._reached([tensor]):
                own = each.split(":")[0]
                if own not in self._sized:
                    self._sized[own] = self._depends_by_itself(own)
        return self._sized[name]

    def _depends_by_itself(self, name: str) -> bool:
        node = self.nodes[name]
        if name in self._cut:
            return True
        if node.op == "Placeholder":
            return name != "num_samples"
        if node.op in {"Shape", "ShapeN", "Size", "Rank"}:
            return False
        # Functions and tables may do anything.
        if "Stateless" in node.op or node.op.endswith("PartitionedCall"):
            return True
        return any(self._sized[read.split(":")[0]] for read in _data_inputs(node))

    # What is made of it.

    def _resolved(self, tensor: str) -> str:
        """Returns the name of what stands for a tensor."""
        for each in self._reached([tensor]):
            if each not in self._made:
                self._made[each] = self._written(each)
        return self._made[tensor]

    def _written(self, tensor: str) -> str:
        node = self._node(tensor)
        if node.name in self._cut or node.op == "Placeholder":
            return self._placeholder(node)
        if not self._depends_on_values(tensor):
            known = self._known(tensor)
            if known is not None:
                return known
        inputs = [self._made[read] for read in _data_inputs(node)]
        if node.op == "ReadVariableOp":
            return self._read(node)
        if node.op == "IdentityN":  # Holds the gradient of what has one of its own.
            return inputs[int(tensor.partition(":")[2] or 0)]
        if node.op in _SAME or (node.op in _MAYBE_SAME and self._is_same(node, tensor)):
            return inputs[0]
        if node.op == "Reshape":
            inputs[1] = self._open(node, inputs[1])
        return self._copied(node, inputs) + tensor[len(node.name) :]

    def _forget_unread(self) -> None:
        """Leaves out what was read by operations that are no longer there."""
        nodes = {node.name: node for node in self._graph.node}
        left, read = [*self._results.values()], dict[str, None]()
        while left:
            name = left.pop().split(":")[0]
            if name not in read:
                read[name] = None
                left += nodes[name].input
        kept = [node for node in self._graph.node if node.name in read]
        self._graph = tf.compat.v1.GraphDef(node=kept, library=self._library)

    def outputs_of_run(self, index: int) -> dict[str, np.ndarray]:
        """Returns what the traced function itself gave in a run, by name."""
        return {name: self.values[index][tensor] for name, tensor in self._outputs.items()}

    def _copied(self, node: Any, inputs: list[str]) -> str:
        plain = PLAIN.get(node.op)
        if plain is not None:
            return plain(self, node, inputs)
        return self.add(node.op, node.name, inputs, node)

    def add(self, op: str, name: str, inputs: Sequence[str], like: Any = None) -> str:
        """Adds an operation with the attributes of another, and returns its name."""
        if name in self._names:
            return name
        made = self._graph.node.add(op=op, name=name)
        if like is not None:
            for key, value in like.attr.items():
                if not key.startswith("_"):
                    made.attr[key].CopyFrom(value)
        made.input.extend(inputs)
        self._names.add(name)
        return name

    def num_states(self, node: Any) -> int:
        """Returns the last size of the first input of an operation."""
        return self.values[0][_data_inputs(node)[0]].shape[-1]

    def _placeholder(self, node: Any) -> str:
        if node.name not in self._names:
            made = self._graph.node.add(op="Placeholder", name=node.name)
            key = "T" if "T" in node.attr and "dtype" not in node.attr else "dtype"
            made.attr["dtype"].type = node.attr[key].type
            self._names.add(node.name)
        return node.name

    def _read(self, node: Any) -> str:
        name = f"{node.input[0].split(':')[0]}/read"
        if name not in self._names:
            made = self._graph.node.add(op="Placeholder", name=name)
            made.attr["dtype"].type = node.attr["dtype"].type
            self._names.add(name)
        return name

    def _known(self, tensor: str) -> str | None:
        """Returns a constant, or sizes, in place of what depends on sizes alone."""
        values: list[Any] = [run.get(tensor) for run in self.values]
        first = values[0]
        if first is None or any(value.shape != first.shape for value in values):
            return None
        if all(np.array_equal(value, first, equal_nan=first.dtype.kind == "f") for value in values):
            return self.constant(first)
        if first.dtype.kind != "i" or first.ndim > 1:
            return None
        columns = [v.reshape(-1) for v in values]
        sizes = [size_of(each) for each in zip(*columns, strict=True)]
        if None in sizes:
            return None
        parts = [self._size(size, first.dtype) for size in sizes if size is not None]
        return self._packed(parts, first.dtype) if first.ndim else parts[0]

    def constant(self, value: np.ndarray) -> str:
        """Returns the name of a constant."""
        key = value.tobytes(), value.shape, value.dtype.name
        name = self._constants.setdefault(key, f"known_{len(self._constants)}")
        if name not in self._names:
            made = self._graph.node.add(op="Const", name=name)
            made.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
            made.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
            self._names.add(name)
        return name

    def _size(self, size: tuple[int, tuple[str, ...]], dtype: Any) -> str:
        factor, names = size
        if not names:
            return self.constant(np.array(factor, dtype))
        found = [self._size_input(name, dtype) for name in names]
        found += [self.constant(np.array(factor, dtype))] if factor != 1 else []
        while len(found) > 1:
            one, other, *rest = found
            name = f"{one}_times_{other}"
            if name not in self._names:
                made = self._graph.node.add(op="Mul", name=name, input=[one, other])
                made.attr["T"].type = tf.as_dtype(dtype).as_datatype_enum
                self._names.add(name)
            found = [name, *rest]
        return found[0]

    def _size_input(self, name: str, dtype: Any) -> str:
        place = f"size_{name}"
        if place not in self._names:
            made = self._graph.node.add(op="Placeholder", name=place)
            made.attr["dtype"].type = tf.int32.as_datatype_enum
            self._names.add(place)
        if np.dtype(dtype) == np.int32:
            return place
        wide = f"{place}_{np.dtype(dtype).name}"
        if wide not in self._names:
            made = self._graph.node.add(op="Cast", name=wide, input=[place])
            made.attr["SrcT"].type = tf.int32.as_datatype_enum
            made.attr["DstT"].type = tf.as_dtype(dtype).as_datatype_enum
            self._names.add(wide)
        return wide

    def _packed(self, parts: list[str], dtype: Any) -> str:
        name = f"packed_{'_'.join(parts)}"
        if name not in self._names:
            made = self._graph.node.add(op="Pack", name=name, input=parts)
            made.attr["N"].i = len(parts)
            made.attr["T"].type = tf.as_dtype(dtype).as_datatype_enum
            self._names.add(name)
        return name

    def _is_same(self, node: Any, tensor: str) -> bool:
        before = _data_inputs(node)[0]
        shapes = [(run.get(before), run.get(tensor)) for run in self.values]
        return all(a is not None and b is not None and a.shape == b.shape for a, b in shapes)

    def _open(self, node: Any, shape: str) -> str:
        """Returns the new shape of a reshape as a constant, where all but one size is known."""
        asked = _data_inputs(node)[1]
        values = [run.get(asked) for run in self.values]
        if self._depends_on_values(asked) or any(value is None for value in values):
            return shape
        stacked: Any = np.stack([np.asarray(value) for value in values])
        moves = np.any(stacked != stacked[0], axis=0)
        if moves.sum() != 1 or -1 in stacked[0]:
            return shape
        return self.constant(np.where(moves, -1, stacked[0]).astype(stacked.dtype))


def _data_inputs(node: Any) -> list[str]:
    return [each.removesuffix(":0") for each in node.input if not each.startswith("^")]


def _with_place(tensor: str) -> str:
    return tensor if ":" in tensor else f"{tensor}:0"


def _is_array(graph: Any, name: str) -> bool:
    return graph.get_tensor_by_name(name).dtype not in (tf.resource, tf.variant)
