"""Signatures for runtimes without TensorFlow's random operations: noise is one of their inputs.

`portable_generate` is `generate` with the noise that its draws are made of in place of a seed, and
so for all others. Whatever is drawn from normal and uniform numbers, and not by trial and error or
one element after the other, is drawn so. Their few operations are those that ONNX, LiteRT, OpenVINO
and TensorFlow.js know (`tests/export/test_portable.py`). They check nothing: data is that of the
model, and has a row at least. `impute` draws in a loop, as many as are asked for, and has no such
signature; nor has `interpolate`, which draws nothing: decode the way between two latents.

| signature | inputs | outputs |
|---|---|---|
| `portable_encode` | `x` | as `encode` |
| `portable_decode` | `z` | as `decode` |
| `portable_generate` | `noise_1`, `noise_2`, ... `[B, ...]` | as `generate` |
| `portable_sample_posterior` | `x`, `noise_1`, ... `[B, S, ...]` | as `sample_posterior` |
| `portable_elbo` | `x`, `noise_1`, ... `[B, S, ...]` | as `elbo` |
| `portable_log_prob` | `x`, `noise_1`, ... `[B, S, ...]` | as `log_prob` |
| `portable_anomaly_score` | `x`, `noise_1`, ... `[B, S, ...]` | as `anomaly_score` |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfvae._protocols import Served
from tfvae._tracing import noting_graphs, release
from tfvae._typing import Tensor
from tfvae.data.spec import CONTEXT
from tfvae.export.answers import Answers
from tfvae.export.requests import latent_inputs
from tfvae.export.specialised import RUNS, Specialised, outputs_of, reached, size_of
from tfvae.export.verification import example_inputs
from tfvae.graph.evidence import summary_of_weights, weights

__all__ = ["PORTABLE", "Noise", "NotPortable", "Twin", "is_close", "twin"]

_PREFIX = "portable_"
PORTABLE = tuple(
    _PREFIX + name
    for name in (
        "encode",
        "decode",
        "generate",
        "sample_posterior",
        "elbo",
        "log_prob",
        "anomaly_score",
    )
)
_BASES = {"StatelessRandomNormalV2": "normal", "StatelessRandomUniformV2": "uniform"}
# Random numbers that are no draws: what seeds are made from.
_SEEDS = {"StatelessRandomUniformFullIntV2", "StatelessRandomUniformFullInt"}
_SEED = (0, 1)
# Of the largest number of an output: sums in another order, and exp(x) - 1 for expm1(x).
_TOLERANCE = 1e-5


_Input = tuple["Noise", Callable[[Tensor], Tensor], list[np.ndarray]]


class NotPortable(ValueError):
    """A signature draws what is not made of noise that can be given."""


class Noise(NamedTuple):
    """An input of noise.

    Attributes:
        spec: What it is, `[B, ...]` or `[B, S, ...]`.
        base: "normal", of mean zero and variance one, or "uniform", from 0 to 1.
    """

    spec: tf.TensorSpec
    base: str


class Twin(NamedTuple):
    """A signature that takes noise.

    Attributes:
        function: Of its inputs, in order, to be traced.
        specs: Those inputs, data and latents first.
        noise: The others.
        ops: How often it has each operation.
        runs: Inputs, and what the signature that takes a seed said to the same noise.
    """

    function: Callable[..., dict[str, Tensor]]
    specs: list[tf.TensorSpec]
    noise: tuple[Noise, ...]
    ops: dict[str, int]
    runs: list[tuple[list[Any], dict[str, Any]]]

    def check(self) -> None:
        """Compares what it answers with what the signature answers that takes a seed.

        Raises:
            RuntimeError: They say different things.
        """
        function = tf.function(self.function, autograph=False)
        for given, expected in self.runs:
            for name, value in function(*given).items():
                if not is_close(value.numpy(), expected[name]):
                    raise RuntimeError(
                        f"Without a seed `{name}` is another number than with one: a layer may do "
                        "other things for some sizes than for others. Leave the portable "
                        "signatures out."
                    )


def twin(model: Served, name: str) -> Twin:
    """Returns a signature of `PORTABLE`.

    Args:
        model: A built model.
        name: Of the signature.

    Raises:
        NotPortable: It is not made of normal and uniform noise.

    Example:
        >>> from tfvae.demo import vae
        >>> from tfvae.export.portable import twin
        >>> found = twin(vae, "portable_generate")
        >>> [(noise.base, noise.spec.shape) for noise in found.noise]
        [('normal', TensorShape([None, 2])), ('uniform', TensorShape([None, 8, 8, 1]))]
        >>> sorted(tf.function(found.function)(tf.zeros([3, 2]), tf.zeros([3, 8, 8, 1])))
        ['x', 'x_mean', 'z']
    """
    kind = name.removeprefix(_PREFIX)
    lacking = Answers(model).lacks(kind)
    if lacking is not None:
        raise NotPortable(f"This model has no signature `{name}`: {lacking}.")
    specs = _given(model, kind)
    counts = kind not in ("encode", "decode") and (kind != "generate" or not specs)
    traced = _traced(model, kind, specs, counts=counts)
    rows = "B" if kind == "generate" else "S"

    examples = example_inputs(model, rows=max(run["B"] for run in RUNS))

    def inputs(sizes: Mapping[str, int]) -> dict[str, Tensor]:
        found = {str(s.name): examples[str(s.name)][: sizes["B"]] for s in specs}
        return found | ({"num_samples": tf.constant(sizes[rows])} if counts else {})

    drawn = _draws(traced, name)
    graph = Specialised(traced, inputs, drawn)
    noise = [_noise(graph, node, index + 1, name) for index, node in enumerate(drawn)]
    called = [str(spec.name) for spec in (*specs, *(each.spec for each, *_ in noise))]

    def function(*values: Tensor) -> dict[str, Tensor]:
        given = dict(zip(called, values, strict=True))
        sizes = {"B": tf.shape(values[0])[0], "S": tf.constant(1)}
        for each, *_ in noise:
            if counts and rows == "S":
                sizes["S"] = tf.shape(given[str(each.spec.name)])[1]
        places = {str(spec.name): given[str(spec.name)] for spec in specs}
        for node, (each, shaped, _) in zip(drawn, noise, strict=True):
            places[node] = shaped(given[str(each.spec.name)])
        return graph(places, sizes)

    own = tuple(each for each, *_ in noise)
    runs = [
        (
            [*(inputs(RUNS[i])[str(s.name)] for s in specs), *(of[i] for *_, of in noise)],
            graph.outputs_of_run(i),
        )
        for i in range(len(RUNS))
    ]
    return Twin(function, [*specs, *(each.spec for each in own)], own, graph.ops, runs)


def is_close(value: np.ndarray, expected: np.ndarray) -> bool:
    """Whether two answers are the same to the fifth digit of their largest number."""
    if value.shape != expected.shape:
        return False
    scale = np.max(np.abs(expected[np.isfinite(expected)]), initial=1e-6)
    return np.allclose(value, expected, rtol=0.0, atol=_TOLERANCE * scale, equal_nan=True)


def _given(model: Served, kind: str) -> list[tf.TensorSpec]:
    """Returns data or latents that a twin takes, by node."""
    specs = model.data.specs()
    context = [specs[CONTEXT]] if CONTEXT in specs else []
    if kind == "decode":
        return [*latent_inputs(model).values(), *context]
    return context if kind == "generate" else list(specs.values())


def _packed(model: Served, kind: str, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns data as a batch, and latents as one `z`."""
    parts = {name: value for name, value in given.items() if name in model.data.specs()}
    if kind == "generate":
        return parts
    if kind != "decode":
        return model.data.as_batch(parts)
    nodes = {name: given[name] for name in latent_inputs(model)}
    z = model.graph.join(nodes) if len(nodes) > 1 else next(iter(nodes.values()))
    return {"z": z, **({CONTEXT: given[CONTEXT]} if CONTEXT in given else {})}


def _answer(model: Served, kind: str) -> Callable[..., dict[str, Tensor]]:
    """Returns an answer that scores all draws at once: noise is in memory as a whole anyway."""
    if kind not in ("log_prob", "anomaly_score"):
        return getattr(Answers(model), kind)

    def log_prob(num_samples: Tensor, seed: Tensor, **batch: Tensor) -> dict[str, Tensor]:
        exact = model.exact_log_p_x(**batch)
        terms = model.terms(num_samples=num_samples, seed=seed, **batch)
        if exact is not None:
            log_p, error, ess = exact, tf.zeros_like(exact), tf.ones_like(exact)
        else:
            log_p, error, ess = summary_of_weights(weights(terms, num_samples)[0])
        if kind == "log_prob":
            return {"log_prob": log_p, "standard_error": error, "ess": ess}
        return {
            "anomaly_score": -log_p,
            "standard_error": error,
            "negative_elbo": -terms.elbo,
        }

    return log_prob


def _traced(model: Served, kind: str, specs: list[tf.TensorSpec], *, counts: bool) -> Any:
    answer = _answer(model, kind)

    def seeded(**inputs: Tensor) -> dict[str, Tensor]:
        others: dict[str, Any] = {n: inputs[n] for n in ("num_samples",) if n in inputs}
        if kind not in ("encode", "decode"):
            others["seed"] = tf.constant(_SEED)
        return answer(**_packed(model, kind, inputs), **others)

    named = {str(spec.name): spec for spec in specs}
    if counts:
        named["num_samples"] = tf.TensorSpec([], tf.int32, name="num_samples")
    graphs: list[Any] = []
    function = tf.function(noting_graphs(seeded, graphs), autograph=False)
    traced = function.get_concrete_function(**named)
    release(graphs)
    return traced


def _draws(traced: Any, name: str) -> list[str]:
    """Returns the nodes that noise takes the place of, in order.

    Raises:
        NotPortable: Some draws are made otherwise.
    """
    definition = traced.graph.as_graph_def()
    within = [node.op for f in definition.library.function for node in f.node_def]
    nodes = {node.name: node for node in definition.node}
    cut = {node.name for node in definition.node if node.op in _BASES}
    used = {name.split(":")[0] for name in reached(nodes, outputs_of(traced).values(), cut)}
    random = [node for node in definition.node if node.name in used]
    random = [node for node in random if "Random" in node.op or "Multinomial" in node.op]
    random = [n for n in random if n.op not in _SEEDS and "GetKeyCounter" not in n.op]
    others = sorted({n.op for n in random if n.op not in _BASES})
    loops = [op for op in within if "StatelessRandom" in op or "Multinomial" in op]
    if others or loops:
        how = "by trial and error, or one after the other" if loops else f"by {', '.join(others)}"
        raise NotPortable(
            f"This model has no signature `{name}`: it draws {how}, which is no map of normal or "
            "uniform noise. Ask for the signature that takes a seed, in TensorFlow."
        )
    return [node.name for node in random]


def _noise(graph: Specialised, node: str, index: int, name: str) -> _Input:
    """Returns an input of noise `[B, ...]` in place of what a node gave.

    Raises:
        NotPortable: It has no row for each row.
    """
    values = [run[node] for run in graph.values]
    if len({value.ndim for value in values}) == 1:
        sizes = [size_of(each) for each in zip(*(value.shape for value in values), strict=True)]
        # Of several numbers of one row it is no matter which stands where.
        if all(size is not None and (size[0] == 1 or "B" not in size[1]) for size in sizes):
            axes = [axis for size in sizes if size is not None for axis in _axes(*size)]
            if sorted(axis for axis in axes if isinstance(axis, str)) in (["B"], ["B", "S"]):
                return _input(graph, node, index, axes)
    raise NotPortable(
        f"This model has no signature `{name}`: it draws noise of shape {list(values[0].shape)} "
        "that several rows share. Ask for the signature that takes a seed, in TensorFlow."
    )


def _input(graph: Specialised, node: str, index: int, axes: list[Any]) -> _Input:
    """Returns noise with rows and draws in front, however the axes of a node lie.

    Args:
        graph: That of the node.
        node: Its name.
        index: Of the noise.
        axes: "B", "S" or a size for each axis, those of draws and rows apart.
    """
    last = max(place for place, axis in enumerate(axes) if isinstance(axis, str))
    kept = [axis for place, axis in enumerate(axes) if axis != 1 or place > last]
    front = [name for name in ("B", "S") if name in kept]
    event = [axis for axis in kept if not isinstance(axis, str)]
    values = [run[node] for run in graph.values]
    spec = tf.TensorSpec([*[None] * len(front), *event], values[0].dtype, name=f"noise_{index}")
    places = iter(range(len(front), len(kept)))
    order = [front.index(axis) if isinstance(axis, str) else next(places) for axis in kept]

    def shaped(noise: Tensor) -> Tensor:
        in_order = noise if order == sorted(order) else tf.transpose(noise, order)
        if kept == axes and values[0].ndim == len(kept):
            return in_order
        given = dict(zip(front, tf.unstack(tf.shape(noise)[: len(front)]), strict=True))
        shape = [_length(each, given) for each in zip(*(v.shape for v in values), strict=True)]
        return tf.reshape(in_order, shape)

    def given(value: np.ndarray, run: Mapping[str, int]) -> np.ndarray:
        apart = value.reshape([run[axis] if isinstance(axis, str) else axis for axis in kept])
        return apart.transpose(np.argsort(order))

    runs = [given(value, run) for value, run in zip(values, RUNS, strict=True)]
    return Noise(spec, _BASES[graph.nodes[node].op]), shaped, runs


def _axes(factor: int, names: tuple[str, ...]) -> list[Any]:
    return [*names, factor] if factor != 1 or not names else [*names]


def _length(of_runs: Any, given: Mapping[str, Tensor]) -> Any:
    size = size_of(of_runs)
    names = () if size is None else size[1]
    found: Any = 1 if size is None else size[0]
    for name in names:
        found = given[name] if isinstance(found, int) and found == 1 else found * given[name]
    return found
