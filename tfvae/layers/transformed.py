"""Distributions that a normalizing flow makes of simple ones."""

from __future__ import annotations

from typing import Any

import tensorflow_probability as tfp

from tfvae._precision import full_precision
from tfvae._stored import made_again, objects_config
from tfvae._typing import Distribution, Tensor, register, whole_number
from tfvae._words import kind_of
from tfvae.flows import Flow
from tfvae.layers.base import DistributionLayer

__all__ = ["TransformedDistribution"]

tfd = tfp.distributions

_MOMENTS = ("mean", "mode", "stddev", "variance")


@register
class TransformedDistribution(DistributionLayer):
    """The distribution of y = f(x; context), x drawn from another layer's distribution.

        log p(y) = log p_base(f^-1(y)) + log |det d f^-1(y) / dy|

    Parameters: those of `base` `[..., P]`, then the context of the flow `[..., C]`. Draws carry
    gradients to both and to the weights of the flow, which are weights of this layer.

    A draw with its density takes one pass through `RealNVP`, `NeuralSpline` and
    `InverseAutoregressive`, the flows for posteriors. Means and standard deviations have no closed
    form.

    Args:
        base: A distribution layer of real values.
        flow: A flow of `tfvae.flows`, of this layer alone.
        context_size: Size of the context, C; 0 for a flow that is the same for all examples.
        convert_to_tensor_fn: See `DistributionLayer`; no closed moments.
        validate_args: See `DistributionLayer`.
        **kwargs: See `DistributionLayer`.

    Returns:
        `tfd.TransformedDistribution`, batch shape `[...]`, event shape that of `base`.

    Raises:
        TypeError: `base` is no distribution layer or `flow` no flow.
        ValueError: `base` tells no event shape, or the conversion needs a moment.

    Example:
        >>> base = tfvae.layers.MultivariateNormalDiag(2)
        >>> layer = tfvae.layers.TransformedDistribution(
        ...     base, tfvae.flows.InverseAutoregressive(), context_size=8)
        >>> layer.params_size(base.params_size(2), context_size=8)
        12
        >>> layer(tf.zeros([5, 12])).sample(3).shape
        TensorShape([3, 5, 2])

    Reference: Variational Inference with Normalizing Flows (Rezende and Mohamed, 2015),
    https://arxiv.org/abs/1505.05770
    """

    def __init__(
        self,
        base: DistributionLayer,
        flow: Flow,
        context_size: int = 0,
        convert_to_tensor_fn: Any = "sample",
        validate_args: bool = False,
        **kwargs: Any,
    ) -> None:
        if not isinstance(base, DistributionLayer):
            raise TypeError(
                "`base` must be a distribution layer, such as `MultivariateNormalDiag(16)`. "
                f"Received: {kind_of(base)}"
            )
        if not isinstance(flow, Flow):
            raise TypeError(
                "`flow` must be an object of `tfvae.flows`, such as `InverseAutoregressive()`. "
                f"Received: {kind_of(flow)}"
            )
        if not base._event_is_known:
            raise ValueError(
                "`base` must know the shape of its draws, for the flow to make its weights. "
                f"Received: the {type(base).__name__} '{base.name}', which does not."
            )
        super().__init__(base.event_shape, convert_to_tensor_fn, validate_args, **kwargs)
        if self.convert_to_tensor_fn in _MOMENTS:
            raise ValueError(
                f"The {self.convert_to_tensor_fn} of a flow has no closed form. Set "
                '`convert_to_tensor_fn` to "sample", or to a function such as `lambda q: '
                "keras.ops.mean(q.sample(100), axis=0)`."
            )
        self.base = base
        self.flow = flow
        self.context_size = whole_number("context_size", context_size, 0)

    @classmethod
    def params_size(cls, base_params_size: int, context_size: int = 0) -> int:
        """Returns `P + C`, P the number of parameters of the base."""
        context_size = whole_number("context_size", context_size, 0)
        return whole_number("base_params_size", base_params_size) + context_size

    @classmethod
    def new(
        cls,
        params: Tensor,
        base: DistributionLayer,
        flow: Flow,
        context_size: int = 0,
        validate_args: bool = False,
    ) -> Distribution:
        """Returns the plain tfp distribution of parameters `[..., P + C]`."""
        params = full_precision(params)
        size = base._params_size()
        flow.build(base.event_shape, context_size)
        return tfd.TransformedDistribution(
            base._distribution(params[..., :size]),
            flow.bijector(params[..., size:] if context_size else None),
            validate_args=validate_args,
        )

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.base.build((*input_shape[:-1], self.base._params_size()))
        self.flow.build(self.event_shape, self.context_size)

    def get_config(self) -> dict[str, Any]:
        stored = objects_config(base=self.base, flow=self.flow)
        return {**super().get_config(), **stored, "context_size": self.context_size}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DistributionLayer:
        return super().from_config(made_again(config, "base", "flow"))

    def _structure(self) -> dict[str, Any]:
        return {"base": self.base, "flow": self.flow, "context_size": self.context_size}

    def _params_size(self) -> int:
        return self.params_size(self.base._params_size(), self.context_size)
