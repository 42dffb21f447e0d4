"""Functions and parts of Keras as plain data: code is never stored."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras
from keras.src.backend.common.global_state import get_global_attribute
from keras.src.saving.serialization_lib import (
    get_shared_object,
    record_object_after_deserialization,
)

__all__ = [
    "function_config",
    "function_from_config",
    "made_again",
    "made_once",
    "object_config",
    "objects_config",
    "part_config",
    "parts_config",
    "shared_config",
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
    if isinstance(function, keras.layers.Layer) or hasattr(function, "get_config"):
        return _shareable(function)
    registered = keras.saving.get_registered_object(keras.saving.get_registered_name(function))
    if registered is not function:
        raise ValueError(
            f"{name} cannot be stored as data: {function!r}. {remedy} decorate the "
            "function with `keras.saving.register_keras_serializable()`."
        )
    return keras.saving.serialize_keras_object(function)  # type: ignore[return-value]


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
        return None if part is None else _shareable(part)
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
        stored = _shareable(part)
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


def shared_config(part: Any, stored: Any) -> Any:
    """Returns the data of a part with a mark by which a file knows it wherever else it stands.

    Keras marks the configs of what it meets twice. That of the first time is by then copied into
    the config of the layer that holds it, and would be loaded as a part of its own, for which the
    file has no weights. Outside of a file nothing is marked.
    """
    met: Any = get_global_attribute("shared_objects/id_to_config_map")
    if met is None:
        return stored
    # Keras marks by addresses in memory: no number of what was met before is one.
    mark = met.setdefault(("tfvae", id(part)), len(met))
    return {**stored, "shared_object_id": mark}


def made_once(stored: dict[str, Any], make: Callable[[], Any]) -> Any:
    """Returns what `shared_config` marked: made where a file first holds it, and the same there."""
    mark = stored.get("shared_object_id")
    if mark is None:
        return make()
    found = get_shared_object(mark)
    if found is None:
        found = make()
        record_object_after_deserialization(found, mark)
    return found


def _shareable(part: Any) -> Any:
    stored: Any = keras.saving.serialize_keras_object(part)
    # Names and numbers, and lists of parts, are no parts themselves.
    is_part = isinstance(stored, dict) and "class_name" in stored
    return shared_config(part, stored) if is_part else stored


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
