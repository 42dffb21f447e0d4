"""Answers to requests row by row: each row is answered as it would be alone, wherever it stands.

Servers put requests of several clients into one batch, so that no row may tell of its neighbours.
Networks and densities are worked out for all rows at once and are so by themselves. Draws are not:
one seed gives each place in a batch noise of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from tfvae._tracing import noting_graphs, release
from tfvae._typing import Tensor

__all__ = ["COUNTS", "answered", "with_rows"]

# Inputs that are one number for all rows.
COUNTS = ("num_samples", "num_steps")

Answer = Callable[..., dict[str, Tensor]]


def answered(
    answer: Answer, inputs: Mapping[str, Tensor], *, jit_compile: bool = False
) -> dict[str, Tensor]:
    """Returns the answer to a request, of which no row depends on another.

    - A `seed` `[2]` is that of the request as a whole: its rows are drawn together.
    - Seeds `[B, 2]` are those of its rows, which are answered one after the other, each as a
      request of its own with that seed.
    - What draws without a seed, with one of its own, does so for each row as for one alone: the
      noise is the same for all of them, and so what a row is given depends on the row.

    Args:
        answer: From inputs to outputs, by name, `[B, ...]` each.
        inputs: Those with rows `[B, ...]`, all of one B, and any of `COUNTS` `[]` and
            `seed`.
        jit_compile: Whether XLA compiles the answer, for each shape of the inputs anew.

    Example:
        >>> from tfvae.export.rows import answered
        >>> def draw(x, seed):
        ...     return {"y": x + tf.random.stateless_normal(tf.shape(x), seed)}
        >>> seeds = tf.constant([[0, 1], [0, 2], [0, 1]])
        >>> y = answered(draw, {"x": tf.zeros([3]), "seed": seeds})["y"]
        >>> bool(y[0] == y[2]), bool(y[0] == y[1])
        (True, False)
    """
    traced = _traced(answer, inputs, jit_compile)
    if "seed" not in inputs:
        return with_rows(_all_alike(traced) if _draws(traced) else traced, inputs)
    seed = inputs["seed"]
    return tf.cond(
        tf.equal(tf.rank(seed), 1),
        lambda: with_rows(traced, {**inputs, "seed": tf.reshape(seed, [2])}),
        lambda: with_rows(_one_by_one(traced), {**inputs, "seed": tf.reshape(seed, [-1, 2])}),
    )


def with_rows(answer: Answer, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the answer to a request, which is asked of one row where there is none.

    Convolutions of TensorFlow 2.21 give no rows another shape (CPU, oneDNN), and whatever else a
    network holds may stumble over them too. The row that takes their place is left out again.

    Args:
        answer: From inputs to outputs, by name, `[B, ...]` each.
        inputs: As in `answered`.

    Example:
        >>> from tfvae.export.rows import with_rows
        >>> with_rows(lambda x: {"mean": tf.reduce_mean(x, axis=1)}, {"x": tf.zeros([0, 3])})[
        ...     "mean"].shape
        TensorShape([0])
    """
    rows = _with_rows(inputs)
    if not rows:
        return answer(**inputs)
    count: Any = tf.shape(next(iter(rows.values())))[0]
    lacking = tf.maximum(1 - count, 0)
    full = {name: _longer(value, lacking) for name, value in rows.items()}
    return {name: value[:count] for name, value in answer(**{**inputs, **full}).items()}


def _with_rows(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the inputs that have a row for each row of the answer."""
    of_all = {*COUNTS} | ({"seed"} if _is_pair(inputs.get("seed")) else set())
    return {name: value for name, value in inputs.items() if name not in of_all}


def _is_pair(seed: Tensor | None) -> bool:
    return seed is not None and seed.shape.rank == 1


def _longer(value: Tensor, lacking: Tensor) -> Tensor:
    # No `tf.pad`, which TensorFlow makes one operation with a convolution that follows, and then
    # forgets what it adds to the rows.
    zeros = tf.zeros(tf.concat([[lacking], tf.shape(value)[1:]], axis=0), value.dtype)
    return tf.ensure_shape(tf.concat([value, zeros], axis=0), [None, *value.shape[1:]])


def _traced(answer: Answer, inputs: Mapping[str, Tensor], jit_compile: bool) -> Any:
    """Returns an answer as one graph, by which rows are answered together and alone."""
    specs = {
        name: tf.TensorSpec([2] if name == "seed" else [None, *value.shape[1:]], value.dtype)
        for name, value in inputs.items()
        if name not in COUNTS
    }
    specs |= {name: tf.TensorSpec([], tf.int32) for name in COUNTS if name in inputs}
    graphs: list[Any] = []
    function = tf.function(
        noting_graphs(answer, graphs), autograph=False, jit_compile=jit_compile or None
    )
    traced = function.get_concrete_function(**specs)
    release(graphs)
    return traced


def _draws(traced: Any) -> bool:
    """Whether there is any noise in a graph, or in a function that it calls."""
    graph = traced.graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    return any("StatelessRandom" in node.op for node in nodes)


def _one_by_one(traced: Any) -> Answer:
    """Returns the same for rows of their own seeds `[B, 2]`, one after the other.

    Of what is drawn by trial and error, vectorised rows would draw until all are accepted.
    """

    def answer(**inputs: Tensor) -> dict[str, Tensor]:
        rows = _with_rows(inputs)
        outputs = traced.structured_outputs
        types = {name: tf.TensorSpec(out.shape[1:], out.dtype) for name, out in outputs.items()}
        found: Any = tf.map_fn(_of_one(traced, inputs), rows, fn_output_signature=types)
        return found

    return answer


def _all_alike(traced: Any) -> Answer:
    """Returns the same for rows that have all noise in common: what does not read them is drawn
    once, and the rest is worked out for all rows at once.
    """

    def answer(**inputs: Tensor) -> dict[str, Tensor]:
        found: Any = tf.vectorized_map(_of_one(traced, inputs), _with_rows(inputs))
        return found

    return answer


def _of_one(
    traced: Any, inputs: Mapping[str, Tensor]
) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """Returns the answer to one row as a function of the parts of the row."""

    def answer(row: dict[str, Tensor]) -> dict[str, Tensor]:
        alone = {name: part if name == "seed" else part[None] for name, part in row.items()}
        return {name: value[0] for name, value in traced(**{**inputs, **alone}).items()}

    return answer
