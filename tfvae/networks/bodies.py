"""Ready-made bodies of encoders and decoders: tensor in, tensor out.

Each function returns an unbuilt `keras.Sequential`, to be put between an input and the `Dense`
layer that makes the parameters of a distribution. They know nothing of distributions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from tfvae._stored import parts_config
from tfvae._typing import Shape, Tensor, register, whole_number

__all__ = ["GatedDense", "conv", "conv_transpose", "functional", "gated_mlp", "mlp"]

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
        self.units = whole_number("units", units)
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
    filters: Sequence[int],
    activation: Activation = "relu",
    *,
    image_shape: Sequence[int],
    kernel_size: int = 3,
    name: str | None = None,
) -> keras.Sequential:
    """Returns the mirror of `conv`: a dense layer, then convolutions that double the size.

    What comes out are feature maps of the size of the image, as `conv` gives features: the
    parameters of a likelihood are made of them by `tfvae.layers.ImageParameters`.

    Args:
        filters: Channels of each convolution, from the smallest map to the largest.
        activation: Keras activation, by name or as a callable.
        image_shape: `(H, W)` or `(H, W, C)` of the image, H and W multiples of
            `2 ** len(filters)`; the channels are not read.
        kernel_size: Side of the square kernels.
        name: Name of the `keras.Sequential`.

    Returns:
        `[B, K]` → `[B, H, W, filters[-1]]`.

    Raises:
        ValueError: `image_shape` is no image, or its sides cannot be halved that often.

    Example:
        >>> tfvae.networks.conv_transpose([64, 32], image_shape=(28, 28))(tf.zeros([5, 16])).shape
        TensorShape([5, 28, 28, 32])
    """
    filters, image = _positive("filters", filters), _positive("image_shape", image_shape)
    factor = 2 ** len(filters)
    if len(image) not in (2, 3) or image[0] % factor or image[1] % factor:
        raise ValueError(
            "`image_shape` must be (height, width) or (height, width, channels) with sides that "
            f"are multiples of 2 ** len(filters) = {factor}. "
            f"Received: image_shape={tuple(image_shape)}"
        )
    smallest = (image[0] // factor, image[1] // factor, filters[0])
    layers = [
        keras.layers.Flatten(),
        keras.layers.Dense(smallest[0] * smallest[1] * smallest[2], activation),
        keras.layers.Reshape(smallest),
        *(
            keras.layers.Conv2DTranspose(
                channels, kernel_size, 2, padding="same", activation=activation
            )
            for channels in filters
        ),
    ]
    return keras.Sequential(layers, name=name)


def functional(
    inputs: Mapping[str, int | Sequence[int]],
    *layers: Callable[[Any], Any],
    name: str | None = None,
) -> keras.Model:
    """Returns a network of one or more named inputs, for models of several nodes or a context.

    One input goes through the layers as it is; several are flattened and joined, in their order.

    Args:
        inputs: Name of what is read → its shape, such as `{"z": (16,), "context": (10,)}`.
        *layers: What it goes through, one after the other: bodies of this module, `Dense` layers,
            and the layer that makes a distribution.
        name: Name of the `keras.Model`.

    Raises:
        ValueError: There are no inputs, or no layers.

    Example:
        >>> head = tfvae.layers.IndependentNormal(3)
        >>> network = tfvae.networks.functional(
        ...     {"z": 2, "context": (4, 4)},
        ...     tfvae.networks.mlp([16]), keras.layers.Dense(head.num_params), head)
        >>> network([tf.zeros([5, 2]), tf.zeros([5, 4, 4])]).event_shape
        TensorShape([3])
    """
    if not inputs or not layers:
        raise ValueError(
            "A network takes at least one input and one layer. "
            f"Received: inputs={dict(inputs)}, {len(layers)} layers."
        )
    shapes = {key: (s,) if isinstance(s, int) else tuple(s) for key, s in inputs.items()}
    read: list[Any] = [keras.Input(shape, name=key) for key, shape in shapes.items()]
    if len(read) == 1:
        value = read[0]
    else:
        flat = [part if part.ndim == 2 else keras.layers.Flatten()(part) for part in read]
        value = keras.layers.Concatenate()(flat)
    for layer in layers:
        value = layer(value)
    return keras.Model(read[0] if len(read) == 1 else read, value, name=name)


def _positive(name: str, sizes: Sequence[int]) -> list[int]:
    if isinstance(sizes, int) or not len(sizes):
        raise ValueError(
            f"`{name}` must be a non-empty sequence of positive ints. Received: {name}={sizes!r}"
        )
    return [whole_number(name, size) for size in sizes]
