"""Likelihoods of real values with heavier tails than Gaussians."""

from __future__ import annotations

from typing import ClassVar

import tensorflow_probability as tfp

from tfvae._typing import Distribution, Tensor, register
from tfvae.layers.base import MIN_SCALE, IndependentLayer, above

__all__ = ["IndependentLogistic"]

tfd = tfp.distributions


@register
class IndependentLogistic(IndependentLayer):
    """Independent logistic variables over an event of any shape.

        loc, raw = split(params, 2, axis=-1);   scale = min_scale + softplus(raw)
        log p(x) = sum_j -u_j - log scale_j - 2 log(1 + exp(-u_j)),   u = (x - loc) / scale

    Args:
        event_shape: Shape of one draw, `E`.
        convert_to_tensor_fn: See `DistributionLayer`.
        validate_args: See `DistributionLayer`.
        min_scale: Floor of the scale.
        **kwargs: See `DistributionLayer`.

    Returns:
        `tfd.Independent(tfd.Logistic)`, batch shape `[...]`, event shape `E`.

    Example:
        >>> layer = tfvae.layers.IndependentLogistic(3)
        >>> layer(tf.zeros([5, layer.params_size(3)])).mean().shape
        TensorShape([5, 3])
    """

    num_parts = 2
    floors: ClassVar = {"min_scale": MIN_SCALE}

    @classmethod
    def _element(
        cls, loc: Tensor, raw: Tensor, *, validate_args: bool, min_scale: float
    ) -> Distribution:
        return tfd.Logistic(loc, above(min_scale, raw), validate_args=validate_args)
