"""Likelihood of binary data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._typing import Distribution, Tensor, event_tuple, register
from tfvae.layers.base import DistributionLayer, split_parameters

__all__ = ["IndependentBernoulli"]

tfd = tfp.distributions


@register
class IndependentBernoulli(DistributionLayer):
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
        `tfd.Independent(tfd.Bernoulli)`, batch shape `[...]`, event shape `E`.

    Example:
        >>> layer = tfvae.layers.IndependentBernoulli((28, 28, 1))
        >>> p = layer(tf.zeros([5, layer.params_size((28, 28, 1))]))
        >>> p.mean().shape
        TensorShape([5, 28, 28, 1])
    """

    def __init__(
        self,
        event_shape: int | Sequence[int] = (),
        convert_to_tensor_fn: Any = "sample",
        sample_dtype: Any = None,
        validate_args: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(event_shape, convert_to_tensor_fn, validate_args, **kwargs)
        self.sample_dtype = None if sample_dtype is None else tf.as_dtype(sample_dtype).name

    @staticmethod
    def params_size(event_shape: int | Sequence[int] = ()) -> int:
        """Returns `size(event_shape)`: one logit per variable."""
        return math.prod(event_tuple(event_shape))

    @staticmethod
    def new(
        params: Tensor,
        event_shape: int | Sequence[int] = (),
        dtype: Any = None,
        validate_args: bool = False,
    ) -> Distribution:
        """Returns the plain tfp distribution of logits `[..., size(E)]`."""
        event = event_tuple(event_shape)
        (logits,) = split_parameters(params, event, 1)
        bernoulli = tfd.Bernoulli(
            logits=logits, dtype=dtype or params.dtype, validate_args=validate_args
        )
        return tfd.Independent(bernoulli, len(event), validate_args=validate_args)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "sample_dtype": self.sample_dtype}

    def _distribution(self, params: Tensor) -> Distribution:
        return self.new(params, self.event_shape, self.sample_dtype, self.validate_args)

    def _event_dtype(self, params: keras.KerasTensor) -> str:
        drawn = self.convert_to_tensor_fn in ("sample", "mode")
        return self.sample_dtype if drawn and self.sample_dtype else super()._event_dtype(params)
