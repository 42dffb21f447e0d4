"""Layers over directions: unit vectors."""

from __future__ import annotations

from typing import Any, ClassVar

import tensorflow as tf

from tfvae._typing import Distribution, Tensor, event_tuple, register
from tfvae.distributions.directions import SmoothPowerSpherical, SmoothVonMisesFisher
from tfvae.layers.base import VectorLayer
from tfvae.layers.parameters import above

__all__ = ["PowerSpherical", "VonMisesFisher"]

MIN_CONCENTRATION = 1e-3


class _Directions(VectorLayer):
    """What layers over unit vectors share: a direction, and a concentration around it."""

    family: ClassVar[Any]
    floors: ClassVar = {"min_concentration": MIN_CONCENTRATION}

    def __init__(self, event_size: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(event_size, *args, **kwargs)
        if self.event_shape[0] < 2:
            raise ValueError(
                f"`event_size` of `{type(self).__name__}` must be at least 2: a direction in one "
                f"dimension is a sign. Received: event_size={event_size}"
            )

    @classmethod
    def params_size(cls, event_size: int) -> int:
        """Returns `K + 1`: the raw direction, then the raw concentration."""
        return event_tuple(event_size)[0] + 1

    @classmethod
    def new(
        cls,
        params: Tensor,
        event_size: int,
        validate_args: bool = False,
        *,
        min_concentration: float = MIN_CONCENTRATION,
    ) -> Distribution:
        """Returns the plain tfp distribution of parameters `[..., K + 1]`."""
        (size,) = event_tuple(event_size)
        params = tf.convert_to_tensor(params)
        return cls.family(
            _unit_vector(params[..., :size]),
            above(min_concentration, params[..., size]),
            validate_args=validate_args,
        )


@register
class VonMisesFisher(_Directions):
    """Unit vectors around a mean direction: the Gaussian of the sphere.

        raw_direction, raw = params[..., :K], params[..., K]
        mean_direction = raw_direction / ||raw_direction||
        concentration = min_concentration + softplus(raw)
        p(x) proportional to exp(concentration * mean_direction . x),   ||x|| = 1

    Draws come by rejection: in other than three dimensions they carry gradients to the direction
    alone. For a posterior choose `PowerSpherical`.

    Args:
        event_size: Number of dimensions of the space around the sphere, K, from 2 on.
        convert_to_tensor_fn: See `DistributionLayer`.
        validate_args: See `DistributionLayer`.
        min_concentration: Floor of the concentration.
        **kwargs: See `DistributionLayer`.

    Returns:
        `tfd.VonMisesFisher`, batch shape `[...]`, event shape `[K]`.

    Raises:
        ValueError: `event_size` is not one int of at least 2.

    Example:
        >>> layer = tfvae.layers.VonMisesFisher(3)
        >>> layer(tf.ones([5, layer.params_size(3)])).sample(seed=0).shape
        TensorShape([5, 3])

    Reference: Hyperspherical Variational Auto-Encoders (Davidson et al., 2018),
    https://arxiv.org/abs/1804.00891
    """

    family = SmoothVonMisesFisher


@register
class PowerSpherical(_Directions):
    """Unit vectors around a mean direction, with draws that carry all gradients.

        mean_direction, concentration as in `VonMisesFisher`
        p(x) proportional to (1 + mean_direction . x)**concentration,   ||x|| = 1

    Args:
        event_size: Number of dimensions of the space around the sphere, K, from 2 on.
        convert_to_tensor_fn: See `DistributionLayer`.
        validate_args: See `DistributionLayer`.
        min_concentration: Floor of the concentration.
        **kwargs: See `DistributionLayer`.

    Returns:
        `tfd.PowerSpherical`, batch shape `[...]`, event shape `[K]`.

    Raises:
        ValueError: `event_size` is not one int of at least 2.

    Example:
        >>> layer = tfvae.layers.PowerSpherical(16)
        >>> layer(tf.ones([5, layer.params_size(16)])).sample(seed=0).shape
        TensorShape([5, 16])

    Reference: The Power Spherical distribution (De Cao and Aziz, 2020),
    https://arxiv.org/abs/2006.04437
    """

    family = SmoothPowerSpherical


def _unit_vector(raw: Tensor) -> Tensor:
    """Returns vectors of length one; zero has a direction too, with a finite gradient."""
    small = tf.one_hot(0, raw.shape[-1], on_value=1e-6, dtype=raw.dtype)
    shifted = raw + small
    square = tf.reduce_sum(tf.square(shifted), axis=-1, keepdims=True)
    return shifted * tf.math.rsqrt(tf.maximum(square, 1e-12))
