"""What made a model, in lines: its parts with their arguments, its training, the versions."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._version import __version__
from tfvae.models import LatentVariableModel

__all__ = ["parts_of", "versions"]

# Of every layer, and of no interest to a reader.
_LEFT_OUT = {"name", "trainable", "dtype", "build_config", "registered_name", "batch_shape"}


def parts_of(model: LatentVariableModel) -> list[tuple[str, str]]:
    """Returns the parts of a model, and what each is made of, a line each.

    Example:
        >>> from tfvae.demo import vae
        >>> from tfvae.reporting.configuration import parts_of
        >>> [name for name, _ in parts_of(vae)][:3]
        ['model', 'encoder', 'encoder']
    """
    count = int(sum(np.prod(weight.shape) for weight in model.trainable_weights))
    found = [("model", f"{type(model).__name__}, {count:,} trainable weights")]
    try:
        config = model.get_config()
    except NotImplementedError:
        config = {}
        found.append(("configuration", "not known: a part of the model has no `get_config`"))
    for name, value in config.items():
        found += _lines(name, value)
    for name in ("objective", "scheme", "optimizer"):
        part = getattr(model, name, None)
        if part is not None:
            found.append((name, _described(_serialized(part), part)))
    return found


def versions() -> list[tuple[str, str]]:
    """Returns the names and versions of what computed a report."""
    return [
        ("Python", platform.python_version()),
        ("tfvae", __version__),
        ("TensorFlow", tf.__version__),
        ("Keras", keras.__version__),
        ("TensorFlow Probability", tfp.__version__),
        ("NumPy", np.__version__),
    ]


def _serialized(part: Any) -> Any:
    try:
        return keras.saving.serialize_keras_object(part)
    except (NotImplementedError, TypeError, ValueError):
        return None


def _described(config: Any, part: Any) -> str:
    return type(part).__name__ if config is None else _value(config)


def _lines(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yields lines of one argument of a model: the layers of a network, or the value."""
    if isinstance(value, list) and value and all(_is_named(each) for each in value):
        for node, part in value:  # nodes of a graph and their parts
            yield from _lines(f"{name} {node}", part)
        return
    if isinstance(value, list) and any(_is_object(each) for each in value):
        for index, part in enumerate(value):
            yield from _lines(f"{name}[{index}]", part)
        return
    if _is_object(value) and isinstance(value["config"].get("layers"), list):
        for layer in _layers(value):
            yield name, _value(layer)
        return
    if name not in _LEFT_OUT and value is not None:
        yield name, _value(value)


def _layers(value: Any) -> list[Any]:
    """Returns the layers of a network that do anything."""
    layers = value["config"]["layers"]
    return [layer for layer in layers if layer.get("class_name") != "InputLayer"]


def _is_object(value: Any) -> TypeGuard[Mapping[str, Any]]:
    return (
        isinstance(value, Mapping)
        and "class_name" in value
        and isinstance(value.get("config"), Mapping)
    )


def _is_named(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and isinstance(value[0], str)


def _value(value: Any) -> str:
    if _is_object(value):
        config = value["config"]
        if isinstance(config.get("layers"), list):
            inner = " → ".join(_value(layer) for layer in _layers(value))
            return f"{value['class_name']}: {inner}"
        arguments = ", ".join(
            f"{name}={_value(each)}"
            for name, each in config.items()
            if name not in _LEFT_OUT and _is_telling(each)
        )
        return f"{value['class_name']}({arguments})"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(each) for each in value) + "]"
    text = str(value)
    return text if len(text) < 80 else f"{text[:77]}..."


def _is_telling(value: Any) -> bool:
    """Whether an argument is shown: not one that is off, nor how weights begin."""
    if value is None or value is False or value == [] or value == {}:
        return False
    if isinstance(value, Mapping):
        return _is_object(value) and "initializers" not in str(value.get("module"))
    return True
