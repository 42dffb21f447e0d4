"""Checks of the data that users hand to a model, and the words they get."""

from __future__ import annotations

import contextlib
import dataclasses
import operator
import re
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae._typing import Shape, Tensor
from tfvae._words import level_of_the_user
from tfvae.distributions.support import NORM_TOLERANCE, Support

__all__ = [
    "assertion",
    "check_array",
    "check_context",
    "check_event_shape",
    "checked_part",
    "marked",
    "not_finite_text",
    "shaped_part",
    "translated_errors",
]

# Around a message: see `marked`.
_START, _END = "<tfvae>", "</tfvae>"


def check_event_shape(x: Any, event_shape: Shape, name: str = "x") -> None:
    """Checks that `x` is a batch of the examples that the model is for, as far as is known.

    Raises:
        ValueError: The rank or the sizes after the batch axis differ.
    """
    if tf.TensorShape(x.shape).is_compatible_with([None, *event_shape]):
        return
    shape, hint = tuple(x.shape), ""
    if shape == event_shape:
        hint = f" Add a batch axis: `{name}[None]`, or `.batch(n)` to a dataset."
    elif None not in shape[1:] and np.prod(shape[1:]) == np.prod(event_shape):
        hint = f" Reshape it: `{name}.reshape({', '.join(map(str, (-1, *event_shape)))})`."
    raise ValueError(f"{_shape_text(name, event_shape)} Received: {list(shape)}.{hint}")


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
    if not np.isfinite([np.min(x), np.max(x)]).all():  # NaN and inf pass through to both
        bad = np.isinf(x) if support.missing else ~np.isfinite(x)
        if bad.any():
            rows = np.unique(np.nonzero(bad)[0])
            what, remedy = _not_finite(support)
            raise ValueError(
                f"`{name}` holds {what} values: {int(bad.sum())} in {len(rows)} of {len(x)} "
                f"examples, the first in row {rows[0]}. {remedy}"
            )
    for label, part, own in _columns(x, support):
        _check_values(part, name, own, label)


def _check_values(x: np.ndarray, name: str, support: Support, label: str) -> None:
    """Checks the observed values of an array that has one support."""
    if support.norm is not None:
        norms = np.linalg.norm(np.asarray(x, "float64"), ord=support.norm, axis=-1)
        # False where a part is missing, and so NaN.
        if np.any(np.abs(norms - 1.0) > NORM_TOLERANCE):
            raise ValueError(
                f"{_norm_text(name, support, label)} Received: from {np.nanmin(norms):g} to "
                f"{np.nanmax(norms):g}. {support.remedy}"
            )
    x = x[~np.isnan(x)] if support.missing and x.dtype.kind == "f" else x
    if x.size == 0:
        return
    lower, upper = float(np.min(x)), float(np.max(x))
    if _outside(lower, upper, support):
        raise ValueError(
            f"{_outside_text(name, support, label)} Received: values from {lower:g} to {upper:g}, "
            f"dtype={x.dtype}. {support.remedy}"
        )
    # One example in a thousand of rows is enough to see that an array is not binary.
    rows = x[:: max(1, len(x) // 1000)]
    between = _between_values(rows, support)
    if between is not None:
        kind = "whole numbers" if support.spacing == 1.0 else f"steps of {support.spacing:g}"
        warnings.warn(
            f"`{name}` holds fractions, such as {between:g}, but the "
            f"{support.likelihood} likelihood{label} gives a log-likelihood to {kind} only. "
            f"{support.remedy}",
            UserWarning,
            stacklevel=level_of_the_user(),
        )


def check_context(x: Any, context: Any = None, *, context_shape: Shape | None) -> None:
    """Checks that a context is there where the model takes one, and nowhere else, and fits `x`.

    Raises:
        ValueError: The context is missing, surplus, of a wrong shape, of another number of rows,
            not finite, or not numeric.
    """
    if context_shape is None:
        if context is not None:
            raise ValueError(
                "This model takes no context: neither its networks nor its prior read one. "
                f"Received: context of shape {list(context.shape)}. Give the encoder, the decoder "
                "or the prior a second input for it, or leave it out."
            )
        return
    if context is None:
        raise ValueError(
            'This model needs a context beside `x`: pass `{"x": x, "context": c}` as data, '
            f"or `context=c`. Expected: c of shape {_with_batch(context_shape)}. Received: none."
        )
    check_event_shape(context, context_shape, "context")
    if None not in (x.shape[0], context.shape[0]) and x.shape[0] != context.shape[0]:
        raise ValueError(
            "`context` must have one row per row of `x`. "
            f"Received: {context.shape[0]} rows for {x.shape[0]} of `x`."
        )
    if isinstance(context, np.ndarray):
        if context.dtype.kind not in "fiub":
            raise ValueError(f"`context` must hold numbers. Received: dtype={context.dtype}")
        if not np.all(np.isfinite(context)):
            raise ValueError("`context` holds NaN or infinite values. Remove or impute them.")


def checked_part(
    x: Tensor, event_shape: Shape, name: str, support: Support | None = None, place: str = ""
) -> tuple[Tensor, list[Any]]:
    """Returns a part of a batch with its shape set, and assertions on its shape and values.

    Args:
        x: `[B, *event_shape]`.
        event_shape: Shape of one example.
        name: Of the part, for messages.
        support: The values that it can have; None for all finite ones.
        place: What messages of assertions begin with.

    Raises:
        ValueError: Shape or type are known and wrong.
    """
    part, checks = _finite_part(x, event_shape, name, support, place)
    if support is not None and not x.dtype.is_bool:
        checks += _support_checks(part, name, support, place)
    return part, checks


def shaped_part(
    x: Tensor, event_shape: Shape, name: str, place: str = ""
) -> tuple[Tensor, list[Any]]:
    """Returns numbers `[B, *event_shape]` with their shape set, and assertions on it.

    Raises:
        ValueError: Shape or type are known and wrong.
    """
    if not (x.dtype.is_floating or x.dtype.is_integer or x.dtype.is_bool):
        raise ValueError(f"`{name}` must hold numbers. Received: dtype={x.dtype.name}")
    check_event_shape(x, event_shape, name)
    checks = []
    if x.shape.rank is None or None in x.shape[1:]:
        # The -1 at the end tells shapes of another rank apart, which would broadcast. `tf.rank`
        # does not: where a function says what rank it takes, TensorFlow puts that in its place.
        same = tf.raw_ops.Equal(
            x=tf.concat([tf.shape(x)[1:], [-1]], axis=0),
            y=[*event_shape, -1],
            incompatible_shape_error=False,
        )
        fits = tf.reduce_all(same)
        text = f"{place}{_shape_text(name, event_shape)} Received: {{}}."
        checks.append(assertion(fits, text, tf.shape(x)))
        # A reshape, because TensorFlow reads backwards from what multiplies `x` by weights what
        # shape it must have, and then drops a check of that shape as true.
        with tf.control_dependencies(checks):
            x = tf.reshape(x, [-1, *event_shape])
    return x, checks


def not_finite_text(name: str, support: Support | None = None) -> str:
    """Returns what is said of a part of a batch with NaN or infinite values."""
    what, remedy = _not_finite(support)
    return f"`{name}` holds {what} values in a batch. {remedy}"


def _finite_part(
    x: Tensor, event_shape: Shape, name: str, support: Support | None, place: str
) -> tuple[Tensor, list[Any]]:
    x, checks = shaped_part(x, event_shape, name, place)
    if x.dtype.is_bool:
        return tf.cast(x, keras.config.floatx()), checks
    message = place + not_finite_text(name, support)
    if x.dtype.is_floating and support is not None and support.missing:
        checks.append(assertion(~tf.reduce_any(tf.math.is_inf(x)), message))
    elif x.dtype.is_floating:
        # A sum is the cheapest reduction there is, and finite only where all its terms are; finite
        # numbers may add up to infinity, so that only a second look tells.
        finite = tf.cond(
            tf.math.is_finite(tf.reduce_sum(x)),
            lambda: True,
            lambda: tf.reduce_all(tf.math.is_finite(x)),
        )
        checks.append(assertion(finite, message))
    return x, checks


def _support_checks(x: Tensor, name: str, support: Support, place: str) -> list[Any]:
    """Returns the assertions that a batch lies within the bounds of the likelihood."""
    checks = []
    for label, part, own in _columns(x, support):
        checks += _bounds(part, own, f"{place}{_outside_text(name, own, label)} {own.remedy}")
        if own.norm is not None:
            real = part if part.dtype.is_floating else tf.cast(part, tf.float32)
            away = tf.abs(tf.norm(real, ord=own.norm, axis=-1) - 1.0)
            message = f"{place}{_norm_text(name, own, label)} {own.remedy}"
            checks.append(assertion(~tf.reduce_any(away > NORM_TOLERANCE), message))
    return checks


@contextlib.contextmanager
def translated_errors() -> Iterator[None]:
    """Turns the error of a checked batch into a `ValueError` with its one sentence."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        found = re.search(f"{_START}(.*?){_END}", error.message, re.DOTALL)
        if found is None:
            raise
        # TensorFlow writes what is not ASCII, such as in names of columns, as bytes in octal.
        message = found[1].encode().decode("unicode_escape").encode("latin-1").decode()
        raise ValueError(message) from None


def _with_batch(event_shape: Shape) -> str:
    return f"[{', '.join(['batch', *map(str, event_shape)])}]"


def _shape_text(name: str, event_shape: Shape) -> str:
    expected = _with_batch(event_shape)
    return f"`{name}` does not have the shape that this model is for. Expected: {expected}."


def assertion(condition: Tensor, message: str, *received: Tensor) -> tf.Operation:
    """Returns an operation that fails with one sentence.

    Args:
        condition: A truth value `[]`.
        message: The sentence, with `{}` for each of `received`.
        *received: What is told of what came.
    """
    text: Any = marked(message)
    if received:
        text = tf.strings.format(text, received)
    return tf.debugging.Assert(condition, [text])


def marked(message: str) -> str:
    """Returns a message that can be found whole inside of what TensorFlow makes of it."""
    return f"{_START}{message}{_END}"


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


def _columns(x: Any, support: Support, label: str = "") -> Iterator[tuple[str, Any, Support]]:
    """Yields words for each part of `x` that has a support of its own, the part, the support."""
    if not support.columns:
        yield label, x, support
    start = 0
    for name, size, own in support.columns:
        own = dataclasses.replace(own, missing=support.missing)
        yield from _columns(x[..., start : start + size], own, f" of column `{name}`")
        start += size


def _not_finite(support: Support | None) -> tuple[str, str]:
    """Returns what a part of the data must not hold, and what to do."""
    if support is None:
        return "NaN or infinite", "Remove or impute them."
    if support.missing:
        return "infinite", "Remove them, or set them to NaN where they mean a missing entry."
    remedy = (
        "Remove or impute them, or wrap the likelihood in `tfvae.layers.Masked`, which takes NaN "
        "as missing."
    )
    return "NaN or infinite", remedy


def _bounds(x: Tensor, support: Support, message: str) -> list[tf.Operation]:
    """Returns the assertions that no observed value lies beyond the bounds of `support`."""
    beyond = tf.greater if support.exclusive else tf.greater_equal
    checks = []
    for low, bound in ((True, support.lower), (False, support.upper)):
        if bound is None:
            continue
        limit = tf.cast(bound, x.dtype)
        if support.missing and x.dtype.is_floating:
            inside = beyond(x, limit) if low else beyond(limit, x)
            inside = tf.reduce_all(inside | tf.math.is_nan(x))
        else:
            inside = beyond(tf.reduce_min(x), limit) if low else beyond(limit, tf.reduce_max(x))
        checks.append(assertion(inside, message))
    return checks


def _norm_text(name: str, support: Support, label: str = "") -> str:
    measure = "lengths" if support.norm == 2 else "sums"
    return (
        f"`{name}` lies outside the support of the {support.likelihood} likelihood{label}, which "
        f"takes vectors whose {measure} are 1."
    )


def _outside_text(name: str, support: Support, label: str = "") -> str:
    bounds = {
        (True, True): f"from {support.lower} to {support.upper}",
        (True, False): f"of at least {support.lower}",
        (False, True): f"of at most {support.upper}",
        (False, False): "",
    }[support.lower is not None, support.upper is not None]
    ends = ", ends excluded" if support.exclusive else ""
    return (
        f"`{name}` lies outside the support of the {support.likelihood} likelihood{label}, which "
        f"takes values {bounds}{ends}."
    )
