"""Gaussian layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._typing import Distribution, Tensor, event_tuple, register, whole_number
from tfvae.distributions.full_normal import FullNormal
from tfvae.layers.base import IndependentLayer, VectorLayer
from tfvae.layers.parameters import MIN_SCALE, above, split_parameters, within

__all__ = [
    "IndependentNormal",
    "MultivariateNormalDiag",
    "MultivariateNormalLowRank",
    "MultivariateNormalTriL",
]

tfd = tfp.distributions

# Entries of a low-rank factor, in scales of their dimension. With ones much larger, the matrix that
# the density inverts is singular to float32.
MAX_FACTOR = 30.0


@register
class IndependentNormal(IndependentLayer):
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

    num_parts = 2
    floors: ClassVar = {"min_scale": MIN_SCALE}

    @classmethod
    def _element(
        cls, loc: Tensor, raw: Tensor, *, validate_args: bool, min_scale: float
    ) -> Distribution:
        return tfd.Normal(loc, above(min_scale, raw), validate_args=validate_args)


@register
class MultivariateNormalDiag(VectorLayer):
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

    floors: ClassVar = {"min_scale": MIN_SCALE}
    remedy = "For events of any other shape use `IndependentNormal`."

    @classmethod
    def params_size(cls, event_size: int | Sequence[int]) -> int:
        """Returns `2 * K`: first all locs, then all raw scales."""
        return 2 * event_tuple(event_size)[0]

    @classmethod
    def new(
        cls,
        params: Tensor,
        event_size: int | Sequence[int],
        validate_args: bool = False,
        *,
        min_scale: float = MIN_SCALE,
    ) -> Distribution:
        """Returns the plain tfp distribution of parameters `[..., 2 * K]`."""
        loc, raw = split_parameters(tf.convert_to_tensor(params), event_tuple(event_size), 2)
        return tfd.MultivariateNormalDiag(loc, above(min_scale, raw), validate_args=validate_args)


@register
class MultivariateNormalTriL(VectorLayer):
    """Gaussian vector with any covariance, given by its Cholesky factor.

        loc, raw = params[..., :K], params[..., K:]
        scale_tril = tfp.math.fill_triangular(raw), its diagonal min_scale + softplus(diagonal)
        x = loc + scale_tril @ noise

    Log-densities and gradients are finite for any parameters, see
    `tfvae.distributions.FullNormal`, which the output is.

    Args:
        event_size: Number of dimensions, K.
        convert_to_tensor_fn: See `DistributionLayer`.
        validate_args: See `DistributionLayer`.
        min_scale: Floor of the diagonal of the factor.
        **kwargs: See `DistributionLayer`.

    Returns:
        `tfd.MultivariateNormalTriL`, batch shape `[...]`, event shape `[K]`.

    Raises:
        ValueError: `event_size` is not one positive int.

    Example:
        >>> layer = tfvae.layers.MultivariateNormalTriL(3)
        >>> layer(tf.zeros([5, layer.params_size(3)])).covariance().shape
        TensorShape([5, 3, 3])
    """

    floors: ClassVar = {"min_scale": MIN_SCALE}
    remedy = "For events of any other shape use `IndependentNormal`."

    @classmethod
    def params_size(cls, event_size: int) -> int:
        """Returns `K + K * (K + 1) / 2`."""
        (size,) = event_tuple(event_size)
        return size + size * (size + 1) // 2

    @classmethod
    def new(
        cls,
        params: Tensor,
        event_size: int,
        validate_args: bool = False,
        *,
        min_scale: float = MIN_SCALE,
    ) -> Distribution:
        """Returns the plain tfp distribution of parameters `[..., K + K * (K + 1) / 2]`."""
        (size,) = event_tuple(event_size)
        params = tf.convert_to_tensor(params)
        raw = tfp.math.fill_triangular(params[..., size:])
        diagonal = above(min_scale, tf.linalg.diag_part(raw))
        # Under XLA the gradient of `tf.linalg.set_diag` needs to know the size of the batch.
        scale_tril = tf.where(tf.eye(size, dtype=tf.bool), tf.linalg.diag(diagonal), raw)
        return FullNormal(params[..., :size], scale_tril, validate_args=validate_args)


@register
class MultivariateNormalLowRank(VectorLayer):
    """Gaussian vector with a diagonal covariance plus R directions of more.

        loc, raw = params[..., :K], params[..., K:2 * K];   scale = min_scale + softplus(raw)
        factor = clip(params[..., 2 * K:], -30, 30), rows of R entries
        covariance = diag(scale) @ (identity + factor @ factor.T) @ diag(scale)

    Densities cost K R**2 operations, not K**3. The factor counts in scales of each dimension, and
    keeps its gradient where it is clipped.

    Args:
        event_size: Number of dimensions, K.
        rank: Number of directions, R.
        convert_to_tensor_fn: See `DistributionLayer`.
        validate_args: See `DistributionLayer`.
        min_scale: Floor of the diagonal part.
        **kwargs: See `DistributionLayer`.

    Returns:
        `tfd.MultivariateNormalDiagPlusLowRankCovariance`, batch shape `[...]`, event shape `[K]`.

    Raises:
        ValueError: `event_size` or `rank` is not one positive int.

    Example:
        >>> layer = tfvae.layers.MultivariateNormalLowRank(8, 2)
        >>> layer(tf.zeros([5, layer.params_size(8, 2)])).covariance().shape
        TensorShape([5, 8, 8])
    """

    floors: ClassVar = {"min_scale": MIN_SCALE}
    remedy = "For events of any other shape use `IndependentNormal`."

    def __init__(
        self,
        event_size: int,
        rank: int,
        convert_to_tensor_fn: Any = "sample",
        validate_args: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(event_size, convert_to_tensor_fn, validate_args, **kwargs)
        self.rank = whole_number("rank", rank)

    @classmethod
    def params_size(cls, event_size: int, rank: int) -> int:
        """Returns `K * (2 + R)`."""
        return event_tuple(event_size)[0] * (2 + whole_number("rank", rank))

    @classmethod
    def new(
        cls,
        params: Tensor,
        event_size: int,
        rank: int,
        validate_args: bool = False,
        *,
        min_scale: float = MIN_SCALE,
    ) -> Distribution:
        """Returns the plain tfp distribution of parameters `[..., K * (2 + R)]`."""
        (size,), rank = event_tuple(event_size), whole_number("rank", rank)
        params = tf.convert_to_tensor(params)
        loc, raw, rest = tf.split(params, [size, size, size * rank], axis=-1)
        scale = above(min_scale, raw)
        (factor,) = split_parameters(rest, (size, rank), 1)
        factor = within(-MAX_FACTOR, MAX_FACTOR, factor)
        return tfd.MultivariateNormalDiagPlusLowRankCovariance(
            loc,
            cov_diag_factor=tf.square(scale),
            cov_perturb_factor=scale[..., None] * factor,
            validate_args=validate_args,
        )

    def _structure(self) -> dict[str, Any]:
        return {**super()._structure(), "rank": self.rank}
