"""The dense layer with a mask: a unit sees only inputs of a degree up to its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae._stored import parts_config
from tfvae._typing import Shape, Tensor, register
from tfvae.networks.activation import elementwise_activation
from tfvae.networks.bodies import another

__all__ = ["MaskedDense", "check_context", "initializers_config", "product"]


@register
class MaskedDense(keras.layers.Layer):
    """Dense layer whose units see only some of the inputs, and a context as a whole.

        y = activation(x (W * mask) + b + context V)
        mask[i, j] = in_degrees[i] <= out_degrees[j],   or < where `exclusive`

    Args:
        in_degrees: Degree of each input, `[I]`.
        out_degrees: Degree of each unit, `[O]`.
        exclusive: Units see only inputs of smaller degree, not those of their own.
        context_size: Size of the context, C; 0 for none.
        activation: Keras activation, by name or as a callable, of each unit by itself.
        use_bias: Whether there is a bias `b`.
        kernel_initializer: Keras initializer of `W` (then masked) and of `V`.
        bias_initializer: Keras initializer of `b`.
        kernel_regularizer: Keras regularizer of `W` and of `V`.
        bias_regularizer: Keras regularizer of `b`.
        **kwargs: `name`, `dtype` and the other arguments of `keras.layers.Layer`.

    Call arguments:
        x: `[..., I]`.
        context: `[..., C]`; leading axes broadcast with those of `x`.

    Returns:
        `[..., O]`.

    Raises:
        ValueError: Sizes do not fit, a context is missing or not expected, or the activation mixes
            units.

    Example:
        >>> layer = tfvae.networks.MaskedDense([1, 2], [1, 2], kernel_initializer="ones")
        >>> layer(tf.constant([[1.0, 10.0]])).numpy()
        array([[ 1., 11.]], dtype=float32)

    Reference: MADE (Germain et al., 2015), https://arxiv.org/abs/1502.03509
    """

    def __init__(
        self,
        in_degrees: Sequence[int],
        out_degrees: Sequence[int],
        *,
        exclusive: bool = False,
        context_size: int = 0,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.in_degrees = [int(degree) for degree in in_degrees]
        self.out_degrees = [int(degree) for degree in out_degrees]
        self.exclusive = exclusive
        self.context_size = context_size
        self.activation = elementwise_activation(activation)
        self.use_bias = use_bias
        self.kernel_initializer: Any = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)

    @property
    def mask(self) -> np.ndarray:
        """Which unit sees which input, bool `[I, O]`."""
        before = np.less if self.exclusive else np.less_equal
        return before(np.array(self.in_degrees)[:, None], np.array(self.out_degrees)[None])

    def build(self, x_shape: Shape, context_shape: Shape | None = None) -> None:
        sizes = len(self.in_degrees), len(self.out_degrees)
        if x_shape[-1] != sizes[0]:
            raise ValueError(
                f"`x` must hold {sizes[0]} values in its last axis, as many as `in_degrees`. "
                f"Received: x of shape {tuple(x_shape)}"
            )
        mask = self.mask

        def masked(shape: Shape, dtype: Any = None) -> Tensor:
            kernel = self.kernel_initializer(shape, dtype=dtype)
            return kernel * keras.ops.cast(mask, kernel.dtype)

        self.kernel = None
        if mask.any():  # Otherwise it would be a weight that nothing trains.
            self.kernel = self.add_weight(
                shape=sizes,
                initializer=masked,
                regularizer=self.kernel_regularizer,
                autocast=False,
                name="kernel",
            )
        self.context_kernel = None
        if self.context_size:
            self.context_kernel = self.add_weight(
                shape=(self.context_size, sizes[1]),
                initializer=another(self.kernel_initializer),
                regularizer=self.kernel_regularizer,
                autocast=False,
                name="context_kernel",
            )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                shape=sizes[1:],
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                autocast=False,
                name="bias",
            )
        self.built = True

    def call(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        check_context(context, self.context_size)
        return self.activation(product(x, self.masked_kernel()) + self.offset(context))

    def masked_kernel(self) -> Tensor:
        """Returns `W * mask` `[I, O]`."""
        if self.kernel is None:
            return keras.ops.zeros(self.mask.shape, self.compute_dtype)
        kernel: Any = self._cast(self.kernel)
        return kernel * keras.ops.cast(self.mask, kernel.dtype)

    def offset(self, context: Tensor | None) -> Tensor:
        """Returns what does not depend on `x`, `b + context V`: `[..., O]`, or `[O]`."""
        if self.bias is None:
            offset: Any = keras.ops.zeros([len(self.out_degrees)], self.compute_dtype)
        else:
            offset = self._cast(self.bias)
        if self.context_kernel is not None:
            offset = offset + product(context, self._cast(self.context_kernel))
        return offset

    def _cast(self, weight: Any) -> Any:
        # Here and not by Keras, which does so only within a call.
        return keras.ops.cast(weight, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "in_degrees": self.in_degrees,
            "out_degrees": self.out_degrees,
            "exclusive": self.exclusive,
            "context_size": self.context_size,
            **parts_config(self, "activation"),
            "use_bias": self.use_bias,
            **initializers_config(self),
        }


def product(x: Any, kernel: Any) -> Any:
    """Returns `x` `[..., I]` times `kernel` `[I, O]`.

    As one product of matrices: with a batch of `[N, 1]` and more, `tf.matmul` of TensorFlow 2.21
    writes beyond its memory on CPUs (oneDNN).
    """
    return tf.tensordot(x, kernel, 1)


def check_context(context: Tensor | None, context_size: int | None) -> None:
    """Raises where a context is missing, not expected, or of a wrong size."""
    received = "none" if context is None else f"context of shape {tuple(context.shape)}"
    if not context_size:
        if context is not None and context.shape[-1] != 0:
            raise ValueError(
                "This layer was built without a context. "
                f"Received: {received}. Set `context_size` where it is made."
            )
    elif context is None or context.shape[-1] != context_size:
        raise ValueError(
            f"`context` must hold {context_size} values in its last axis. Received: {received}"
        )


def initializers_config(layer: Any) -> dict[str, Any]:
    """Returns initializers and regularizers of a layer as plain data."""
    names = ("kernel_initializer", "bias_initializer", "kernel_regularizer", "bias_regularizer")
    return parts_config(layer, *names)
