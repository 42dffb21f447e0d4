"""Layers over categories."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._typing import Distribution, Tensor, event_tuple, register, whole_number
from tfvae.distributions.one_hot import OneHotMixture
from tfvae.distributions.whole import CarefulCategorical
from tfvae.layers.base import TypedDraws, VectorLayer
from tfvae.layers.parameters import split_components, split_parameters

__all__ = [
    "CategoricalMixtureOfOneHotCategorical",
    "IndependentCategorical",
    "OneHotCategorical",
]

tfd = tfp.distributions

_REMEDY = "For several variables use `IndependentCategorical`, whose draws are numbers."


@register
class OneHotCategorical(TypedDraws, VectorLayer):
    """One of K categories, drawn as a one-hot vector.

        log p(x) = sum_k x_k log softmax(logits)_k

    Args:
        event_size: Number of categories, K.
        convert_to_tensor_fn: See `DistributionLayer`.
        sample_dtype: Type of the draws; by default that of the parameters.
        validate_args: See `DistributionLayer`.
        **kwargs: See `DistributionLayer`.

    Returns:
        `tfd.OneHotCategorical`, batch shape `[...]`, event shape `[K]`.

    Raises:
        ValueError: `event_size` is not one positive int.

    Example:
        >>> p = tfvae.layers.OneHotCategorical(4)(tf.zeros([5, 4]))
        >>> p.mean()[0].numpy()
        array([0.25, 0.25, 0.25, 0.25], dtype=float32)
    """

    remedy = _REMEDY

    def __init__(
        self,
        event_size: int,
        convert_to_tensor_fn: Any = "sample",
        sample_dtype: Any = None,
        validate_args: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(event_size, convert_to_tensor_fn, sample_dtype, validate_args, **kwargs)

    @classmethod
    def params_size(cls, event_size: int) -> int:
        """Returns `K`: one logit per category."""
        return event_tuple(event_size)[0]

    @classmethod
    def new(
        cls, params: Tensor, event_size: int, dtype: Any = None, validate_args: bool = False
    ) -> Distribution:
        """Returns the plain tfp distribution of logits `[..., K]`."""
        params = tf.convert_to_tensor(params)
        return tfd.OneHotCategorical(params, **cls._type_and_checks(dtype, validate_args, params))


@register
class CategoricalMixtureOfOneHotCategorical(TypedDraws, VectorLayer):
    """A mixture of C distributions over K categories, drawn as one-hot vectors.

        p(x) = sum_c softmax(mixture_logits)_c prod_k softmax(logits_c)_k ** x_k

    Parameters: `mixture_logits` `[..., C]`, then `logits` `[..., C, K]` row by row.

    Args:
        event_size: Number of categories, K.
        num_components: Number of components, C.
        convert_to_tensor_fn: See `DistributionLayer`.
        sample_dtype: Type of the draws; by default that of the parameters.
        validate_args: See `DistributionLayer`.
        **kwargs: See `DistributionLayer`.

    Returns:
        `tfvae.distributions.OneHotMixture`, a `tfd.MixtureSameFamily` with `log_mean()`, batch
        shape `[...]`, event shape `[K]`.

    Raises:
        ValueError: `event_size` is not one positive int.

    Example:
        >>> layer = tfvae.layers.CategoricalMixtureOfOneHotCategorical(4, 2)
        >>> layer(tf.zeros([5, layer.params_size(4, 2)])).mean().shape
        TensorShape([5, 4])
    """

    remedy = _REMEDY

    def __init__(
        self,
        event_size: int,
        num_components: int,
        convert_to_tensor_fn: Any = "sample",
        sample_dtype: Any = None,
        validate_args: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(event_size, convert_to_tensor_fn, sample_dtype, validate_args, **kwargs)
        self.num_components = whole_number("num_components", num_components)

    @classmethod
    def params_size(cls, event_size: int, num_components: int) -> int:
        """Returns `C * (1 + K)`."""
        return whole_number("num_components", num_components) * (1 + event_tuple(event_size)[0])

    @classmethod
    def new(
        cls,
        params: Tensor,
        event_size: int,
        num_components: int,
        dtype: Any = None,
        validate_args: bool = False,
    ) -> Distribution:
        """Returns the plain tfp distribution of parameters `[..., C * (1 + K)]`."""
        params = tf.convert_to_tensor(params)
        given = cls._type_and_checks(dtype, validate_args, params)
        checks = given["validate_args"]
        mixture_logits, logits = split_components(params, num_components)
        return OneHotMixture(
            tfd.Categorical(mixture_logits, validate_args=checks),
            tfd.OneHotCategorical(logits, **given),
            validate_args=checks,
        )

    def _structure(self) -> dict[str, Any]:
        return {**super()._structure(), "num_components": self.num_components}


@register
class IndependentCategorical(TypedDraws):
    """Independent variables over the same L categories, as numbers from 0 to L - 1.

        log p(x) = sum_j log softmax(logits_j)[x_j],   logits `[..., *E, L]`

    Categories have no order: for levels that have one choose `DiscretizedLogistic`. The mode is the
    most probable one; the mean is that of the numbers, and models take the mode in its place.

    Args:
        event_shape: Shape of one draw, `E`.
        levels: Number of categories, L.
        convert_to_tensor_fn: See `DistributionLayer`.
        sample_dtype: Type of the draws; by default that of the parameters.
        validate_args: See `DistributionLayer`.
        **kwargs: See `DistributionLayer`.

    Returns:
        `tfd.Independent(tfd.Categorical)`, batch shape `[...]`, event shape `E`.

    Raises:
        ValueError: `levels` is no whole number from 1 on.

    Example:
        >>> layer = tfvae.layers.IndependentCategorical((4, 4), 3)
        >>> p = layer(tf.zeros([5, layer.params_size((4, 4), 3)]))
        >>> p.log_prob(tf.zeros([5, 4, 4])).shape
        TensorShape([5])
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        levels: int,
        convert_to_tensor_fn: Any = "sample",
        sample_dtype: Any = None,
        validate_args: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(event_shape, convert_to_tensor_fn, sample_dtype, validate_args, **kwargs)
        self.levels = whole_number("levels", levels)

    @classmethod
    def params_size(cls, event_shape: int | Sequence[int], levels: int) -> int:
        """Returns `L * size(event_shape)`."""
        return whole_number("levels", levels) * math.prod(event_tuple(event_shape))

    @classmethod
    def new(
        cls,
        params: Tensor,
        event_shape: int | Sequence[int],
        levels: int,
        dtype: Any = None,
        validate_args: bool = False,
    ) -> Distribution:
        """Returns the plain tfp distribution of logits `[..., size(E) * L]`."""
        event = event_tuple(event_shape)
        params = tf.convert_to_tensor(params)
        given = cls._type_and_checks(dtype, validate_args, params)
        (logits,) = split_parameters(params, event, 1, (whole_number("levels", levels),))
        categorical = CarefulCategorical(logits, **given)
        return tfd.Independent(categorical, len(event), validate_args=given["validate_args"])

    def _structure(self) -> dict[str, Any]:
        return {"event_shape": self.event_shape, "levels": self.levels}
