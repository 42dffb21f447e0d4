"""Gaussian layers with diagonal covariance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow_probability as tfp

from tfvae._typing import Distribution, Tensor, event_tuple, register
from tfvae.layers.base import DistributionLayer, bounded_scale, split_parameters

__all__ = ["IndependentNormal", "MultivariateNormalDiag"]

tfd = tfp.distributions

MIN_SCALE = 1e-5


class _DiagonalNormal(DistributionLayer):
    """What the two Gaussian layers share: a `loc` half, a raw `scale` half, and a floor."""

    new: Any  # each subclass has its own, with the floor as an argument

    def __init__(
        self,
        event_shape: int | Sequence[int] = (),
        convert_to_tensor_fn: Any = "sample",
        validate_args: bool = False,
        *,
        min_scale: float = MIN_SCALE,
        **kwargs: Any,
    ) -> None:
        super().__init__(event_shape, convert_to_tensor_fn, validate_args, **kwargs)
        if not min_scale >= 0.0:
            raise ValueError(f"`min_scale` must be >= 0. Received: min_scale={min_scale}")
        self.min_scale = min_scale

    @staticmethod
    def params_size(event_shape: int | Sequence[int] = ()) -> int:
        """Returns `2 * size(event_shape)`: first all locs, then all raw scales."""
        return 2 * math.prod(event_tuple(event_shape))

    def _distribution(self, params: Tensor) -> Distribution:
        return self.new(params, self.event_shape, self.validate_args, min_scale=self.min_scale)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "min_scale": self.min_scale}


@register
class IndependentNormal(_DiagonalNormal):
    """Independent Gaussians over an event of any shape.

        loc, raw = split(params, 2, axis=-1);   scale = min_scale + softplus(raw)
        log p(x) = -D/2 log(2 pi) - sum_j log scale_j - sum_j (x_j - loc_j)**2 / (2 scale_j**2)

    Args:
        event_shape: Shape of one draw, `E`.
        convert_to_tensor_fn: See `DistributionLayer`.
        validate_args: See `DistributionLayer`.
        min_scale: Floor of the standard deviation; bounds log p(x) by -D log(min_scale) or so.
        **kwargs: See `DistributionLayer`.

    Returns:
        `tfd.Independent(tfd.Normal)`, batch shape `[...]`, event shape `E`.

    Example:
        >>> layer = tfvae.layers.IndependentNormal((2, 3))
        >>> p = layer(tf.zeros([5, layer.params_size((2, 3))]))
        >>> p.log_prob(tf.zeros([5, 2, 3])).shape
        TensorShape([5])
    """

    @staticmethod
    def new(
        params: Tensor,
        event_shape: int | Sequence[int] = (),
        validate_args: bool = False,
        *,
        min_scale: float = MIN_SCALE,
    ) -> Distribution:
        """Returns the plain tfp distribution of parameters `[..., 2 * size(E)]`."""
        event = event_tuple(event_shape)
        loc, raw = split_parameters(params, event, 2)
        normal = tfd.Normal(loc, bounded_scale(raw, min_scale), validate_args=validate_args)
        return tfd.Independent(normal, len(event), validate_args=validate_args)


@register
class MultivariateNormalDiag(_DiagonalNormal):
    """Gaussian vector with diagonal covariance: the usual posterior q(z|x).

        loc, raw = split(params, 2, axis=-1);   scale_diag = min_scale + softplus(raw)

    Args:
        event_size: Number of dimensions, K.
        convert_to_tensor_fn: See `DistributionLayer`.
        validate_args: See `DistributionLayer`.
        min_scale: Floor of the standard deviations.
        **kwargs: See `DistributionLayer`.

    Returns:
        `tfd.MultivariateNormalDiag`, batch shape `[...]`, event shape `[K]`.

    Raises:
        ValueError: `event_size` is not one positive int.

    Example:
        >>> layer = tfvae.layers.MultivariateNormalDiag(16)
        >>> q = layer(tf.zeros([5, layer.params_size(16)]))
        >>> q.sample(3, seed=0).shape
        TensorShape([3, 5, 16])
    """

    def __init__(
        self,
        event_size: int,
        convert_to_tensor_fn: Any = "sample",
        validate_args: bool = False,
        *,
        min_scale: float = MIN_SCALE,
        **kwargs: Any,
    ) -> None:
        event = event_tuple(event_size)
        if len(event) != 1:
            raise ValueError(
                "`event_size` of `MultivariateNormalDiag` must be one int, the number of "
                f"dimensions. Received: event_size={event_size}. "
                "For events of any other shape use `IndependentNormal`."
            )
        super().__init__(event, convert_to_tensor_fn, validate_args, min_scale=min_scale, **kwargs)

    @staticmethod
    def new(
        params: Tensor,
        event_size: int | Sequence[int],
        validate_args: bool = False,
        *,
        min_scale: float = MIN_SCALE,
    ) -> Distribution:
        """Returns the plain tfp distribution of parameters `[..., 2 * K]`."""
        loc, raw = split_parameters(params, event_tuple(event_size), 2)
        scale_diag = bounded_scale(raw, min_scale)
        return tfd.MultivariateNormalDiag(loc, scale_diag, validate_args=validate_args)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config["event_size"] = config.pop("event_shape")[0]
        return config
