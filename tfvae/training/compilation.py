"""Whether XLA can compile a step, and which part stands in the way."""

from __future__ import annotations

import functools
import math
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import tensorflow as tf

from tfvae._tracing import noting_graphs, release
from tfvae._typing import Tensor
from tfvae.training.placement import strategy_of

__all__ = ["Compiler", "Functions", "steps_at_once", "together"]

# Arguments of a traced function; XLA passes them in by itself.
_ARGUMENTS = {"Placeholder", "PlaceholderWithDefault"}

# What XLA takes longer over on a CPU than TensorFlow does: pooling and separable convolutions
# anywhere, others many times longer within a loop.
_SLOW_ON_CPU = ("AvgPool", "Conv2D", "Conv3D", "DepthwiseConv2d", "MaxPool")

_BRANCHES = {"If", "StatelessIf"}
_SHAPE_MAKERS = {"Cast", "ConcatV2", "Identity", "Pack", "Reshape"}

_BATCH_METHODS = [
    "on_batch_begin",
    "on_batch_end",
    *(
        f"on_{kind}_batch_{edge}"
        for kind in ("train", "test", "predict")
        for edge in ("begin", "end")
    ),
]
# Of one model: each size of a last batch has one of its own.
_MOST_FUNCTIONS = 32

# Seconds: what XLA takes longer to compile the steps of a model, and those of its validation, what
# it saves of each step of training, and of what work in it goes beyond that of a small model.
_COMPILING, _COMPILING_TESTS = 1.4, 1.3
_SAVED, _SAVED_BY_WORK, _LITTLE_WORK = 1.5e-4, 2.9e-11, 1.8e7
_STEPS = {"train", "test"}
# The same of one function of an evaluation, and of each pass of a z through a model.
_COMPILING_ONE, _SAVED_BY_PASS, _SAVED_BY_PASS_AND_WEIGHT = 2.0, 2e-7, 3e-12
# And of each comparison of a draw with a posterior.
_SAVED_BY_PAIR = 5e-8

# Enough to make the time that Keras takes between steps small beside the steps.
_STEPS_AT_ONCE = 10


def xla_pays(steps: int, work: float, has_tests: bool = False) -> bool:
    """Returns whether steps save more time by XLA than it takes to compile them.

    Measured on two idle cores, of models of 6-5-2, of 64-256-16 at batch 50, of 256-200-200-10 and
    of 784-300-300-40 at batch 100: `fit` takes 1.3, 1.3, 1.1 and 1.4 s more to compile, with
    validation 1.4, 2.7, 2.1 and 2.2 s, and each step saves 0.1, 0.2, 0.1 and 1.6 ms.

    Args:
        steps: How many are to come.
        work: Of each, the product of the numbers of weights and of rows.
        has_tests: Whether there is validation.

    Example:
        >>> from tfvae.training.compilation import xla_pays
        >>> xla_pays(800, 7e7), xla_pays(1_000, 7e7), xla_pays(1_500, 7e7, True)
        (False, True, False)
    """
    saved = steps * (_SAVED + _SAVED_BY_WORK * max(0.0, work - _LITTLE_WORK))
    return saved > _COMPILING + has_tests * _COMPILING_TESTS


def xla_pays_once(passes: float, weights: int, pairs: float = 0.0) -> bool:
    """Returns whether one evaluation saves more time by XLA than it takes to compile it.

    Measured on two cores: a function of an evaluation takes 1.5 to 3 s more to compile, and each
    draw of z that it scores saves 0.2, 0.4 and 2 microseconds in a model of 6-5-2, of 64-64-8 and
    of 784-300-40; each density of a draw under a posterior of another point saves 0.05.

    Args:
        passes: How many draws are to be scored, of all points together.
        weights: How many the model has.
        pairs: How many densities of draws under posteriors of other points.

    Example:
        >>> from tfvae.training.compilation import xla_pays_once
        >>> xla_pays_once(1e6, 700_000)
        True
    """
    saved = passes * (_SAVED_BY_PASS + _SAVED_BY_PASS_AND_WEIGHT * weights)
    return saved + pairs * _SAVED_BY_PAIR > _COMPILING_ONE


class Compiler:
    """Compiles the functions of one model with XLA, each without where a part does not allow it.

    Whether it does is known from the declarations of the layers and, operation by operation, from
    each traced graph: before anything runs, so falling back costs one warning and no batch. May be
    called from several threads, and so may the functions that it returns.

    Args:
        jit_compile: True compiles or fails, False does not, "auto" compiles where possible, and
            where it pays: on a CPU no convolutions, of training what has many steps, of
            evaluations what has many draws.
        run_eagerly: Leaves functions as they are.
    """

    def __init__(self, jit_compile: bool | str = "auto", run_eagerly: bool = False) -> None:
        self._jit_compile = jit_compile
        self._run_eagerly = run_eagerly
        self._warned_of: set[str] = set()

    def __call__(
        self, function: Callable[..., Any], layers: Iterable[keras.layers.Layer] = ()
    ) -> Callable[..., Any]:
        """Returns `function`, compiled on its first call.

        Args:
            function: Takes and returns structures of tensors; may read and assign variables.
            layers: The layers that it calls.
        """
        if self._run_eagerly:
            return function
        return _Compiled(function, list(layers), self._jit_compile, self._warn)

    def _warn(self, part: str, place: str) -> None:
        """Warns once of each part, however many functions it keeps from XLA."""
        if part in self._warned_of:
            return
        self._warned_of.add(part)
        warnings.warn(
            f"Running without XLA, which does not support the {part}{place}. Results stay the "
            "same and steps take longer; pass `jit_compile=False` to `compile` to silence this.",
            UserWarning,
            stacklevel=2,
        )


class Functions:
    """The functions of a model that are compiled, by key, of which the latest are kept.

    Args:
        model: The model whose layers they call.
        jit_compile: As for `Compiler`.
        run_eagerly: As for `Compiler`.
    """

    def __init__(
        self, model: Any, jit_compile: bool | str = "auto", run_eagerly: bool = False
    ) -> None:
        self._model = model
        if strategy_of(model) is not None:
            jit_compile = False  # Devices cannot meet within what XLA compiles.
        self._compiler = Compiler(jit_compile, run_eagerly)
        self._made: dict[Any, Callable[..., Any]] = {}
        self._known: dict[Any, Any] = {}
        self._without = Compiler(False, run_eagerly)
        self._is_open = jit_compile == "auto"
        # How many steps there were to take, and whether XLA pays for them: None until a `fit` says
        # how many there are; for good once it does: under XLA the same seeds draw other numbers.
        self.steps, self.pays = 0, None

    def expect(self, steps: int, work: float, has_tests: bool = False) -> None:
        """Decides whether compiling by XLA pays for the steps of training, of all calls together.

        Args:
            steps: How many are to come.
            work: Of each, the product of the numbers of weights and of rows.
            has_tests: Whether there is validation.
        """
        if self._is_open and not self.pays:
            self.steps += steps
            self.pays = xla_pays(self.steps, work, has_tests)

    def __call__(
        self,
        key: Any,
        make: Callable[[], Callable[..., Any]],
        passes: float | None = None,
        pairs: float = 0.0,
    ) -> Callable[..., Any]:
        """Returns the function made by `make`, compiled as `compile` says, once per `key`.

        Args:
            key: What tells it from other functions, with or without XLA.
            make: Makes it.
            passes: Of an evaluation, how many draws of z it is to score in all; None where nobody
                knows. Few are scored without XLA where `compile` leaves that open.
            pairs: Of the same, how many draws are to be scored under how many posteriors.
        """
        plain = self._is_open and not self._pays_for(key, passes, pairs)
        key = (key, "without XLA") if plain else key
        found = self._made.get(key)
        if found is None:
            layers = self._model._flatten_layers(include_self=False)
            compiler = self._without if plain else self._compiler
            # Of several threads all get the function of the first.
            found = self._made.setdefault(key, compiler(make(), layers))
            for old in list(self._made)[:-_MOST_FUNCTIONS]:
                self._made.pop(old, None)
        return found

    def _pays_for(self, key: Any, passes: float | None, pairs: float) -> bool:
        if (key[0] if isinstance(key, tuple) else key) in _STEPS:
            return self.pays is not False
        if passes is None:
            return True
        weights = sum(math.prod(weight.shape) for weight in self._model.weights)
        return xla_pays_once(passes, weights, pairs)

    def known(self, key: Any, find: Callable[[], Any]) -> Any:
        """Returns what `find` returns, once per `key`: what is known of a function of the model."""
        if key not in self._known:
            self._known[key] = find()
        return self._known[key]

    def forget(self) -> None:
        """Has all be compiled anew: for those who change parts, which compiled functions hold."""
        self._made, self._known = {}, {}
        model = self._model
        model.train_function = model.test_function = model.predict_function = None


class _Compiled:
    """One function, which decides on its first call whether it goes through XLA.

    Args:
        function: What is compiled.
        layers: The layers that it calls.
        jit_compile: As for `Compiler`.
        warn: Is told which part stands in the way, and where.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        layers: list[keras.layers.Layer],
        jit_compile: bool | str,
        warn: Callable[[str, str], None],
    ) -> None:
        self._layers, self._warn = layers, warn
        self._graphs: list[Any] = []
        traced = noting_graphs(function, self._graphs)
        self._plain = tf.function(traced, autograph=False, reduce_retracing=True)
        self._xla = tf.function(traced, autograph=False, reduce_retracing=True, jit_compile=True)
        self._must_compile = jit_compile is True
        self._chosen: Any = self._plain if jit_compile is False else None
        # Of a loop, one step of it by itself.
        once = getattr(function, "once", None)
        self._once: Any = once and tf.function(
            noting_graphs(once, self._graphs), autograph=False, jit_compile=True
        )
        # Held while the graph is looked through: no other thread runs it before that is known. A
        # function may be called again while it is traced.
        self._lock = threading.RLock()

    def __call__(self, *args: Any) -> Any:
        if self._chosen is None:
            with self._lock:
                if self._chosen is None:
                    self._chosen = self._choose(args)
        result = self._chosen(*args)
        release(self._graphs)
        return result

    @property
    def uses_xla(self) -> bool | None:
        """Whether it does, None before its first call."""
        return None if self._chosen is None else self._chosen is not self._plain

    def _choose(self, args: Any) -> Any:
        refusing = next((x for x in self._layers if not x.supports_jit), None)
        if refusing is not None and not self._must_compile:
            self._warn(f"layer '{refusing.name}' ({type(refusing).__name__})", "")
            return self._plain
        traced = self._xla.get_concrete_function(*args)
        found = None if self._must_compile else _not_compilable(traced)
        if found is not None:
            self._warn(*found)
            return self._plain
        if not _is_slow(traced):
            return self._xla
        if not self._must_compile:
            return self._plain
        return self._xla if self._once is None else self._one_by_one

    def _one_by_one(self, batches: Any, sample_weight: Any, count: Any) -> Any:
        """Takes the steps of a loop outside of one."""
        result = None
        for i in range(int(count)):
            batch = {name: part[i] for name, part in batches.items()}
            result = self._once(batch, None if sample_weight is None else sample_weight[i])
        return result


def together(gradients: Iterable[Tensor | None]) -> list[Tensor | None]:
    """Returns gradients as they are, none of which is there before all of them are.

    An optimizer of Keras gathers all gradients in one `IdentityN`. TensorFlow's rewriting of graphs
    first takes it for an order, drops the edges "read before assigned" that seem to follow from it,
    and then splits it: a weight could change before a pass had read it that serves the gradients of
    other weights alone.
    """
    gradients = list(gradients)
    with tf.control_dependencies([x for x in gradients if x is not None]):
        return [None if x is None else tf.identity(x) for x in gradients]


def steps_at_once(callbacks: Any, limits: Iterable[int | None], most: int = _STEPS_AT_ONCE) -> int:
    """Returns how many steps a call of Keras may take without anybody seeing a difference.

    Args:
        callbacks: Those given to `fit`: one that acts at each batch asks for single steps.
        limits: Numbers of steps that were asked for; Keras runs past a limit that is no multiple.
        most: The largest number to return.
    """
    if _watches_batches(callbacks):
        return 1
    given = [limit for limit in limits if limit]
    candidates = range(most, 0, -1)
    return next(n for n in candidates if not any(limit % n for limit in given))


def _watches_batches(callbacks: Any) -> bool:
    """Whether any of the callbacks given to `fit` does something at each batch."""
    found = getattr(callbacks, "callbacks", callbacks) or []
    for callback in found if isinstance(found, (list, tuple)) else [found]:
        if isinstance(callback, keras.callbacks.LambdaCallback):
            return True  # its methods are attributes of the object
        if getattr(callback, "save_freq", None) == "epoch":
            continue  # ModelCheckpoint has a method for batches, for when it saves by batches
        if getattr(callback, "hears_calls", False):
            continue
        if any(
            getattr(type(callback), method) is not getattr(keras.callbacks.Callback, method)
            for method in _BATCH_METHODS
        ):
            return True
    return False


def _not_compilable(function: Any) -> tuple[str, str] | None:
    """Names the first operation of a graph that XLA cannot compile and where it is, or None."""
    definition = function.graph.as_graph_def()
    library = definition.library.function
    known = _ARGUMENTS | {f.signature.name for f in library}
    for nodes in [definition.node, *(f.node_def for f in library)]:
        by_name = {node.name: node for node in nodes}
        for node in nodes:
            if node.op not in known and not _has_xla_kernel(node.op):
                return f"operation {node.op}", f" at '{node.name}'"
            if node.op == "Fill" and _comes_from_branch(node.input[0], by_name):
                return "operation Fill in a shape that a branch decides", f", at '{node.name}'"
    return None


def _is_slow(function: Any) -> bool:
    """Whether a graph holds what XLA is slow at where there is a CPU alone."""
    if tf.config.list_logical_devices("GPU"):
        return False
    definition = function.graph.as_graph_def()
    bodies = [definition.node, *(f.node_def for f in definition.library.function)]
    return any(node.op.startswith(_SLOW_ON_CPU) for nodes in bodies for node in nodes)


def _comes_from_branch(name: str, by_name: Mapping[str, Any]) -> bool:
    """Whether a shape is that which a `tf.cond` returns: XLA has to know shapes before it runs.

    The gradient of `tf.linalg.set_diag` has one where the size of the batch is open.
    """
    node = by_name.get(name.split(":")[0])
    if node is None or node.op not in _SHAPE_MAKERS | _BRANCHES:
        return False
    return node.op in _BRANCHES or any(_comes_from_branch(x, by_name) for x in node.input)


@functools.cache
def _has_xla_kernel(operation: str) -> bool:
    from tensorflow.python.framework import kernels

    _register_xla_kernels()
    device = "XLA_GPU_JIT" if tf.config.list_logical_devices("GPU") else "XLA_CPU_JIT"
    registered = kernels.get_registered_kernels_for_op(operation).kernel
    return any(kernel.device_type == device for kernel in registered)


@functools.cache
def _register_xla_kernels() -> None:
    """TensorFlow registers XLA's kernels on the first compilation: make one."""
    with tf.init_scope():
        tf.function(lambda: tf.constant(0.0), jit_compile=True)()
