"""Which weights a user's function reads: to be trained with the layer, or refused with a reason.

Keras 3 trains and stores `keras.Variable`s that it finds in attributes of layers. What a function
closes over, it does not see; a `tf.Variable` or a network of the legacy Keras, it never sees.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import tensorflow as tf

__all__ = ["captured_parts", "checked_reads", "refuse_untrained"]

_REMEDY = (
    "Keras 3 would neither train nor store it. Make it a `keras.Variable` or the weight of a Keras "
    "layer, such as `tfvae.layers.VariableLayer`, and use that in the function: it becomes a "
    "weight of the layer."
)


def refuse_untrained(value: Any, where: str) -> None:
    """Raises where `value` holds weights that Keras 3 cannot train.

    Args:
        value: Anything that was handed to a layer.
        where: What it was handed to, for the message.

    Raises:
        TypeError: `value` is a trainable `tf.Variable`, or a `tf.Module` with such variables: a
            `tfp.util.TransformedVariable`, a distribution or bijector made from variables, or a
            network of `tf_keras`.
    """
    # Networks of the legacy Keras hold no variables before their first call.
    legacy = any(cls.__module__.split(".")[0] == "tf_keras" for cls in type(value).__mro__)
    variables = _trainable_variables(value)
    if legacy or variables:
        what = f"a {type(value).__name__}"
        if legacy:
            what += " of the legacy Keras 2"
        if variables:
            what += f" with the variable '{variables[0].name}'"
        raise TypeError(f"{where} holds weights outside of Keras 3. Received: {what}. {_REMEDY}")


def captured_parts(function: Any, where: str) -> list[Any]:
    """Returns the Keras layers and variables that a function can reach, to be tracked.

    Looks at what it closes over, its default and bound arguments, the globals it names, and the
    same of the functions found so.

    Args:
        function: Any callable; a Keras layer is a part by itself.
        where: What it was handed to, for messages.

    Returns:
        `keras.Variable`s and `keras.layers.Layer`s, each once.

    Raises:
        TypeError: See `refuse_untrained`.
    """
    parts: list[Any] = []
    seen: set[int] = set()

    def visit(value: Any) -> None:
        if id(value) in seen:
            return
        seen.add(id(value))
        if isinstance(value, (keras.Variable, keras.layers.Layer)):
            parts.append(value)
            return
        refuse_untrained(value, where)
        for inner in _reached_from(value):
            visit(inner)

    visit(function)
    return parts


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
    for variable in (*tape.watched_variables(), *_trainable_variables(result)):
        if id(variable) not in tracked:
            raise TypeError(
                f"{where} reads the variable '{variable.name}', which is no weight of the layer. "
                f"{_REMEDY}"
            )
    return result


def _trainable_variables(value: Any) -> list[Any]:
    if isinstance(value, tf.Variable):
        return [value] if value.trainable else []
    if isinstance(value, tf.Module):
        return list(value.trainable_variables)
    return []


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
