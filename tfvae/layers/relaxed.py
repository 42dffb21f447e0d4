"""Categories relaxed to continuous values, so that draws carry gradients to the logits."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._typing import Distribution, Tensor, event_tuple, register
from tfvae.distributions.open_support import OpenRelaxedBernoulli, OpenRelaxedOneHot
from tfvae.layers.base import DistributionLayer, IndependentLayer, VectorLayer

__all__ = ["RelaxedBernoulli", "RelaxedOneHotCategorical"]

tfd = tfp.distributions


class _Tempered(DistributionLayer):
    """Mixin of the layers with a temperature."""

    def __init__(self, *args: Any, temperature: float = 0.5, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not temperature > 0.0:
            raise ValueError(f"`temperature` must be > 0. Received: temperature={temperature}")
        self.temperature = temperature

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "temperature": self.temperature}

    def _options(self) -> dict[str, Any]:
        return {**super()._options(), "temperature": self.temperature}


@register
class RelaxedBernoulli(_Tempered, IndependentLayer):
    """Independent values between 0 and 1, nearer to the ends the lower the temperature.

        x_j = sigmoid((logits_j + noise_j) / temperature),   noise_j standard logistic

    There is no closed form of mean or mode. At temperatures below about 0.3 many draws round
    to the ends, where gradients that follow draws are too small; in float64 below about 0.2.

    Args:
        event_shape: Shape of one draw, `E`.
        convert_to_tensor_fn: See `DistributionLayer`.
        validate_args: See `DistributionLayer`.
        temperature: Above zero; draws approach those of a Bernoulli as it goes there.
        **kwargs: See `DistributionLayer`.

    Returns:
        `tfd.Independent(tfd.RelaxedBernoulli)`, batch shape `[...]`, event shape `E`.

    Raises:
        ValueError: `temperature` is not above zero.

    Example:
        >>> q = tfvae.layers.RelaxedBernoulli(3, temperature=0.3)(tf.zeros([5, 3]))
        >>> q.sample(seed=0).shape
        TensorShape([5, 3])

    Reference: The Concrete Distribution (Maddison et al., 2017), https://arxiv.org/abs/1611.00712
    """

    @classmethod
    def _element(cls, logits: Tensor, *, validate_args: bool, temperature: float) -> Distribution:
        return OpenRelaxedBernoulli(temperature, logits, validate_args=validate_args)


@register
class RelaxedOneHotCategorical(_Tempered, VectorLayer):
    """A vector inside the simplex, nearer to a corner the lower the temperature.

        x = softmax((logits + noise) / temperature),   noise_k standard Gumbel

    There is no closed form of mean or mode. At temperatures below about 0.3 many draws round
    to the ends, where gradients that follow draws are too small; in float64 below about 0.2.

    Args:
        event_size: Number of categories, K.
        convert_to_tensor_fn: See `DistributionLayer`.
        validate_args: See `DistributionLayer`.
        temperature: Above zero; draws approach one-hot vectors as it goes there.
        **kwargs: See `DistributionLayer`.

    Returns:
        `tfd.RelaxedOneHotCategorical`, batch shape `[...]`, event shape `[K]`.

    Raises:
        ValueError: `temperature` is not above zero, or `event_size` not one positive int.

    Example:
        >>> q = tfvae.layers.RelaxedOneHotCategorical(4)(tf.zeros([5, 4]))
        >>> q.sample(seed=0).shape
        TensorShape([5, 4])

    Reference: Categorical Reparameterization with Gumbel-Softmax (Jang et al., 2017),
    https://arxiv.org/abs/1611.01144
    """

    remedy = "For several binary variables use `RelaxedBernoulli`."

    @classmethod
    def params_size(cls, event_size: int) -> int:
        """Returns `K`: one logit per category."""
        return event_tuple(event_size)[0]

    @classmethod
    def new(
        cls,
        params: Tensor,
        event_size: int,
        validate_args: bool = False,
        *,
        temperature: float = 0.5,
    ) -> Distribution:
        """Returns the plain tfp distribution of logits `[..., K]`."""
        params = tf.convert_to_tensor(params)
        return OpenRelaxedOneHot(temperature, params, validate_args=validate_args)
