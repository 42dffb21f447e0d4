"""What encoders make of missing entries."""

from __future__ import annotations

from typing import Any

import keras

from tfvae._typing import Shape, Tensor, register

__all__ = ["FillMissing"]


@register
class FillMissing(keras.layers.Layer):
    """Replaces NaN by a number, and says where it did: the first layer of an encoder.

        missing = isnan(x)
        y = concatenate([where(missing, value, x), missing], axis=-1)

    Args:
        value: What stands in for NaN.
        indicators: Adds the second half, 1.0 where an entry is missing and 0.0 elsewhere.
        **kwargs: `name`, `dtype` and the other arguments of `keras.layers.Layer`.

    Returns:
        `[..., C]` → `[..., 2 * C]`, `[..., C]` without indicators; images get channels more.

    Raises:
        ValueError: `value` is not finite.

    Example:
        >>> tfvae.networks.FillMissing()(tf.constant([[3.0, np.nan]])).numpy()
        array([[3., 0., 0., 1.]], dtype=float32)

    Reference: MIWAE (Mattei and Frellsen, 2019), https://arxiv.org/abs/1812.02633
    """

    def __init__(self, value: float = 0.0, indicators: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not abs(value) < float("inf"):
            raise ValueError(f"`value` must be a finite number. Received: value={value!r}")
        self.value = value
        self.indicators = indicators

    def call(self, x: Tensor) -> Tensor:
        missing: Any = keras.ops.isnan(x)
        filled = keras.ops.where(missing, keras.ops.cast(self.value, x.dtype), x)
        if not self.indicators:
            return filled
        return keras.ops.concatenate([filled, keras.ops.cast(missing, x.dtype)], axis=-1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], input_shape[-1] * (2 if self.indicators else 1))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "value": self.value, "indicators": self.indicators}
