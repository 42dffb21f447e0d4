"""Ready-made bodies of encoders and decoders: tensor in, tensor out.

Each function returns an unbuilt `keras.Sequential`, to be put between an input and the `Dense`
layer that makes the parameters of a distribution. They know nothing of distributions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from tfvae._stored import parts_config
from tfvae._typing import Shape, Tensor, register

__all__ = ["GatedDense", "conv", "conv_transpose", "gated_mlp", "mlp"]

Activation = str | Callable[[Tensor], Tensor]


@register
class GatedDense(keras.layers.Layer):
    """Dense layer whose output is gated by a sigmoid of the same input.

        y = (x W_h + b_h) * sigmoid(x W_g + b_g)

    Both products are one: the kernel holds `W_h` and `W_g` side by side.

    Args:
        units: Number of outputs.
        kernel_initializer: Keras initializer of both kernels, each with its own fans.
        **kwargs: `name`, `dtype` and the other arguments of `keras.layers.Layer`.

    Raises:
        ValueError: `units` is not a positive int.

    Reference: Language Modeling with Gated Convolutional Networks (Dauphin et al., 2017),
    https://arxiv.org/abs/1612.08083
    """

    def __init__(
        self, units: int, *, kernel_initializer: Any = "glorot_uniform", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(units, int) or units < 1:
            raise ValueError(f"`units` must be a positive int. Received: units={units!r}")
        self.units = units
        self.kernel_initializer: Any = keras.initializers.get(kernel_initializer)

    def build(self, input_shape: Shape) -> None:
        half = (input_shape[-1], self.units)

        def both_halves(shape: Shape, dtype: Any = None) -> Tensor:
            del shape
            parts = (self.kernel_initializer, another(self.kernel_initializer))
            return keras.ops.concatenate([part(half, dtype=dtype) for part in parts], axis=-1)

        self.kernel = self.add_weight(
            shape=(half[0], 2 * self.units), initializer=both_halves, name="kernel"
        )
        self.bias = self.add_weight(shape=(2 * self.units,), initializer="zeros", name="bias")

    def call(self, x: Tensor) -> Tensor:
        both: Any = keras.ops.matmul(x, self.kernel) + self.bias
        linear, gate = keras.ops.split(both, 2, axis=-1)  # pyright: ignore[reportGeneralTypeIssues]
        return linear * keras.ops.sigmoid(gate)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            **parts_config(self, "kernel_initializer"),
        }


def another(initializer: Any, index: int = 1) -> Any:
    """Returns an initializer of the same kind that gives other random values.

    An initializer object gives the same values at every call, and so does a copy with its seed:
    the gate would start as a copy of what it gates. Each `index` from 1 on gives values of its own.
    """
    if not isinstance(initializer, keras.initializers.Initializer):
        return initializer
    config = initializer.get_config()
    if isinstance(config.get("seed"), int):
        config["seed"] += index
    return type(initializer).from_config(config)


def mlp(
    hidden: Sequence[int], activation: Activation = "relu", *, name: str | None = None
) -> keras.Sequential:
    """Returns dense layers with an activation after each.

    Args:
        hidden: Units of each layer.
        activation: Keras activation, by name or as a callable.
        name: Name of the `keras.Sequential`.

    Returns:
        `[B, ...]` → `[B, hidden[-1]]`; inputs of higher rank are flattened.

    Example:
        >>> tfvae.networks.mlp([300, 300])(tf.zeros([5, 28, 28, 1])).shape
        TensorShape([5, 300])
    """
    layers = [keras.layers.Dense(units, activation) for units in _positive("hidden", hidden)]
    return keras.Sequential([keras.layers.Flatten(), *layers], name=name)


def gated_mlp(hidden: Sequence[int], *, name: str | None = None) -> keras.Sequential:
    """Returns `GatedDense` layers, the body of the VampPrior paper's models.

    Args:
        hidden: Units of each layer.
        name: Name of the `keras.Sequential`.

    Returns:
        `[B, ...]` → `[B, hidden[-1]]`; inputs of higher rank are flattened.

    Example:
        >>> tfvae.networks.gated_mlp([300, 300])(tf.zeros([5, 784])).shape
        TensorShape([5, 300])

    Reference: VAE with a VampPrior (Tomczak and Welling, 2018), https://arxiv.org/abs/1705.07120
    """
    layers = [GatedDense(units) for units in _positive("hidden", hidden)]
    return keras.Sequential([keras.layers.Flatten(), *layers], name=name)


def conv(
    filters: Sequence[int],
    activation: Activation = "relu",
    *,
    kernel_size: int = 3,
    name: str | None = None,
) -> keras.Sequential:
    """Returns strided convolutions, each halving height and width, then a flat vector.

    Args:
        filters: Channels of each convolution.
        activation: Keras activation, by name or as a callable.
        kernel_size: Side of the square kernels.
        name: Name of the `keras.Sequential`.

    Returns:
        `[B, H, W, C]` → `[B, F]`.

    Example:
        >>> tfvae.networks.conv([32, 64])(tf.zeros([5, 28, 28, 1])).shape
        TensorShape([5, 3136])
    """
    layers = [
        keras.layers.Conv2D(channels, kernel_size, 2, padding="same", activation=activation)
        for channels in _positive("filters", filters)
    ]
    return keras.Sequential([*layers, keras.layers.Flatten()], name=name)


def conv_transpose(
    image_shape: Sequence[int],
    filters: Sequence[int],
    activation: Activation = "relu",
    *,
    kernel_size: int = 3,
    name: str | None = None,
) -> keras.Sequential:
    """Returns the mirror of `conv`: a dense layer, then convolutions that double the size.

    The last step maps to the channels of the image with no activation and flattens: for a
    likelihood with one parameter per pixel these are its parameters; for more parameters per
    pixel pass an `image_shape` with that many times the channels.

    Args:
        image_shape: `(H, W, C)` of the output, H and W multiples of `2 ** len(filters)`.
        filters: Channels from the smallest map to the largest.
        activation: Keras activation, by name or as a callable.
        kernel_size: Side of the square kernels.
        name: Name of the `keras.Sequential`.

    Returns:
        `[B, K]` → `[B, H * W * C]`.

    Raises:
        ValueError: `image_shape` is no image, or its sides cannot be halved that often.

    Example:
        >>> tfvae.networks.conv_transpose((28, 28, 1), [64, 32])(tf.zeros([5, 16])).shape
        TensorShape([5, 784])
    """
    filters, image = _positive("filters", filters), _positive("image_shape", image_shape)
    factor = 2 ** len(filters)
    if len(image) != 3 or image[0] % factor or image[1] % factor:
        raise ValueError(
            "`image_shape` must be (height, width, channels) with sides that are multiples of "
            f"2 ** len(filters) = {factor}. Received: image_shape={tuple(image_shape)}"
        )
    smallest = (image[0] // factor, image[1] // factor, filters[0])
    layers = [
        keras.layers.Dense(smallest[0] * smallest[1] * smallest[2], activation),
        keras.layers.Reshape(smallest),
    ]
    for channels in filters:
        layers.append(
            keras.layers.Conv2DTranspose(
                channels, kernel_size, 2, padding="same", activation=activation
            )
        )
    layers += [
        keras.layers.Conv2D(image[2], kernel_size, padding="same"),
        keras.layers.Flatten(),
    ]
    return keras.Sequential(layers, name=name)


def _positive(name: str, sizes: Sequence[int]) -> list[int]:
    if isinstance(sizes, int) or not sizes or any(int(s) != s or s < 1 for s in sizes):
        raise ValueError(
            f"`{name}` must be a non-empty sequence of positive ints. Received: {name}={sizes!r}"
        )
    return [int(size) for size in sizes]
