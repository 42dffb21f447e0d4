"""Whether XLA can compile a step, and which part stands in the way."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import tensorflow as tf

__all__ = ["FallbackNotice", "Step"]


# Arguments of the traced function; XLA passes them in by itself.
_ARGUMENTS = {"Placeholder", "PlaceholderWithDefault"}


class FallbackNotice:
    """The warning that a model trains without XLA, given once whatever the number of its steps."""

    def __init__(self) -> None:
        self._given = False

    def __call__(self, part: str) -> None:
        """Warns, the first time, that `part` is not supported."""
        if not self._given:
            self._given = True
            warnings.warn(
                f"Training without XLA, which does not support the {part}. Results stay the same "
                "and steps take longer; pass `jit_compile=False` to `compile` to silence this "
                "warning.",
                UserWarning,
                stacklevel=3,
            )


class Step:
    """A function of tensors that runs compiled by XLA where all its operations allow it.

    The decision is made once per input signature, from the traced graph and before anything
    runs, so a step that cannot be compiled costs one warning and no batch.

    Args:
        function: Takes and returns structures of tensors; may read and assign variables.
        jit_compile: True compiles or fails, False never compiles, None compiles where possible.
        notice: Told which part stands in the way.
    """

    def __init__(
        self, function: Callable[..., Any], jit_compile: bool | None, notice: FallbackNotice
    ) -> None:
        self._plain = tf.function(function, autograph=False, reduce_retracing=True)
        self._compiled = tf.function(
            function, autograph=False, reduce_retracing=True, jit_compile=True
        )
        self._jit_compile = jit_compile
        self._notice = notice

    def __call__(self, *args: Any) -> Any:
        if self._jit_compile is None:
            found = _not_compilable(self._compiled.get_concrete_function(*args))
            self._jit_compile = found is None
            if found is not None:
                self._notice(f"operation {found[0]} at '{found[1]}'")
        return (self._compiled if self._jit_compile else self._plain)(*args)


def _not_compilable(function: Any) -> tuple[str, str] | None:
    """Returns (operation, node) of the first operation that XLA has no kernel for, or None."""
    definition = function.graph.as_graph_def()
    functions = {f.signature.name for f in definition.library.function}
    nodes = list(definition.node)
    for library_function in definition.library.function:
        nodes += library_function.node_def
    for node in nodes:
        if node.op not in functions | _ARGUMENTS and not _has_xla_kernel(node.op):
            return node.op, node.name
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
