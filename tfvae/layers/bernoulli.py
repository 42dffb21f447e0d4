"""Likelihood of binary data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfvae._typing import Distribution, Tensor, register
from tfvae.distributions.bernoulli import Bernoulli
from tfvae.layers.base import IndependentLayer, TypedDraws

__all__ = ["IndependentBernoulli"]


@register
class IndependentBernoulli(TypedDraws, IndependentLayer):
    """Independent binary variables, given by their logits.

        log p(x) = sum_j x_j log sigmoid(logits_j) + (1 - x_j) log sigmoid(-logits_j)

    For values between 0 and 1 this sum is a cross entropy but no log-likelihood: binarise such
    data first, or choose a likelihood of their own kind.

    Args:
        event_shape: Shape of one draw, `E`.
        convert_to_tensor_fn: See `DistributionLayer`.
        sample_dtype: Type of the draws; by default that of the parameters.
        validate_args: See `DistributionLayer`.
        **kwargs: See `DistributionLayer`.

    Returns:
        `tfd.Independent` of a `tfd.Bernoulli`, batch shape `[...]`, event shape `E`.

    Example:
        >>> layer = tfvae.layers.IndependentBernoulli((28, 28, 1))
        >>> p = layer(tf.zeros([5, layer.params_size((28, 28, 1))]))
        >>> p.mean().shape
        TensorShape([5, 28, 28, 1])
    """

    @classmethod
    def new(
        cls,
        params: Tensor,
        event_shape: int | Sequence[int] = (),
        dtype: Any = None,
        validate_args: bool = False,
    ) -> Distribution:
        """Returns the plain tfp distribution of logits `[..., size(E)]`."""
        params = tf.convert_to_tensor(params)
        given = cls._type_and_checks(dtype, validate_args, params)
        return super().new(params, event_shape, **given)

    @classmethod
    def _element(cls, logits: Tensor, *, validate_args: bool, dtype: Any) -> Distribution:
        return Bernoulli(logits, dtype=dtype, validate_args=validate_args)
