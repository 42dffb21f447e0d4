"""Likelihoods of counts: whole numbers from zero on."""

from __future__ import annotations

import tensorflow_probability as tfp

from tfvae._typing import Distribution, Tensor, register
from tfvae.layers.base import IndependentLayer, below

__all__ = ["IndependentPoisson"]

tfd = tfp.distributions

# Rates beyond e**30, about 1e13, exceed the whole numbers that floats can hold.
MAX_LOG_RATE = 30.0


@register
class IndependentPoisson(IndependentLayer):
    """Independent counts with a variance equal to their mean, given by log rates.

        log p(x) = sum_j x_j log rate_j - rate_j - log(x_j!),   log rate = min(params, 30)

    For counts that vary more than that choose `IndependentNegativeBinomial`.

    Args:
        event_shape: Shape of one draw, `E`.
        convert_to_tensor_fn: See `DistributionLayer`.
        validate_args: See `DistributionLayer`.
        **kwargs: See `DistributionLayer`.

    Returns:
        `tfd.Independent(tfd.Poisson)`, batch shape `[...]`, event shape `E`.

    Example:
        >>> layer = tfvae.layers.IndependentPoisson(3)
        >>> p = layer(tf.math.log(tf.constant([[1.0, 2.0, 5.0]])))
        >>> p.mean().numpy().round(3)
        array([[1., 2., 5.]], dtype=float32)
    """

    @classmethod
    def _element(cls, log_rate: Tensor, *, validate_args: bool) -> Distribution:
        return tfd.Poisson(log_rate=below(MAX_LOG_RATE, log_rate), validate_args=validate_args)
