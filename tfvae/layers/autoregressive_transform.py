"""A layer that transforms a distribution by an autoregressive flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability.python.bijectors.bijector import AutoCompositeTensorBijector

from tfvae._precision import full_dtype, full_precision
from tfvae._snapshots import values_of, with_values
from tfvae._stored import made_again, objects_config
from tfvae._typing import Distribution, Tensor, register
from tfvae._words import kind_of
from tfvae.layers.base import DistributionLayer
from tfvae.layers.coercible import distribution_of
from tfvae.networks.made import MADE

__all__ = ["AutoregressiveTransform"]

tfb, tfd = tfp.bijectors, tfp.distributions


@register
class AutoregressiveTransform(DistributionLayer):
    """Transforms the distribution of the layer before it by an autoregressive flow.

        shift, log_scale = made(x);   u = (x - shift) * exp(-log_scale),   u ~ the input

    Densities take one pass of the network; a draw takes one step per element, which together cost
    about one pass. The output is a composite of its input and the weights as they are now.

    Args:
        made: A `tfvae.networks.MADE(params=2, ...)`, without a context.
        **kwargs: See `DistributionLayer`.

    Call arguments:
        distribution: p(u), event shape `[D]`: the output of a distribution layer.

    Returns:
        `tfd.TransformedDistribution`, batch shape and event shape those of the input.

    Raises:
        TypeError: `made` is no `MADE`, or the input comes from no distribution layer.
        ValueError: `made` does not have two parameters per element.

    Example:
        >>> made = tfvae.networks.MADE(params=2, hidden_units=[10], activation="relu")
        >>> model = keras.Sequential([
        ...     keras.Input((4,)), tfvae.layers.MultivariateNormalDiag(2),
        ...     tfvae.layers.AutoregressiveTransform(made)])
        >>> model(tf.zeros([5, 4])).log_prob(tf.zeros([5, 2])).shape
        TensorShape([5])

    Reference: Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017),
    https://arxiv.org/abs/1705.07057
    """

    def __init__(self, made: MADE, convert_to_tensor_fn: Any = "sample", **kwargs: Any) -> None:
        # Uncast: a tensor in another precision would no longer know its distribution.
        super().__init__(None, convert_to_tensor_fn, **{**kwargs, "autocast": False})
        if not isinstance(made, MADE):
            raise TypeError(
                "`made` must be a `tfvae.networks.MADE`: networks of the legacy Keras would stay "
                f"untrained. Received: {kind_of(made)}"
            )
        if made.params != 2 or made.context_size:
            raise ValueError(
                "`made` must output 2 parameters per element and take no context. Received: "
                f"params={made.params}, context_size={made.context_size}"
            )
        # The steps of a draw and the pass of a density round apart in half precision.
        for part in (made, *made.masked_layers):
            part.dtype_policy = full_dtype(part.variable_dtype)
        self.made = made
        # Kept: bijectors are told apart by the identity of their functions.
        self._functions = (self._shift_and_log_scale, self._generate)

    @classmethod
    def params_size(cls, *structure: Any) -> int:
        """A transform has no parameters but its weights.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(
            "`AutoregressiveTransform` takes a distribution, so it has no parameters to count."
        )

    def build(self, input_shape: Any) -> None:
        if not self.made.built:
            self.made.build((input_shape[-1],))
        self.built = True

    def call(self, distribution: Tensor, training: bool | None = None) -> Distribution:
        base: Any = distribution_of(distribution)
        if base is None:
            raise TypeError(
                f"Layer '{self.name}' needs the output of a distribution layer right before it. "
                f"Received: {kind_of(distribution)} of shape {distribution.shape}"
            )
        flow = _Flow(*self._functions, values_of(self.made))
        made: Any = tfd.TransformedDistribution(
            base.tensor_distribution, flow, validate_args=self.validate_args
        )
        return self._regularized(self._coercer(made), training)

    def compute_output_spec(
        self, distribution: keras.KerasTensor, training: bool | None = None
    ) -> keras.KerasTensor:
        if not self.made.built:
            self.made.build((distribution.shape[-1],))
        return keras.KerasTensor(distribution.shape, dtype=distribution.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **objects_config(made=self.made)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DistributionLayer:
        return super().from_config(made_again(config, "made"))

    def _structure(self) -> dict[str, Any]:
        return {}

    def _shift_and_log_scale(self, y: Tensor, weights: Sequence[Tensor]) -> Tensor:
        with with_values(self.made, weights):
            return tf.cast(self.made(full_precision(y)), y.dtype)

    def _generate(self, x: Tensor, weights: Sequence[Tensor]) -> Tensor:
        size = x.shape[-1]
        rows = tf.reshape(x, [-1, size])
        in_order = tf.transpose(rows)[:, None]  # [D, 1, N]

        def mapped(step: Tensor, params: Tensor) -> Tensor:
            shift, log_scale = tf.unstack(tf.cast(params, x.dtype), axis=-1)
            return shift + tf.exp(log_scale) * tf.gather(in_order, places[step])

        places = tf.argsort(tf.constant(self.made.order))
        with with_values(self.made, weights):
            y = self.made.generate(mapped, 1, tf.zeros([tf.shape(rows)[0], 0], x.dtype))
        return tf.ensure_shape(tf.reshape(tf.cast(y, x.dtype), tf.shape(x)), x.shape)


class _Flow(tfb.MaskedAutoregressiveFlow, AutoCompositeTensorBijector):
    """TFP's flow with the weights as parts of it, and draws without a pass for each element."""

    def __init__(
        self,
        params_fn: Callable[[Tensor, Sequence[Tensor]], Tensor],
        generate_fn: Callable[[Tensor, Sequence[Tensor]], Tensor],
        weights: Sequence[Tensor],
        name: str = "masked_autoregressive_flow",
    ) -> None:
        parameters = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        self._params_fn, self._generate_fn, self._weights = params_fn, generate_fn, tuple(weights)
        super().__init__(lambda y: params_fn(y, self._weights), name=name)
        self._parameters = parameters

    def _forward(self, x: Tensor, **kwargs: Any) -> Tensor:
        return self._generate_fn(x, self._weights)
