"""Functions and parts of Keras as plain data: code is never stored."""

from __future__ import annotations

import warnings
from typing import Any

import keras

__all__ = [
    "function_config",
    "function_from_config",
    "made_again",
    "object_config",
    "objects_config",
    "part_config",
    "parts_config",
]


def function_config(function: Any, name: str, remedy: str) -> dict[str, Any]:
    """Returns a registered function, or a Keras object, as plain data.

    Args:
        function: What to store.
        name: What it is, as the subject of the message.
        remedy: The beginning of what to do, before the decorator is named.

    Raises:
        ValueError: The function is not registered: code is never stored.
    """
    serialize: Any = keras.saving.serialize_keras_object
    if isinstance(function, keras.layers.Layer) or hasattr(function, "get_config"):
        return serialize(function)
    registered = keras.saving.get_registered_object(keras.saving.get_registered_name(function))
    if registered is not function:
        raise ValueError(
            f"{name} cannot be stored as data: {function!r}. {remedy} decorate the "
            "function with `keras.saving.register_keras_serializable()`."
        )
    return serialize(function)


def function_from_config(stored: Any) -> Any:
    """Returns what `function_config` stored; anything but its data as it is."""
    return keras.saving.deserialize_keras_object(stored) if isinstance(stored, dict) else stored


def part_config(part: Any, name: str) -> Any:
    """Returns an activation, initializer, regularizer or constraint as Keras stores it.

    Keras itself writes a lambda as bytecode, which safe mode does not load, and takes any function
    with the name of one of its activations for that.

    Args:
        part: What the `get` of its kind made of the user's argument, None included.
        name: What it is, as the subject of the message.

    Raises:
        ValueError: It is a function that is not registered.
    """
    if part is None or hasattr(part, "get_config"):
        return keras.saving.serialize_keras_object(part)
    if getattr(part, "__module__", "").split(".")[0] in ("keras", "tensorflow"):
        stored = keras.activations.serialize(part)
        if isinstance(stored, str):
            return stored
    return function_config(part, name, "Use an object of Keras, or")


def parts_config(owner: Any, *names: str) -> dict[str, Any]:
    """Returns several such parts of a layer, the attributes of these names."""
    return {
        name: part_config(getattr(owner, name), f"The `{name}` of '{owner.name}'") for name in names
    }


def object_config(part: Any) -> Any:
    """Returns a Keras object, or a list of them, as plain data.

    Raises:
        ValueError: A layer of Keras within it would store the code of a function.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The object being serialized includes a")
        stored = keras.saving.serialize_keras_object(part)
    name = _name_of_code(stored)
    if name is not None:
        raise ValueError(
            f"Layer '{name}' holds a function that cannot be stored as data, a lambda. Define it "
            "by name, and decorate it with `keras.saving.register_keras_serializable()`."
        )
    return stored


def objects_config(**parts: Any) -> dict[str, Any]:
    """Returns Keras objects, or lists of them, as plain data under the same names."""
    return {name: object_config(part) for name, part in parts.items()}


def _name_of_code(stored: Any, name: str = "") -> str | None:
    """Returns the name of the first layer whose config holds bytecode, in either form of Keras."""
    if isinstance(stored, dict):
        value = stored.get("value") if len(stored) == 1 else None
        is_activation = isinstance(value, (list, tuple)) and any(isinstance(v, str) for v in value)
        if is_activation or stored.get("class_name") == "__lambda__":
            return name
        name = stored.get("name", name)
        stored = stored.values()
    elif not isinstance(stored, (list, tuple)):
        return None
    found = (_name_of_code(part, name) for part in stored)
    return next((place for place in found if place is not None), None)


def made_again(
    config: dict[str, Any], *names: str, custom_objects: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Returns a config with the objects that `objects_config` stored under some of these names."""
    parts = {
        name: keras.saving.deserialize_keras_object(config[name], custom_objects=custom_objects)
        for name in names
        if name in config
    }
    return {**config, **parts}
