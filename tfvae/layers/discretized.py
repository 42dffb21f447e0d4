"""Likelihoods of quantised values, such as pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae import distributions
from tfvae._typing import Distribution, Tensor, event_tuple, register, whole_number
from tfvae.layers.base import DistributionLayer, IndependentLayer
from tfvae.layers.parameters import above, split_parameters

__all__ = ["DiscretizedLogistic", "MixtureOfDiscretizedLogistics"]

tfd = tfp.distributions

# A tenth of the step between 8-bit levels from 0 to 1 has nearly all mass on one of them.
MIN_SCALE = 1e-4


class _Levels(DistributionLayer):
    """Mixin of the layers over L equal steps from `low` to `high`."""

    floors: ClassVar = {"min_scale": MIN_SCALE}

    def __init__(
        self, *args: Any, levels: int = 256, low: float = 0.0, high: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.levels = whole_number("levels", levels)
        self.low, self.high = low, high
        # Raises where they make no steps.
        distributions.DiscretizedLogistic(0.0, 1.0, self.levels, low, high)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._steps()}

    def _steps(self) -> dict[str, Any]:
        return {"levels": self.levels, "low": self.low, "high": self.high}

    def _options(self) -> dict[str, Any]:
        return {**super()._options(), **self._steps()}


@register
class DiscretizedLogistic(_Levels, IndependentLayer):
    """Independent values on L levels: logistic variables rounded to the nearest level.

        loc, raw = split(params, 2, axis=-1);   scale = min_scale + softplus(raw)
        log p(x) = sum_j log(F_j(x_j + step / 2) - F_j(x_j - step / 2))
        F_j(t) = sigmoid((t - loc_j) / scale_j),   step = (high - low) / (L - 1)

    The first and the last level take the tails, so probabilities sum to one. `loc` and `scale`
    are in the units of the data: by default pixels of 8 bits, divided by 255.

    Args:
        event_shape: Shape of one draw, `E`.
        convert_to_tensor_fn: See `DistributionLayer`.
        validate_args: See `DistributionLayer`.
        levels: Number of levels, L.
        low: Value of the first level.
        high: Value of the last level.
        min_scale: Floor of the scale.
        **kwargs: See `DistributionLayer`.

    Returns:
        `tfd.Independent(tfvae.distributions.DiscretizedLogistic)`, batch shape `[...]`, event
        shape `E`.

    Raises:
        ValueError: `levels` is smaller than 2, or `low` not below `high`.

    Example:
        >>> layer = tfvae.layers.DiscretizedLogistic((28, 28, 1), levels=16)
        >>> p = layer(tf.zeros([5, layer.params_size((28, 28, 1))]))
        >>> p.log_prob(tf.zeros([5, 28, 28, 1])).shape
        TensorShape([5])

    Reference: PixelCNN++ (Salimans et al., 2017), https://arxiv.org/abs/1701.05517
    """

    num_parts = 2

    @classmethod
    def _element(
        cls, loc: Tensor, raw: Tensor, *, validate_args: bool, min_scale: float, **steps: Any
    ) -> Distribution:
        scale, steps = above(min_scale, raw), _checked_steps(**steps)
        return distributions.DiscretizedLogistic(loc, scale, **steps, validate_args=validate_args)


@register
class MixtureOfDiscretizedLogistics(_Levels):
    """Independent values on L levels, each a mixture of C discretized logistics of its own.

        p(x) = prod_j sum_c softmax(logits_j)_c p_jc(x_j),   p_jc as in `DiscretizedLogistic`

    Parameters: `logits` `[..., *E, C]`, then `loc` and `raw` of the same shape.

    Args:
        event_shape: Shape of one draw, `E`.
        num_components: Number of components, C.
        convert_to_tensor_fn: See `DistributionLayer`.
        validate_args: See `DistributionLayer`.
        levels: Number of levels, L.
        low: Value of the first level.
        high: Value of the last level.
        min_scale: Floor of the scales.
        **kwargs: See `DistributionLayer`.

    Returns:
        `tfd.Independent(tfd.MixtureSameFamily)`, batch shape `[...]`, event shape `E`.

    Raises:
        ValueError: `levels` is smaller than 2, or `low` not below `high`.

    Example:
        >>> layer = tfvae.layers.MixtureOfDiscretizedLogistics((8, 8, 1), 5)
        >>> p = layer(tf.zeros([2, layer.params_size((8, 8, 1), 5)]))
        >>> p.mean().shape
        TensorShape([2, 8, 8, 1])

    Reference: PixelCNN++ (Salimans et al., 2017), https://arxiv.org/abs/1701.05517
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        num_components: int,
        convert_to_tensor_fn: Any = "sample",
        validate_args: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(event_shape, convert_to_tensor_fn, validate_args, **kwargs)
        self.num_components = whole_number("num_components", num_components)

    @classmethod
    def params_size(cls, event_shape: int | Sequence[int], num_components: int) -> int:
        """Returns `3 * C * size(event_shape)`."""
        return 3 * math.prod(event_tuple((num_components, *event_tuple(event_shape))))

    @classmethod
    def new(
        cls,
        params: Tensor,
        event_shape: int | Sequence[int],
        num_components: int,
        validate_args: bool = False,
        *,
        min_scale: float = MIN_SCALE,
        **steps: Any,
    ) -> Distribution:
        """Returns the plain tfp distribution of parameters `[..., 3 * C * size(E)]`."""
        event = event_tuple(event_shape)
        params = tf.convert_to_tensor(params)
        logits, loc, raw = split_parameters(params, event, 3, event_tuple(num_components))
        components = distributions.DiscretizedLogistic(
            loc, above(min_scale, raw), **_checked_steps(**steps), validate_args=validate_args
        )
        element = tfd.MixtureSameFamily(
            tfd.Categorical(logits), components, validate_args=validate_args
        )
        return tfd.Independent(element, len(event), validate_args=validate_args)

    def _structure(self) -> dict[str, Any]:
        return {"event_shape": self.event_shape, "num_components": self.num_components}


def _checked_steps(levels: int = 256, **steps: Any) -> dict[str, Any]:
    return {"levels": whole_number("levels", levels), **steps}
