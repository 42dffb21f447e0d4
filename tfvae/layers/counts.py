"""Likelihoods of counts: whole numbers from zero on."""

from __future__ import annotations

from typing import Any, ClassVar

import tensorflow_probability as tfp

from tfvae._typing import Distribution, Tensor, register
from tfvae.distributions.whole import CarefulPoisson
from tfvae.distributions.zero_inflated import ZeroInflated
from tfvae.layers.base import IndependentLayer
from tfvae.layers.parameters import above, below

__all__ = [
    "IndependentNegativeBinomial",
    "IndependentPoisson",
    "ZeroInflatedNegativeBinomial",
    "ZeroInflatedPoisson",
]

tfd = tfp.distributions

# Rates beyond e**30, about 1e13, exceed the whole numbers that floats can hold.
MAX_LOG_RATE = 30.0
MIN_TOTAL_COUNT = 1e-3


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
        log_rate = below(MAX_LOG_RATE, log_rate)
        return CarefulPoisson(log_rate=log_rate, validate_args=validate_args)


@register
class IndependentNegativeBinomial(IndependentLayer):
    """Independent counts with a variance above their mean.

        raw, logits = split(params, 2, axis=-1);   total_count = min_total_count + softplus(raw)
        mean = total_count * exp(logits),   variance = mean + mean**2 / total_count

    Logits are taken as at most 30. Draws are not compiled by XLA, densities are.

    Args:
        event_shape: Shape of one draw, `E`.
        convert_to_tensor_fn: See `DistributionLayer`.
        validate_args: See `DistributionLayer`.
        min_total_count: Floor of `total_count`, the inverse of the dispersion.
        **kwargs: See `DistributionLayer`.

    Returns:
        `tfd.Independent(tfd.NegativeBinomial)`, batch shape `[...]`, event shape `E`.

    Example:
        >>> layer = tfvae.layers.IndependentNegativeBinomial(3)
        >>> layer(tf.zeros([5, layer.params_size(3)])).mean().shape
        TensorShape([5, 3])

    Reference: Deep generative modeling for single-cell transcriptomics (Lopez et al., 2018),
    https://doi.org/10.1038/s41592-018-0229-2
    """

    num_parts = 2
    floors: ClassVar = {"min_total_count": MIN_TOTAL_COUNT}

    @classmethod
    def _element(
        cls, raw: Tensor, logits: Tensor, *, validate_args: bool, min_total_count: float
    ) -> Distribution:
        return tfd.NegativeBinomial(
            above(min_total_count, raw),
            logits=below(MAX_LOG_RATE, logits),
            require_integer_total_count=False,
            validate_args=validate_args,
        )


@register
class ZeroInflatedPoisson(IndependentLayer):
    """Independent Poisson counts among which more are zero than the rates explain.

        log_rate, zero_logits = split(params, 2, axis=-1);   pi = sigmoid(zero_logits)
        p(x_j) = pi_j [x_j == 0] + (1 - pi_j) Poisson(x_j; rate_j),   log rate at most 30

    Args:
        event_shape: Shape of one draw, `E`.
        convert_to_tensor_fn: See `DistributionLayer`.
        validate_args: See `DistributionLayer`.
        **kwargs: See `DistributionLayer`.

    Returns:
        `tfd.Independent(tfvae.distributions.ZeroInflated)`, batch shape `[...]`, event shape `E`.

    Example:
        >>> layer = tfvae.layers.ZeroInflatedPoisson(3)
        >>> float(layer(tf.zeros([1, 6])).mean()[0, 0])
        0.5

    Reference: Zero-Inflated Poisson Regression (Lambert, 1992),
    https://doi.org/10.2307/1269547
    """

    num_parts = 2

    @classmethod
    def _element(
        cls, log_rate: Tensor, zero_logits: Tensor, *, validate_args: bool
    ) -> Distribution:
        counts = IndependentPoisson._element(log_rate, validate_args=validate_args)
        return ZeroInflated(counts, zero_logits, validate_args=validate_args)


@register
class ZeroInflatedNegativeBinomial(IndependentLayer):
    """Independent negative binomial counts among which more are zero than those explain.

        raw, logits, zero_logits = split(params, 3, axis=-1);   pi = sigmoid(zero_logits)
        p(x_j) = pi_j [x_j == 0] + (1 - pi_j) NegativeBinomial(x_j; total_count_j, logits_j)

    `total_count` and `logits` as in `IndependentNegativeBinomial`. Draws are not compiled by XLA,
    densities are.

    Args:
        event_shape: Shape of one draw, `E`.
        convert_to_tensor_fn: See `DistributionLayer`.
        validate_args: See `DistributionLayer`.
        min_total_count: Floor of `total_count`.
        **kwargs: See `DistributionLayer`.

    Returns:
        `tfd.Independent(tfvae.distributions.ZeroInflated)`, batch shape `[...]`, event shape `E`.

    Example:
        >>> layer = tfvae.layers.ZeroInflatedNegativeBinomial(3)
        >>> layer(tf.zeros([5, layer.params_size(3)])).mean().shape
        TensorShape([5, 3])

    Reference: Deep generative modeling for single-cell transcriptomics (Lopez et al., 2018),
    https://doi.org/10.1038/s41592-018-0229-2
    """

    num_parts = 3
    floors: ClassVar = IndependentNegativeBinomial.floors

    @classmethod
    def _element(
        cls, raw: Tensor, logits: Tensor, zero_logits: Tensor, *, validate_args: bool, **floors: Any
    ) -> Distribution:
        counts = IndependentNegativeBinomial._element(
            raw, logits, validate_args=validate_args, **floors
        )
        return ZeroInflated(counts, zero_logits, validate_args=validate_args)
