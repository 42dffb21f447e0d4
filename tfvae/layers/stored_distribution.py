"""Distributions made from numbers, as plain data."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae import distributions
from tfvae._stored import made_once, shared_config
from tfvae._typing import Distribution
from tfvae.layers.coercible import TensorCoercible

__all__ = [
    "distribution_config",
    "distribution_from_config",
    "variable_config",
    "variable_from_config",
]

# Names of classes are looked up here and nowhere else, so that a file can call nothing besides.
_HOMES = {"tfp": tfp.distributions, "tfvae": distributions}
# They change no density.
_SKIPPED = ("name", "experimental_use_kahan_sum", "allow_nan_stats")


def variable_config(variable: keras.Variable | tf.Variable) -> dict[str, Any]:
    """Returns a variable of numbers as plain data, its present value included."""
    stored = {
        "variable": np.asarray(variable).tolist(),
        "dtype": tf.as_dtype(variable.dtype).name,
        "trainable": bool(variable.trainable),
        "keras": isinstance(variable, keras.Variable),
    }
    return shared_config(variable, stored)


def variable_from_config(config: dict[str, Any]) -> keras.Variable | tf.Variable:
    """Makes a variable from the output of `variable_config`."""
    kind: Any = keras.Variable if config["keras"] else tf.Variable

    def make() -> keras.Variable | tf.Variable:
        return kind(config["variable"], dtype=config["dtype"], trainable=config["trainable"])

    return made_once(config, make)


def distribution_config(distribution: Distribution, name: str) -> dict[str, Any]:
    """Returns a distribution as class and constructor arguments.

    Args:
        distribution: Of `tfp.distributions` or `tfvae.distributions`, made from numbers, types,
            `tf.Variable`s and other such distributions.
        name: What it is, as the subject of the message.

    Raises:
        ValueError: It is of another class, or made from other things, such as functions.
    """
    return _distribution_config(distribution, name, [])


def distribution_from_config(config: dict[str, Any]) -> Distribution:
    """Makes a distribution from the output of `distribution_config`."""
    return _distribution_from_config(config, {})


def _distribution_config(
    distribution: Distribution, name: str, variables: list[tf.Variable]
) -> dict[str, Any]:
    cls = type(distribution)
    homes = [home for home, names in _HOMES.items() if getattr(names, cls.__name__, None) is cls]
    if isinstance(distribution, TensorCoercible) or not homes:
        raise ValueError(
            f"{name} cannot be stored as data: {distribution!r}. Use a class of "
            "`tfp.distributions`, a Keras model, or a registered function."
        )
    parameters = {
        key: _config(value, name, variables)
        for key, value in distribution.parameters.items()
        if key not in _SKIPPED and value is not None
    }
    return {"home": homes[0], "class_name": cls.__name__, "parameters": parameters}


def _distribution_from_config(config: dict[str, Any], made: dict[int, Any]) -> Distribution:
    cls = getattr(_HOMES[config["home"]], config["class_name"], None)
    if not (isinstance(cls, type) and issubclass(cls, Distribution)):
        raise ValueError(f"Not a known distribution. Received: {config['class_name']!r}")
    return cls(**{key: _from_config(value, made) for key, value in config["parameters"].items()})


def _config(value: Any, name: str, variables: list[tf.Variable]) -> Any:
    if isinstance(value, Distribution):
        return {"distribution": _distribution_config(value, name, variables)}
    if isinstance(value, tf.Variable):
        # By its place among all: one that stands twice stays one.
        places = [i for i, variable in enumerate(variables) if variable is value]
        if not places:
            variables.append(value)
        return {"place": places[0] if places else len(variables) - 1, **variable_config(value)}
    if isinstance(value, tfp.util.DeferredTensor):
        raise ValueError(
            f"{name} cannot be stored as data: it holds a {type(value).__name__}, which is code. "
            "Store the weights alone (`save_weights`), or use a Keras model, such as a "
            "`VariableLayer` before a distribution layer, or a registered function."
        )
    if isinstance(value, tf.DType) or (isinstance(value, type) and issubclass(value, np.generic)):
        kind: Any = value
        return {"type": tf.as_dtype(kind).name}
    if isinstance(value, tf.TensorShape):
        value = np.array(value.as_list(), "int32")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):  # Of no type of their own, where they hold numbers.
        return {"several": [_config(part, name, variables) for part in value]}
    array = np.asarray(value)
    if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
        raise ValueError(
            f"{name} cannot be stored as data: it holds {value!r}. Use a Keras model, or a "
            "registered function."
        )
    # The shape beside the numbers: a list without entries may be [0] as well as [0, 3].
    return {"array": array.ravel().tolist(), "shape": list(array.shape), "dtype": array.dtype.name}


def _from_config(value: Any, made: dict[int, Any]) -> Any:
    if not isinstance(value, dict):
        return value
    if "distribution" in value:
        return _distribution_from_config(value["distribution"], made)
    if "place" in value:
        return made.setdefault(value["place"], variable_from_config(value))
    if "type" in value:
        return tf.as_dtype(value["type"])
    if "several" in value:
        return [_from_config(part, made) for part in value["several"]]
    return tf.constant(value["array"], value["dtype"], shape=value["shape"])
