"""Which weights a user's function reads: to be trained with the layer, or refused with a reason.

Keras 3 trains and stores `keras.Variable`s that it finds in attributes of layers. What a function
closes over, and what a distribution was made from, it does not see; a `tf.Variable` it only sees
with a `keras.Variable` around it; a network of the legacy Keras, never.
"""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfvae._typing import Distribution

__all__ = ["adopted", "captured_parts", "checked_reads"]

_REMEDY = (
    "Use a `keras.Variable`, a `tf.Variable` or the weight of a Keras layer, such as "
    "`tfvae.layers.VariableLayer`, and let the function name it or close over it, by itself or in "
    "a `tf.Module`: it becomes a weight of the layer."
)


def adopted(variables: Sequence[tf.Variable]) -> list[keras.Variable]:
    """Returns for each `tf.Variable` the `keras.Variable` that stands for it, the only one.

    It has no value of its own: optimizers and files of weights change what the user's objects
    read. Only a `keras.StatelessScope` does not, because these objects do not ask Keras.

    Args:
        variables: Of any type and static shape.

    Returns:
        As many, the one that lives already where there is one.

    Example:
        >>> from tfvae.layers.tracking import adopted
        >>> loc = tf.Variable([0.0, 1.0])
        >>> (weight,) = adopted([loc])
        >>> _ = weight.assign([2.0, 3.0])
        >>> loc.numpy()
        array([2., 3.], dtype=float32)
    """
    if not variables:
        return []
    # Two on one variable would train it twice, and Keras leaves no way back from it to the first.
    # All objects are looked at, and none is asked what it refers to: `gc.get_referrers` does, also
    # those that are being made, and has ended a process by that.
    found = [x for x in gc.get_objects() if issubclass(type(x), keras.Variable)]
    living = {id(x._value): x for x in found if getattr(x, "_value", None) is not None}
    return [living[id(v)] if id(v) in living else _around(v) for v in variables]


def captured_parts(function: Any, where: str) -> list[Any]:
    """Returns the Keras layers and variables that a function can reach, to be tracked.

    Looks at what it closes over, its default and bound arguments, the globals it names, and the
    same of the functions found so. The variables of a `tf.Variable`, a
    `tfp.util.TransformedVariable`, a distribution, a bijector or any other `tf.Module` are adopted.

    Args:
        function: Any callable, or a distribution; a Keras layer is a part by itself.
        where: What it was handed to, for messages.

    Returns:
        `keras.Variable`s and `keras.layers.Layer`s, each once.

    Raises:
        TypeError: It can reach a network of `tf_keras`, a distribution made from the value of a
            `keras.Variable`, or a variable to train of unknown shape.
    """
    parts: list[Any] = []
    variables: dict[int, tf.Variable] = {}
    seen: set[int] = set()

    def visit(value: Any) -> None:
        if id(value) in seen:
            return
        seen.add(id(value))
        if isinstance(value, (keras.Variable, keras.layers.Layer)):
            parts.append(value)
            return
        _refuse_untrained(value, where)
        for variable in _variables(value):
            variables[id(variable)] = variable
        for inner in _reached_from(value):
            visit(inner)

    visit(function)
    weights = adopted([variable for variable in variables.values() if _is_weight(variable, where)])
    known = {id(part) for part in parts}
    return parts + [weight for weight in weights if id(weight) not in known]


def checked_reads(
    function: Callable[[], Any], known: Callable[[], Iterable[Any]], where: str
) -> Any:
    """Calls `function` and refuses trainable variables that it reads and nobody trains.

    Args:
        function: Takes nothing.
        known: Returns the `keras.Variable`s that it may read, some of them made by reading.
        where: What the function was handed to, for the message.

    Returns:
        What `function` returns.

    Raises:
        TypeError: It read a trainable variable that is not among `known`.
    """
    with tf.GradientTape() as tape:
        result = function()
    tracked = {id(variable._value) for variable in known()}
    # A distribution keeps variables that it is given, and reads them only later.
    for variable in (*tape.watched_variables(), *(v for v in _variables(result) if v.trainable)):
        if id(variable) not in tracked:
            raise TypeError(
                f"{where} reads the variable '{variable.name}', which is no weight of the layer. "
                f"{_REMEDY}"
            )
    return result


def _around(variable: tf.Variable) -> keras.Variable:
    # Keras keeps a `tf.Variable` that it is given as the value. Its names hold no "/".
    name = variable.name.split(":")[0].replace("/", "_")
    return keras.Variable(variable, trainable=variable.trainable, autocast=False, name=name)


def _is_weight(variable: tf.Variable, where: str) -> bool:
    """Returns whether Keras can keep a variable; those that do not train may stay constants."""
    if variable.shape.is_fully_defined() and (variable.dtype.is_numeric or variable.dtype.is_bool):
        return True
    if variable.trainable:
        raise TypeError(
            f"{where} holds the variable '{variable.name}', which Keras 3 cannot train. Expected "
            "numbers of a known shape. "
            f"Received: {variable.dtype.name} of shape {variable.shape}. {_REMEDY}"
        )
    return False


def _refuse_untrained(value: Any, where: str) -> None:
    """Raises where `value` is, or holds, what neither trains here nor becomes a weight."""
    parts: list[Any] = [value, *(value.submodules if isinstance(value, tf.Module) else ())]
    for part in parts:
        # By the class: such a network holds no variables before its first call.
        if any(cls.__module__.split(".")[0] == "tf_keras" for cls in type(part).__mro__):
            raise TypeError(
                f"{where} holds weights outside of Keras 3, which would neither train nor store "
                f"them. Received: a {type(part).__name__} of the legacy Keras 2. Make it of layers "
                "of `keras`, or of `tfvae.networks`."
            )
        given = part.parameters.values() if isinstance(part, Distribution) else ()
        for variable in given:
            if isinstance(variable, keras.Variable) and variable.trainable:
                raise TypeError(
                    f"{where} holds a {type(part).__name__} made from the value that the "
                    f"`keras.Variable` '{variable.path}' had then: TFP reads it once, and it would "
                    "not train. Make the distribution of its `.value`, or within the function."
                )


def _variables(value: Any) -> list[tf.Variable]:
    if isinstance(value, tf.Variable):
        return [value]
    return list(value.variables) if isinstance(value, tf.Module) else []


def _reached_from(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple, set, frozenset)):
        yield from value
    elif isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, functools.partial):
        yield from (value.func, value.args, value.keywords)
    elif hasattr(value, "__func__"):
        yield from (value.__func__, value.__self__)
    elif hasattr(value, "__code__"):
        yield from (value.__defaults__ or ())
        yield from (value.__kwdefaults__ or {}).values()
        for cell in value.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:  # A name that is not assigned yet.
                continue
        for name in value.__code__.co_names:
            found = value.__globals__.get(name)
            # Functions of other modules are libraries, whose globals are theirs.
            if getattr(found, "__module__", value.__module__) == value.__module__ or isinstance(
                found, (keras.Variable, keras.layers.Layer, tf.Module, tf.Variable)
            ):
                yield found
