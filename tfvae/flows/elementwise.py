"""Invertible maps of single numbers: what flows do to one coordinate, given its parameters."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfvae._typing import Tensor

__all__ = ["MAX_LOG_SCALE", "affine", "rational_quadratic"]

MAX_LOG_SCALE = 3.0
_MAX_LOG_SLOPE = 3.0
# Of the size of an even bin, what the smallest one keeps. Smaller ones bend more and are inverted
# less exactly: where a slope is small, rounding of y moves x far.
_MIN_BIN = 0.2


def affine(x: Tensor, params: Tensor, *, inverse: bool = False) -> tuple[Tensor, Tensor]:
    """Shifts and scales: the identity at parameters of zero.

        y = x * exp(log_scale) + shift,   |log_scale| <= MAX_LOG_SCALE

    Scales are bounded so that several maps, one after the other, overflow for no parameters.

    Args:
        x: `[...]`.
        params: Shift and raw log scale `[..., 2]`.
        inverse: Whether to take y to x.

    Returns:
        The image `[...]`, and the logarithm of the derivative `[...]`.
    """
    shift, raw = params[..., 0], params[..., 1]
    log_scale = MAX_LOG_SCALE * tf.tanh(raw / MAX_LOG_SCALE)
    if inverse:
        return (x - shift) * tf.exp(-log_scale), -log_scale
    return x * tf.exp(log_scale) + shift, log_scale


def rational_quadratic(
    x: Tensor, params: Tensor, bound: float, *, inverse: bool = False
) -> tuple[Tensor, Tensor]:
    """Monotone spline of quotients of quadratics on `[-bound, bound]`, the identity outside.

    Between knots `(x_k, y_k)` with derivatives `d_k`, for `t = (x - x_k) / w_k` in [0, 1]:

        y = y_k + h_k (s t**2 + d_k t (1 - t)) / (s + (d_k + d_{k+1} - 2 s) t (1 - t))
        s = h_k / w_k

    At parameters of zero it is the identity. The derivative is one at both ends.

    Args:
        x: `[...]`.
        params: K raw widths, K raw heights and K - 1 raw log derivatives at the inner knots,
            `[..., 3 K - 1]`.
        bound: End of the interval that the spline bends.
        inverse: Whether to take y to x.

    Returns:
        The image `[...]`, and the logarithm of the derivative `[...]`.

    Reference: Neural Spline Flows (Durkan et al., 2019), https://arxiv.org/abs/1906.04032
    """
    num_bins = (params.shape[-1] + 1) // 3
    raw_widths, raw_heights, raw_slopes = tf.split(params, [num_bins, num_bins, num_bins - 1], -1)
    x_knots, y_knots = _knots(raw_widths, bound), _knots(raw_heights, bound)  # [..., K + 1]
    inner = tf.exp(_MAX_LOG_SLOPE * tf.tanh(raw_slopes / _MAX_LOG_SLOPE))
    ends = _filled(raw_widths, 1.0)
    slopes: Any = tf.concat([ends, inner, ends], axis=-1)  # [..., K + 1]

    inside = (x > -bound) & (x < bound)
    # What lies outside is replaced, and not only its result: gradients would else be NaN.
    value = tf.where(inside, x, tf.zeros_like(x))
    knots: Any = y_knots if inverse else x_knots
    each: Any = tf.expand_dims(value, -1)
    bin_of = (each >= knots[..., :-1]) & (each < knots[..., 1:])  # [..., K], one is true

    def at(values: Tensor) -> Tensor:
        return tf.reduce_sum(tf.where(bin_of, values, tf.zeros_like(values)), axis=-1)

    x_0, y_0 = at(x_knots[..., :-1]), at(y_knots[..., :-1])
    width, height = (
        at(x_knots[..., 1:] - x_knots[..., :-1]),
        at(y_knots[..., 1:] - y_knots[..., :-1]),
    )
    d_0, d_1 = at(slopes[..., :-1]), at(slopes[..., 1:])
    s = height / width
    bend = d_0 + d_1 - 2.0 * s
    if inverse:
        # The root in [0, 1] of a t**2 + b t + c, in the form that does not cancel.
        rise = value - y_0
        a, b, c = height * (s - d_0) + rise * bend, height * d_0 - rise * bend, -s * rise
        discriminant = tf.maximum(b * b - 4.0 * a * c, tf.cast(1e-30, x.dtype))
        t = 2.0 * c / (-b - tf.sqrt(discriminant))
        t = tf.clip_by_value(t, 0.0, 1.0)
        image = x_0 + t * width
    else:
        t = (value - x_0) / width
        both = t * (1.0 - t)
        image = y_0 + height * (s * t * t + d_0 * both) / (s + bend * both)
    both = t * (1.0 - t)
    numerator = d_1 * t * t + 2.0 * s * both + d_0 * (1.0 - t) * (1.0 - t)
    log_slope = 2.0 * tf.math.log(s) + tf.math.log(numerator) - 2.0 * tf.math.log(s + bend * both)
    log_slope = -log_slope if inverse else log_slope
    return tf.where(inside, image, x), tf.where(inside, log_slope, tf.zeros_like(log_slope))


def _knots(raw: Tensor, bound: float) -> Any:
    """Returns K + 1 increasing knots from -bound to bound, from K raw bin sizes."""
    num_bins = raw.shape[-1]
    share = _MIN_BIN / num_bins + (1.0 - _MIN_BIN) * tf.nn.softmax(raw, axis=-1)
    passed: Any = tf.cumsum(share, axis=-1)
    inner = bound * (2.0 * passed[..., :-1] - 1.0)
    return tf.concat([_filled(raw, -bound), inner, _filled(raw, bound)], axis=-1)


def _filled(like: Tensor, value: float) -> Tensor:
    """Returns a constant `[..., 1]` with the leading axes of `like` `[..., K]`."""
    return tf.zeros_like(like[..., :1]) + tf.cast(value, like.dtype)
