"""Likelihoods of real values other than Gaussians."""

from __future__ import annotations

from typing import ClassVar

import tensorflow_probability as tfp

from tfvae._typing import Distribution, Tensor, register
from tfvae.distributions.open_support import OpenLogNormal
from tfvae.layers.base import IndependentLayer
from tfvae.layers.parameters import MIN_SCALE, above

__all__ = [
    "IndependentLaplace",
    "IndependentLogNormal",
    "IndependentLogistic",
    "IndependentStudentT",
]

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


@register
class IndependentLaplace(IndependentLayer):
    """Independent Laplace variables: errors weigh by their size, not by their square.

        loc, raw = split(params, 2, axis=-1);   scale = min_scale + softplus(raw)
        log p(x) = sum_j -log(2 scale_j) - |x_j - loc_j| / scale_j

    Args:
        event_shape: Shape of one draw, `E`.
        convert_to_tensor_fn: See `DistributionLayer`.
        validate_args: See `DistributionLayer`.
        min_scale: Floor of the scale.
        **kwargs: See `DistributionLayer`.

    Returns:
        `tfd.Independent(tfd.Laplace)`, batch shape `[...]`, event shape `E`.

    Example:
        >>> layer = tfvae.layers.IndependentLaplace(3)
        >>> layer(tf.zeros([5, layer.params_size(3)])).mean().shape
        TensorShape([5, 3])
    """

    num_parts = 2
    floors: ClassVar = {"min_scale": MIN_SCALE}

    @classmethod
    def _element(
        cls, loc: Tensor, raw: Tensor, *, validate_args: bool, min_scale: float
    ) -> Distribution:
        return tfd.Laplace(loc, above(min_scale, raw), validate_args=validate_args)


@register
class IndependentStudentT(IndependentLayer):
    """Independent Student t variables: outliers that a Gaussian would bend to.

        raw_df, loc, raw = split(params, 3, axis=-1)
        df = min_df + softplus(raw_df),   scale = min_scale + softplus(raw)
        p(x_j) proportional to (1 + (x_j - loc_j)**2 / (df_j scale_j**2))**(-(df_j + 1) / 2)

    Args:
        event_shape: Shape of one draw, `E`.
        convert_to_tensor_fn: See `DistributionLayer`.
        validate_args: See `DistributionLayer`.
        min_df: Floor of the degrees of freedom: means need more than 1, variances more than 2.
        min_scale: Floor of the scale.
        **kwargs: See `DistributionLayer`.

    Returns:
        `tfd.Independent(tfd.StudentT)`, batch shape `[...]`, event shape `E`.

    Example:
        >>> layer = tfvae.layers.IndependentStudentT(3)
        >>> layer(tf.zeros([5, layer.params_size(3)])).stddev().shape
        TensorShape([5, 3])
    """

    num_parts = 3
    floors: ClassVar = {"min_df": 2.0, "min_scale": MIN_SCALE}

    @classmethod
    def _element(
        cls,
        raw_df: Tensor,
        loc: Tensor,
        raw: Tensor,
        *,
        validate_args: bool,
        min_df: float,
        min_scale: float,
    ) -> Distribution:
        return tfd.StudentT(
            above(min_df, raw_df), loc, above(min_scale, raw), validate_args=validate_args
        )


@register
class IndependentLogNormal(IndependentLayer):
    """Independent positive values whose logarithms are Gaussian.

        loc, raw = split(params, 2, axis=-1);   scale = min_scale + softplus(raw)
        log p(x) = sum_j log N(log x_j; loc_j, scale_j) - log x_j,   x_j > 0

    Args:
        event_shape: Shape of one draw, `E`.
        convert_to_tensor_fn: See `DistributionLayer`.
        validate_args: See `DistributionLayer`.
        min_scale: Floor of the standard deviation of the logarithm.
        **kwargs: See `DistributionLayer`.

    Returns:
        `tfd.Independent(tfd.LogNormal)`, batch shape `[...]`, event shape `E`.

    Example:
        >>> layer = tfvae.layers.IndependentLogNormal(3)
        >>> float(layer(tf.zeros([1, 6])).distribution.quantile(0.5)[0, 0])
        1.0
    """

    num_parts = 2
    floors: ClassVar = {"min_scale": MIN_SCALE}

    @classmethod
    def _element(
        cls, loc: Tensor, raw: Tensor, *, validate_args: bool, min_scale: float
    ) -> Distribution:
        return OpenLogNormal(loc, above(min_scale, raw), validate_args=validate_args)
