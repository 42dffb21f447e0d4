"""From the numbers that a network returns to the parameters of a family."""

from __future__ import annotations

import tensorflow as tf

from tfvae._shapes import with_event
from tfvae._typing import Shape, Tensor, whole_number

__all__ = ["MIN_SCALE", "above", "below", "split_components", "split_parameters", "within"]

MIN_SCALE = 1e-5


def split_parameters(
    params: Tensor, event_shape: Shape, num_parts: int, inner_shape: Shape = ()
) -> list[Tensor]:
    """Cuts `[..., num_parts * size(E + I)]` along the last axis into parts `[..., *E, *I]`."""
    parts = tf.split(params, num_parts, axis=-1) if num_parts > 1 else [params]
    shape = event_shape + inner_shape
    if len(shape) == 1:
        return parts
    return [with_event(part, shape) for part in parts]


def split_components(params: Tensor, num_components: int) -> tuple[Tensor, Tensor]:
    """Cuts `[..., C * (1 + P)]` into `logits` `[..., C]` and parameters `[..., C, P]`."""
    num_components = whole_number("num_components", num_components)
    logits, rest = params[..., :num_components], params[..., num_components:]
    size = -1 if rest.shape[-1] is None else rest.shape[-1] // num_components
    return logits, with_event(rest, [num_components, size])


def above(floor: float, raw: Tensor) -> Tensor:
    """Returns `floor + softplus(raw)`: positive, and never so small that densities overflow."""
    return tf.math.softplus(raw) + tf.cast(floor, raw.dtype)


def below(ceiling: float, raw: Tensor) -> Tensor:
    """Returns `min(raw, ceiling)` with the gradient of `raw`, which can so come back from there."""
    return within(-float("inf"), ceiling, raw)


def within(floor: float, ceiling: float, raw: Tensor) -> Tensor:
    """Returns `raw` clipped to [floor, ceiling], with the gradient of `raw` also beyond."""
    # Not by `tf.custom_gradient`, whose graphs TensorFlow keeps as long as the process lives.
    finite = tf.where(tf.math.is_finite(raw), raw, tf.zeros_like(raw))
    low, high = tf.cast(floor, raw.dtype), tf.cast(ceiling, raw.dtype)
    held = tf.clip_by_value(tf.stop_gradient(raw), low, high)
    return held + (finite - tf.stop_gradient(finite))
