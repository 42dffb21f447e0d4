"""On which devices a model is, and what trains it there."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras.src.utils.tracking import no_automatic_dependency_tracking

from tfvae._words import some_of
from tfvae.learning import Scheme
from tfvae.training.logs import LOSS, Mean

__all__ = [
    "NO_STRATEGY",
    "Placed",
    "check_placement",
    "device_of",
    "in_scope",
    "strategy_of",
    "without_placement",
]

# What stands for "no strategy".
NO_STRATEGY = tf.distribute.get_strategy()

_ONE = tf.distribute.OneDeviceStrategy
_SEVERAL = (tf.distribute.MirroredStrategy, tf.distribute.MultiWorkerMirroredStrategy)


class Placed(keras.Model):
    """Abstract Keras model that was made for some devices, of which Keras knows nothing.

    Keras reads each batch whole, calls a step of it, and keeps its logs, as on one device. What
    goes to several is a matter of the step.
    """

    @property
    def distribute_strategy(self) -> tf.distribute.Strategy:
        """What distributes steps for Keras: nothing, but within the scope of a strategy."""
        return without_placement(super().distribute_strategy)

    @no_automatic_dependency_tracking
    def compile(self, *args: Any, **kwargs: Any) -> None:
        """See `keras.Model.compile`."""
        super().compile(*args, **kwargs)
        self._loss_tracker = Mean(name=LOSS)

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Leaves it to the first batch: what counts batches of data in memory is none."""


def without_placement(strategy: tf.distribute.Strategy) -> tf.distribute.Strategy:
    """Returns what distributes steps for Keras: nothing for strategies whose steps do it.

    The iterators of TensorFlow that read for one device bring the process down now and then, when
    they are let go.
    """
    inside = tf.distribute.get_strategy() is strategy
    return NO_STRATEGY if isinstance(strategy, (_ONE, *_SEVERAL)) and not inside else strategy


def strategy_of(model: Any) -> tf.distribute.Strategy | None:
    """Returns the strategy of several devices in whose scope a model was made, if any."""
    strategy = getattr(model, "_distribute_strategy", None)
    return strategy if isinstance(strategy, _SEVERAL) else None


def in_scope(method: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a method of a model that runs in the scope of the model's devices, if several."""

    @functools.wraps(method)
    def within(model: Any, *args: Any, **kwargs: Any) -> Any:
        strategy = strategy_of(model)
        if strategy is None or tf.distribute.get_strategy() is strategy:
            return method(model, *args, **kwargs)
        with strategy.scope():
            return method(model, *args, **kwargs)

    return within


def device_of(model: Any) -> contextlib.AbstractContextManager[Any]:
    """Returns the context of the one device of a model's strategy, or an empty one.

    Raises:
        ValueError: It is asked for within the scope of a strategy of several devices.
    """
    strategy = model._distribute_strategy
    if strategy_of(model) is not None and tf.distribute.get_strategy() is strategy:
        raise ValueError(
            f"A model of several devices is made and compiled within the scope of its strategy, "
            f"and trained, evaluated and asked outside of it. Received: a call within the scope of "
            f"{type(strategy).__name__}. Leave the `with` before it."
        )
    if isinstance(strategy, _ONE) and without_placement(strategy) is NO_STRATEGY:
        return tf.device(strategy.extended.worker_devices[0])
    return contextlib.nullcontext()


def check_placement(model: Any, optimizer: Any, scheme: Scheme, jit_compile: bool | str) -> None:
    """Checks that a model can be trained on the devices that it was made for.

    Args:
        model: The model.
        optimizer: Keras optimizer.
        scheme: Which weights a batch updates.
        jit_compile: As `compile` is given it.

    Raises:
        ValueError: It cannot, and why.
    """
    strategy = model._distribute_strategy
    if strategy is None or strategy is NO_STRATEGY or isinstance(strategy, _ONE):
        inside = [v.path for v in model.variables if _is_of_several(v)]
        if inside:
            raise ValueError(
                "All parts of a model of several devices are made in the scope of its strategy, "
                "the model among them. Received: a model made outside, of parts made within: "
                f"{some_of(inside)}."
            )
        return
    name = f"{type(strategy).__name__} with {strategy.num_replicas_in_sync} replicas"
    if not isinstance(strategy, _SEVERAL):
        raise ValueError(
            "Models of `tfvae` are trained on several devices by "
            "`tf.distribute.MirroredStrategy` or `tf.distribute.MultiWorkerMirroredStrategy`. "
            f"Received: {name}. Make and compile the model in the scope of one of these, or of "
            "none."
        )
    if not model.built:
        raise ValueError(
            "A model of several devices has to have its weights when it is compiled, and this one "
            "waits for data to tell their shapes. Received: "
            f"{type(model).__name__} '{model.name}' under {name}. Give its networks a "
            "`keras.Input`, or call `model.build((None, ...))` in the scope of the strategy."
        )
    if jit_compile is True:
        raise ValueError(
            "XLA does not compile steps that several devices take together. Received: "
            f"jit_compile=True under {name}. Leave it out."
        )
    if not scheme.climbs_alone:
        raise ValueError(
            f"`{type(scheme).__name__}` is not known to give on several devices what it gives on "
            f"one. Received: it under {name}. Take `Joint` or `Alternating`, or one device."
        )
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    outside = [v.path for v in model.variables if not _is_made_within(strategy, v)]
    if inner._distribution_strategy is not strategy:
        outside = [f"optimizer '{inner.name}'", *outside]
    if outside:
        raise ValueError(
            "All parts of a model of several devices are made in the scope of its strategy: "
            f"networks, priors, model and optimizer. Received, made outside of that of {name}: "
            f"{some_of(outside)}."
        )
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
            raise ValueError(
                "Batch normalisation compares the rows of a batch with each other, and each device "
                f"has some of them alone. Received: layer '{layer.name}' under {name}. Take "
                "`LayerNormalization` or `GroupNormalization`, or freeze it."
            )


def _is_made_within(strategy: tf.distribute.Strategy, variable: Any) -> bool:
    return strategy.extended.variable_created_in_scope(variable.value)


def _is_of_several(variable: Any) -> bool:
    return isinstance(variable.value, tf.distribute.DistributedValues)
