"""Checks of the data and parts that users hand to a model, and the words they get."""

from __future__ import annotations

import contextlib
import operator
import re
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae._typing import Distribution, Shape, Tensor
from tfvae.distributions.support import Support

__all__ = [
    "check_array",
    "check_distribution",
    "check_event_shape",
    "guard",
    "translated_errors",
]

# Around a message, so that it can be found whole inside of what TensorFlow makes of it.
_START, _END = "<tfvae>", "</tfvae>"


def check_distribution(output: Any, part: str, shape_of: str, layer: str) -> Distribution:
    """Returns `output` where it is a distribution over one example, and raises otherwise.

    Args:
        output: What the user's network returned.
        part: Name of the network, "encoder" or "decoder".
        shape_of: What its distribution is over, "one latent" or "one example of `x`".
        layer: A layer that would mend it.

    Raises:
        TypeError: `output` is no distribution.
        ValueError: The distribution has no batch axis or more than one.
    """
    if not isinstance(output, Distribution):
        what = (
            f"a tensor of shape {output.shape}" if tf.is_tensor(output) else type(output).__name__
        )
        raise TypeError(
            f"`{part}` must return a tfp distribution over {shape_of}. Received: {what}. "
            f"End the model with a layer of `tfvae.layers`, such as `{layer}`."
        )
    if output.batch_shape.rank != 1:
        raise ValueError(
            f"`{part}` must return one distribution over {shape_of} per example, batch shape [B]. "
            f"Received: batch_shape={output.batch_shape}, event_shape={output.event_shape}. "
            "Set `event_shape` on its last layer to the shape of a whole example."
        )
    return output


def check_event_shape(x: Any, event_shape: Shape, name: str = "x") -> None:
    """Checks that `x` is a batch of the examples that the model is for.

    Raises:
        ValueError: The rank or the sizes after the batch axis differ.
    """
    shape = tuple(x.shape)
    if len(shape) != len(event_shape) + 1 or any(
        size is not None and size != expected
        for size, expected in zip(shape[1:], event_shape, strict=True)
    ):
        expected = ", ".join(["batch", *map(str, event_shape)])
        hint = ""
        if shape == event_shape:
            hint = f" Add a batch axis: `{name}[None]`, or `.batch(n)` to a dataset."
        elif None not in shape[1:] and np.prod(shape[1:]) == np.prod(event_shape):
            hint = f" Reshape it: `{name}.reshape(-1, {', '.join(map(str, event_shape))})`."
        raise ValueError(
            f"`{name}` does not have the shape that this model is for. Expected: [{expected}]. "
            f"Received: {list(shape)}.{hint}"
        )


def check_array(x: np.ndarray, name: str, event_shape: Shape, support: Support) -> None:
    """Checks a whole array before anything is computed from it.

    Raises:
        ValueError: `x` is empty, of a wrong shape, not numeric, holds NaN or infinite values, or
            values that the likelihood cannot produce.
    """
    if x.size == 0:
        raise ValueError(f"`{name}` is empty. Expected at least one example. Received: {x.shape}")
    if x.dtype.kind not in "fiub":
        raise ValueError(f"`{name}` must hold numbers. Received: dtype={x.dtype}")
    check_event_shape(x, event_shape, name)
    lower, upper = float(np.min(x)), float(np.max(x))  # NaN and inf pass through to both
    if not (np.isfinite(lower) and np.isfinite(upper)):
        bad = ~np.isfinite(x)
        rows = np.unique(np.nonzero(bad)[0])
        raise ValueError(
            f"`{name}` holds NaN or infinite values: {int(bad.sum())} in {len(rows)} of {len(x)} "
            f"examples, the first in row {rows[0]}. Remove or impute them."
        )
    if _outside(lower, upper, support):
        raise ValueError(
            f"{_outside_text(name, support)} Received: values from {lower:g} to {upper:g}, "
            f"dtype={x.dtype}. {support.remedy}"
        )
    # One example in a thousand of rows is enough to see that an array is not binary.
    rows = x[:: max(1, len(x) // 1000)]
    between = _between_values(rows, support)
    if between is not None:
        kind = "whole numbers" if support.spacing == 1.0 else f"steps of {support.spacing:g}"
        warnings.warn(
            f"`{name}` holds fractions, such as {between:g}, but the "
            f"{support.likelihood} likelihood gives a log-likelihood to {kind} only. "
            f"{support.remedy}",
            UserWarning,
            stacklevel=4,
        )


def guard(x: Tensor, support: Support) -> Tensor:
    """Returns `x`, to be read only after run-time checks of a batch have passed.

    Must stand outside of XLA, which drops assertions.
    """
    if x.dtype.is_bool:
        return tf.cast(x, keras.config.floatx())
    checks = []
    if x.dtype.is_floating:
        # A sum is finite where all its terms are, and is the cheapest reduction there is.
        finite = tf.math.is_finite(tf.reduce_sum(x))
        message = "`x` holds NaN or infinite values in a batch. Remove or impute them."
        checks = [tf.debugging.Assert(finite, [_START + message + _END])]
    beyond = tf.greater if support.exclusive else tf.greater_equal
    low = support.lower is None or beyond(tf.reduce_min(x), tf.cast(support.lower, x.dtype))
    high = support.upper is None or beyond(tf.cast(support.upper, x.dtype), tf.reduce_max(x))
    if support.lower is not None or support.upper is not None:
        message = f"{_outside_text('x', support)} {support.remedy}"
        inside = tf.logical_and(low, high)
        checks.append(tf.debugging.Assert(inside, [_START + message + _END]))
    with tf.control_dependencies([check for check in checks if check is not None]):
        return tf.identity(x)


@contextlib.contextmanager
def translated_errors() -> Iterator[None]:
    """Turns the error of a `guard` into a `ValueError` with its one sentence."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        found = re.search(f"{_START}(.*?){_END}", error.message, re.DOTALL)
        if found is None:
            raise
        raise ValueError(found[1]) from None


def _outside(lower: float, upper: float, support: Support) -> bool:
    beyond = operator.le if support.exclusive else operator.lt
    below = support.lower is not None and beyond(lower, support.lower)
    above = support.upper is not None and beyond(support.upper, upper)
    return below or above


def _between_values(x: np.ndarray, support: Support) -> float | None:
    """Returns a value that lies between those of a `whole` support, None where there is none."""
    if not support.whole or x.dtype.kind != "f":
        return None
    steps = (x - (support.lower or 0.0)) / support.spacing
    # Levels such as k / 255 are rounded; whole numbers are not.
    tolerance = 0.0 if support.spacing == 1.0 else 1e-3
    between = np.abs(steps - np.round(steps)) > tolerance
    return float(x[between][0]) if between.any() else None


def _outside_text(name: str, support: Support) -> str:
    bounds = {
        (True, True): f"from {support.lower} to {support.upper}",
        (True, False): f"of at least {support.lower}",
        (False, True): f"of at most {support.upper}",
        (False, False): "",
    }[support.lower is not None, support.upper is not None]
    ends = ", ends excluded" if support.exclusive else ""
    return (
        f"`{name}` lies outside the support of the {support.likelihood} likelihood, which takes "
        f"values {bounds}{ends}."
    )
