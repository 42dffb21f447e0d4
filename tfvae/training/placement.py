"""Models that were made for one device train as any other does, on that device."""

from __future__ import annotations

import contextlib
from typing import Any

import tensorflow as tf

__all__ = ["NO_STRATEGY", "device_of", "without_placement"]

# What stands for "no strategy".
NO_STRATEGY = tf.distribute.get_strategy()


def without_placement(strategy: tf.distribute.Strategy) -> tf.distribute.Strategy:
    """Returns what distributes steps: nothing for a strategy that has only placed the weights.

    The iterators of TensorFlow that read for one device bring the process down now and then, when
    they are let go.
    """
    inside = tf.distribute.get_strategy() is strategy
    alone = isinstance(strategy, tf.distribute.OneDeviceStrategy)
    return NO_STRATEGY if alone and not inside else strategy


def device_of(model: Any) -> contextlib.AbstractContextManager[Any]:
    """Returns the context of the one device of a model's strategy, or an empty one."""
    strategy = model._distribute_strategy
    if strategy is not None and without_placement(strategy) is NO_STRATEGY:
        return tf.device(strategy.extended.worker_devices[0])
    return contextlib.nullcontext()
