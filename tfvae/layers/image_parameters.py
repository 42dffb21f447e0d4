"""From feature maps to the parameters of a likelihood over images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfvae._typing import Shape, Tensor, register
from tfvae._words import kind_of
from tfvae.layers.adapted import Adapted
from tfvae.layers.base import DistributionLayer, IndependentLayer
from tfvae.layers.categorical import IndependentCategorical
from tfvae.layers.discretized import MixtureOfDiscretizedLogistics
from tfvae.layers.masked import Masked

__all__ = ["ImageParameters"]


@register
class ImageParameters(keras.layers.Layer):
    """The last convolution of a decoder of images: maps `[H, W, F]` → the likelihood's parameters.

    A convolution gives each pixel its parameters as channels, and a likelihood reads its parameters
    part after part, such as all locs before all scales: here they are put into the order that the
    likelihood reads. To flatten the maps instead would take the loc of one pixel for the scale of
    another, and nothing would say so.

    Args:
        likelihood: The distribution layer over images `(H, W, C)` that follows, one whose elements
            have parameters of their own; in `Masked` or `Adapted` too. Or how it reads them, as
            files keep it: `(parts, H, W, C, inner)`.
        kernel_size: Side of the square kernel.
        **kwargs: `name`, `dtype` and the other arguments of `keras.layers.Layer`.

    Call arguments:
        maps: `[B, H, W, F]`.

    Returns:
        `[B, P]`, what `likelihood` reads.

    Raises:
        ValueError: The likelihood is not one over images, or the maps have another size.
        TypeError: Its parameters do not belong to pixels.

    Example:
        >>> likelihood = tfvae.layers.DiscretizedLogistic((28, 28, 1))
        >>> decoder = keras.Sequential([
        ...     keras.Input((16,)),
        ...     tfvae.networks.conv_transpose([64, 32], image_shape=(28, 28)),
        ...     tfvae.layers.ImageParameters(likelihood),
        ...     likelihood,
        ... ])
        >>> decoder(tf.zeros([5, 16])).event_shape
        TensorShape([28, 28, 1])
    """

    def __init__(
        self, likelihood: DistributionLayer | Sequence[int], kernel_size: int = 3, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        # Not the likelihood itself: Keras would count and store its weights twice.
        self._layout = _layout_of(likelihood)
        self.kernel_size = kernel_size
        parts, _, _, channels, inner = self._layout
        self.convolution = keras.layers.Conv2D(
            parts * channels * inner,
            kernel_size,
            padding="same",
            name="parameters",
            dtype=self.dtype_policy,
        )

    def build(self, input_shape: Shape) -> None:
        if tuple(input_shape[1:3]) != self._layout[1:3]:
            raise ValueError(
                f"Layer '{self.name}' reads maps of the size of the image, "
                f"{list(self._layout[1:3])}. Received: shape={tuple(input_shape)}."
            )
        self.convolution.build(input_shape)
        self.built = True

    def call(self, maps: Tensor) -> Tensor:
        made: Any = self.convolution(maps)
        parts, height, width, channels, inner = self._layout
        each = tf.reshape(made, [-1, height, width, parts, channels, inner])
        ordered = tf.transpose(each, [0, 3, 1, 2, 4, 5])
        return tf.reshape(ordered, [-1, math.prod(self._layout)])

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], math.prod(self._layout))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "likelihood": list(self._layout),
            "kernel_size": self.kernel_size,
        }


def _layout_of(likelihood: Any) -> tuple[int, ...]:
    if isinstance(likelihood, (list, tuple)):
        return tuple(int(size) for size in likelihood)
    parts, inner = _parts_of(likelihood)
    if len(likelihood.event_shape) != 3:
        raise ValueError(
            "`likelihood` must be over images (height, width, channels). "
            f"Received: {kind_of(likelihood)} of event_shape={likelihood.event_shape}"
        )
    return (parts, *likelihood.event_shape, inner)


def _parts_of(likelihood: Any) -> tuple[int, int]:
    """Returns how parameters stand, as the sizes before and after the axes of the image."""
    if isinstance(likelihood, (Adapted, Masked)):
        return _parts_of(likelihood.layer)
    if isinstance(likelihood, IndependentLayer):
        return likelihood.num_parts, 1
    if isinstance(likelihood, MixtureOfDiscretizedLogistics):
        return 3, likelihood.num_components
    if isinstance(likelihood, IndependentCategorical):
        return 1, likelihood.levels
    raise TypeError(
        "`likelihood` must have parameters for each pixel, such as `IndependentBernoulli` or "
        f"`MixtureOfDiscretizedLogistics`. Received: {kind_of(likelihood)}, which has some "
        "for the whole image. End the decoder in `keras.layers.Dense` instead."
    )
