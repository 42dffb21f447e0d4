"""How many draws fit into a budget of memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from tfvae._config import check_amount
from tfvae._tracing import noting_graphs, release

__all__ = ["Blocks", "bytes_per_draw", "check_memory", "specs_of_point"]

# Draws of all points of a batch that are scored at once where memory allows: enough to fill the
# cores, little enough to stay in their caches.
_DRAWS_AT_ONCE = 5000
# A prime that no network has: what is a multiple of it grows with the draws.
_MARK = 10_007
_GIBIBYTE = 2**30
# Their results are held already.
_NAMES = ("Identity", "Reshape", "StopGradient")


class Blocks(NamedTuple):
    """The size of a pass: so many points, and so many draws of each.

    Attributes:
        points: Most points of a batch that are scored together.
        draws: Draws of each of them.
    """

    points: int
    draws: int

    @classmethod
    def within(cls, memory_gib: float, each: int, num_points: int, least: int = 1) -> Blocks:
        """Returns the largest pass within a budget, up to 5,000 draws of all points together.

        Args:
            memory_gib: The budget, in units of 2**30 bytes.
            each: Bytes that one draw of one point takes.
            num_points: Points of a batch, B.
            least: The fewest draws of a point that go together.

        Example:
            >>> from tfvae.evaluation.blocks import Blocks
            >>> Blocks.within(1.0, 50_000, 100), Blocks.within(1.0, 2_000_000, 100)
            (Blocks(points=100, draws=50), Blocks(points=100, draws=5))
            >>> Blocks.within(0.1, 2_000_000, 100)
            Blocks(points=53, draws=1)
        """
        most = max(1, int(memory_gib * _GIBIBYTE) // max(1, each))
        points = min(num_points, max(1, most // least))
        return cls(points, max(least, min(_DRAWS_AT_ONCE, most) // points))


def check_memory(memory_gib: float) -> None:
    """Checks a budget.

    Raises:
        ValueError: It is not a positive number.
    """
    check_amount("memory_gib", memory_gib, positive=True)


def specs_of_point(parts: Mapping[str, Any]) -> dict[str, tf.TensorSpec]:
    """Returns what one point of a batch is, by name, from its parts `[B, ...]`."""
    return {name: tf.TensorSpec([1, *part.shape[1:]], part.dtype) for name, part in parts.items()}


def bytes_per_draw(score: Callable[..., Any], **point: Any) -> tuple[int, Any]:
    """Returns what one draw of one point takes, in bytes, and what `score` returns, without values.

    All results of all operations are counted whose size grows with the draws, as if none was ever
    let go: more than is held at once, and never less, but for what single operations of TensorFlow
    need for themselves. The pass is traced for that, and not run.

    Args:
        score: Scores so many draws of a batch of one point: `score(num_samples, **point)`.
        **point: Its other arguments, as `tf.TensorSpec`s.

    Example:
        >>> from tfvae.evaluation.blocks import bytes_per_draw
        >>> def score(num_samples, x):
        ...     return tf.square(tf.zeros([num_samples, 1, 3]) + x)
        >>> bytes_per_draw(score, x=tf.TensorSpec([1, 3]))[0]  # zeros, a sum and a square
        36
    """
    graphs: list[Any] = []
    pass_of = noting_graphs(lambda **given: score(_MARK, **given), graphs)
    traced = tf.function(pass_of, autograph=False).get_concrete_function(**point)
    release(graphs)
    definition = traced.graph.as_graph_def(add_shapes=True)
    bodies = [definition.node, *(function.node_def for function in definition.library.function)]
    return sum(_marked(node) for nodes in bodies for node in nodes), traced.structured_outputs


def _marked(node: Any) -> int:
    """Returns the bytes of the results of an operation that grow with the draws, per draw."""
    if "_output_shapes" not in node.attr or node.op in _NAMES:
        return 0
    types = [t for name in ("T", "dtype", "DstT", "output_type") if (t := node.attr[name].type)]
    size, found = tf.as_dtype(types[0]).size if types else 4, 0
    for shape in node.attr["_output_shapes"].list.shape:
        sizes = [dim.size for dim in shape.dim]
        elements = math.prod(max(1, dim) for dim in sizes)
        if elements % _MARK == 0:
            found += elements // _MARK * size
        elif min(sizes, default=0) < 0:  # What has no size before it runs may grow with the draws.
            found += elements * size
    return found
