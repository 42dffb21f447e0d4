"""A word to those who score data that a likelihood cannot have produced."""

from __future__ import annotations

import warnings
from typing import Any

import tensorflow as tf

from tfvae._tracing import in_xla
from tfvae._typing import Distribution, Tensor
from tfvae.distributions.support import NORM_TOLERANCE, Support, support_of

__all__ = ["warn_outside"]


def warn_outside(distribution: Distribution, x: Any, stacklevel: int = 3) -> None:
    """Warns where `x` holds values that `distribution` gives no density to.

    In eager code at once, in a graph when such values first come; never under XLA, which cannot
    call back. Models of `tfvae` check their data before all else and need none of it.
    """
    support = support_of(distribution)
    if support.columns or (support.lower, support.upper, support.norm) == (None, None, None):
        return
    x = tf.convert_to_tensor(x)
    if tf.executing_eagerly():
        if bool(_any_outside(x, support)):
            warnings.warn(_message(support), UserWarning, stacklevel=stacklevel)
    elif not in_xla():
        said: list[bool] = []

        def say() -> None:
            if not said:
                said.append(True)
                warnings.warn(_message(support), UserWarning, stacklevel=2)

        tf.cond(_any_outside(x, support), lambda: tf.py_function(say, [], []), tf.no_op)


def _any_outside(x: Tensor, support: Support) -> Tensor:
    wide = x if x.dtype.is_floating else tf.cast(x, tf.float32)
    outside = tf.zeros_like(wide, tf.bool)
    beyond = (tf.less_equal, tf.greater_equal) if support.exclusive else (tf.less, tf.greater)
    if support.lower is not None:
        outside |= beyond[0](wide, tf.cast(support.lower, wide.dtype))
    if support.upper is not None:
        outside |= beyond[1](wide, tf.cast(support.upper, wide.dtype))
    if support.whole:
        steps = (wide - tf.cast(support.lower or 0.0, wide.dtype)) / support.spacing
        # Levels such as k / 255 are rounded; whole numbers are not.
        tolerance = 0.0 if support.spacing == 1.0 else 1e-3
        outside |= tf.abs(steps - tf.round(steps)) > tolerance
    found = tf.reduce_any(outside & ~tf.math.is_nan(wide))
    if support.norm is not None:
        away = tf.abs(tf.norm(wide, ord=support.norm, axis=-1) - 1.0)
        found |= tf.reduce_any(away > NORM_TOLERANCE)
    return found


def _message(support: Support) -> str:
    return (
        f"The data holds values that a {support.likelihood} likelihood cannot have produced: the "
        f"number that it gives them is no log-likelihood. {support.remedy}"
    )
