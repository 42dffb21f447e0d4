"""The order in which a graph reads and assigns its variables, as TensorFlow runs it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from itertools import combinations
from typing import Any

from tensorflow.python.eager import context

_PASSING = {"Identity", "Switch", "Enter"}
_WRITING = ("Assign", "ResourceApply", "ResourceScatter")


def unordered(function: Callable[..., Any], *args: Any) -> list[tuple[str, str]]:
    """Runs a `tf.function` and returns pairs of operations that either of may come first.

    Of all pairs on one variable, of which at least one assigns it. Read from the graph after
    TensorFlow has rewritten it and put called functions in their places: that is what runs.
    """
    function.get_concrete_function(*args)
    context.enable_run_metadata()
    try:
        function(*args)
        graphs = context.export_run_metadata().function_graphs
    finally:
        context.disable_run_metadata()
    assert graphs
    return [pair for graph in graphs for pair in _Graph(graph.post_optimization_graph).unordered()]


class _Graph:
    """Sets of operations are bits of an integer: what each has to wait for is one."""

    def __init__(self, definition: Any) -> None:
        self.nodes = {node.name: node for node in definition.node}
        self.bits: dict[Any, int] = {}
        self.before: dict[str, int] = {}
        self.switches: set[str] = set()
        self._walk()

    def unordered(self) -> list[tuple[str, str]]:
        variables = defaultdict(list)
        for name, node in self.nodes.items():
            if node.op in ("ReadVariableOp", "ResourceGather") or node.op.startswith(_WRITING):
                variables[self._variable(name)].append(name)
        return [
            pair
            for names in variables.values()
            for pair in combinations(names, 2)
            if any(self.nodes[name].op.startswith(_WRITING) for name in pair)
            and not self._ordered(*pair)
            and not self._in_other_branches(*pair)
        ]

    def _walk(self) -> None:
        left = list(self.nodes)
        while left:
            name = left[-1]
            sources = self._sources(name)
            missing = [source for source, _ in sources if source not in self.before]
            if name in self.before or not missing:
                left.pop()
                self.before.setdefault(name, self._waits_for(sources))
            left.extend(missing)

    def _waits_for(self, sources: list[tuple[str, int]]) -> int:
        found = 0
        for source, output in sources:
            found |= self.before[source] | self._bit(source)
            if self.nodes[source].op == "Switch":
                predicate = self._sources(source)[1][0]
                self.switches.add(predicate)
                found |= self._bit((predicate, output))
        return found

    def _sources(self, name: str) -> list[tuple[str, int]]:
        """Splits inputs `^name`, `name` and `name:output` into name and output."""
        parts = [text.lstrip("^").partition(":") for text in self.nodes[name].input]
        # Rounds of a loop: what comes later is not waited for.
        parts = [part for part in parts if self.nodes[part[0]].op != "NextIteration"]
        return [(source, int(output or 0)) for source, _, output in parts]

    def _bit(self, key: Any) -> int:
        return self.bits.setdefault(key, 1 << len(self.bits))

    def _ordered(self, one: str, other: str) -> bool:
        return bool(self.before[one] & self._bit(other) or self.before[other] & self._bit(one))

    def _in_other_branches(self, one: str, other: str) -> bool:
        def only(name: str, predicate: str, output: int) -> bool:
            # What comes after both branches has both before it.
            sides = [self.before[name] & self._bit((predicate, side)) for side in (0, 1)]
            return bool(sides[output] and not sides[1 - output])

        return any(
            only(one, predicate, side) and only(other, predicate, 1 - side)
            for predicate in self.switches
            for side in (0, 1)
        )

    def _variable(self, name: str) -> str:
        while True:
            name = self._sources(name)[0][0]
            if self.nodes[name].op not in _PASSING:
                return name
