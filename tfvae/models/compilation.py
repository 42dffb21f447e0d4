"""Whether XLA can compile a step, and which part stands in the way."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import keras
import tensorflow as tf

from tfvae._typing import Tensor

__all__ = ["Compiler", "steps_at_once", "together"]

# Arguments of a traced function; XLA passes them in by itself.
_ARGUMENTS = {"Placeholder", "PlaceholderWithDefault"}

_BATCH_METHODS = [
    "on_batch_begin",
    "on_batch_end",
    *(
        f"on_{kind}_batch_{edge}"
        for kind in ("train", "test", "predict")
        for edge in ("begin", "end")
    ),
]
# Enough to make the time that Keras takes between steps small beside the steps.
_STEPS_AT_ONCE = 10


class Compiler:
    """Compiles the functions of one model with XLA, or without where a part does not allow it.

    Whether it does is known from the declarations of the layers and, operation by operation, from
    each traced graph: before anything runs, so falling back costs one warning and no batch.

    Args:
        jit_compile: True compiles or fails, False does not, "auto" compiles where possible.
        run_eagerly: Leaves functions as they are.
    """

    def __init__(self, jit_compile: bool | str = "auto", run_eagerly: bool = False) -> None:
        self._jit_compile = jit_compile
        self._run_eagerly = run_eagerly

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
        plain = tf.function(function, autograph=False, reduce_retracing=True)
        compiled = tf.function(function, autograph=False, reduce_retracing=True, jit_compile=True)
        layers, examined = list(layers), False

        def step(*args: Any) -> Any:
            nonlocal examined
            if self._jit_compile == "auto" and not examined:
                examined = True
                self._examine(layers, compiled, args)
            return (compiled if self._jit_compile else plain)(*args)

        return step

    def _examine(self, layers: list[keras.layers.Layer], compiled: Any, args: Any) -> None:
        part = next(
            (f"layer '{x.name}' ({type(x).__name__})" for x in layers if not x.supports_jit), None
        )
        if part is None:
            part = _not_compilable(compiled.get_concrete_function(*args))
        if part is not None:
            self._jit_compile = False
            warnings.warn(
                f"Running without XLA, which does not support the {part}. Results stay the same "
                "and steps take longer; pass `jit_compile=False` to `compile` to silence this.",
                UserWarning,
                stacklevel=2,
            )


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


def steps_at_once(callbacks: Any, limits: Iterable[int | None]) -> int:
    """Returns how many steps a call of Keras may take without anybody seeing a difference.

    Args:
        callbacks: Those given to `fit`: one that acts at each batch asks for single steps.
        limits: Numbers of steps that were asked for; Keras runs past a limit that is no multiple.
    """
    if _watches_batches(callbacks):
        return 1
    given = [limit for limit in limits if limit]
    candidates = range(_STEPS_AT_ONCE, 0, -1)
    return next(n for n in candidates if not any(limit % n for limit in given))


def _watches_batches(callbacks: Any) -> bool:
    """Whether any of the callbacks given to `fit` does something at each batch."""
    found = getattr(callbacks, "callbacks", callbacks) or []
    for callback in found if isinstance(found, (list, tuple)) else [found]:
        if isinstance(callback, keras.callbacks.LambdaCallback):
            return True  # its methods are attributes of the object
        if getattr(callback, "save_freq", None) == "epoch":
            continue  # ModelCheckpoint has a method for batches, for when it saves by batches
        if any(
            getattr(type(callback), method) is not getattr(keras.callbacks.Callback, method)
            for method in _BATCH_METHODS
        ):
            return True
    return False


def _not_compilable(function: Any) -> str | None:
    """Names the first operation of a graph that XLA has no kernel for, or returns None."""
    definition = function.graph.as_graph_def()
    library = definition.library.function
    known = _ARGUMENTS | {f.signature.name for f in library}
    for nodes in [definition.node, *(f.node_def for f in library)]:
        for node in nodes:
            if node.op not in known and not _has_xla_kernel(node.op):
                return f"operation {node.op} at '{node.name}'"
    return None


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
