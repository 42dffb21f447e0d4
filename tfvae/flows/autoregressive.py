"""Autoregressive flows: every dimension is mapped by those before it."""

from __future__ import annotations

from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from tfvae._precision import full_dtype
from tfvae._typing import Tensor
from tfvae.flows.base import register_flow
from tfvae.flows.layered import LayeredFlow
from tfvae.networks import MADE

__all__ = ["AutoregressiveFlow", "InverseAutoregressive", "MaskedAutoregressive"]


class AutoregressiveFlow(LayeredFlow):
    """Abstract flow of autoregressive transforms: one pass in one direction, D steps in the other.

    Every other transform reads the dimensions in reverse order.

    Args:
        num_transforms: Number of transforms.
        hidden_units: Units of the hidden layers of each network, a `MADE`.
        activation: Keras activation of the hidden layers.
        **kwargs: See `Flow`.

    Attributes:
        direct_inverse: Whether it is the inverse that takes one pass.
    """

    direct_inverse: ClassVar[bool]

    def _orders(self, size: int) -> list[np.ndarray]:
        order = np.arange(size)
        return [order[::-1] if index % 2 else order for index in range(self.num_transforms)]

    def _network(self, index: int, size: int, context_size: int) -> keras.layers.Layer:
        network = MADE(
            self.num_params,
            size,
            hidden_units=self.hidden_units,
            context_size=context_size,
            activation=self.activation,
            output_initializer=keras.initializers.RandomNormal(stddev=1e-3),
            seed=0,
            dtype=full_dtype(self.dtype),
        )
        network.build((size,), (context_size,) if context_size else None)
        return network

    def _transform(
        self, index: int, x: Tensor, context: Tensor | None, *, inverse: bool
    ) -> tuple[Tensor, Tensor]:
        if inverse == self.direct_inverse:
            params = self._parameters(index, x, context)  # [..., D, P]
            image, log_slopes = self._elementwise(x, params, inverse=inverse)
            return image, tf.reduce_sum(log_slopes, axis=-1)

        # The other way round parameters depend on the image: it is found element by element. The
        # pass that follows gives the derivatives, and the image in the precision of `x`.
        found = tf.cast(self._solved(index, x, context, inverse=inverse), x.dtype)
        params = self._parameters(index, found, context)
        image, log_slopes = self._elementwise(x, params, inverse=inverse)
        return image, tf.reduce_sum(log_slopes, axis=-1)

    def _solved(self, index: int, x: Tensor, context: Tensor | None, *, inverse: bool) -> Tensor:
        """Returns the `image` that maps `x` by parameters of that `image`, `[..., D]`."""
        network, size = self._networks[index], x.shape[-1]
        leading = x.shape[:-1]
        shape = tf.shape(x)
        if context is None:
            context = tf.zeros([1, 0], x.dtype)
        else:
            leading = tf.broadcast_static_shape(leading, context.shape[:-1])
            shape = tf.concat(
                [tf.broadcast_dynamic_shape(shape[:-1], tf.shape(context)[:-1]), [size]], axis=0
            )
        if context.shape.rank > 2:
            # Rows of their own for all: contexts that few share.
            full = tf.concat([shape[:-1], tf.shape(context)[-1:]], axis=0)
            context = tf.reshape(tf.broadcast_to(context, full), [-1, context.shape[-1]])
        context = tf.reshape(context, [-1, context.shape[-1]])
        batch = tf.shape(context)[0]
        rows = tf.reshape(tf.broadcast_to(x, shape), [-1, batch, size])
        targets = tf.transpose(rows, [2, 0, 1])  # [D, S, B]

        def draw(step: Tensor, params: Tensor) -> Tensor:
            params = tf.cast(params, x.dtype)
            return self._elementwise(targets[step], params, inverse=inverse)[0]

        found = network.generate(draw, tf.shape(rows)[0], context)
        return tf.ensure_shape(tf.reshape(found, shape), leading.concatenate(size))


@register_flow
class MaskedAutoregressive(AutoregressiveFlow):
    """Masked autoregressive flow (MAF): the density of any point takes one pass, a draw D steps.

        x[i] = (y[i] - shift(y[<i], context)) * exp(-log_scale(y[<i], context))

    For priors and for densities that are fitted to data. A new flow is close to the identity, and
    the scale of each transform is within [exp(-3), exp(3)].

    Args:
        num_transforms: Number of transforms.
        hidden_units: Units of the hidden layers of each network, a `MADE`.
        activation: Keras activation of the hidden layers.
        **kwargs: See `Flow`.

    Example:
        >>> flow = tfvae.flows.MaskedAutoregressive(num_transforms=2, hidden_units=[32])
        >>> flow.build(3)
        >>> flow.bijector().inverse(tf.zeros([5, 3])).shape
        TensorShape([5, 3])

    Reference: Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017),
    https://arxiv.org/abs/1705.07057
    """

    direct_inverse = True


@register_flow
class InverseAutoregressive(AutoregressiveFlow):
    """Inverse autoregressive flow (IAF): a draw and its density take one pass.

        y[i] = x[i] * exp(log_scale(x[<i], context)) + shift(x[<i], context)

    For posteriors, whose densities are asked for at their own draws; the density of any other
    point takes D steps. A new flow is close to the identity, and the scale of each transform is
    within [exp(-3), exp(3)].

    Args:
        num_transforms: Number of transforms.
        hidden_units: Units of the hidden layers of each network, a `MADE`.
        activation: Keras activation of the hidden layers.
        **kwargs: See `Flow`.

    Example:
        >>> flow = tfvae.flows.InverseAutoregressive(num_transforms=2, hidden_units=[32])
        >>> flow.build(3, context_size=8)
        >>> flow.bijector(tf.zeros([5, 8])).forward(tf.zeros([5, 3])).shape
        TensorShape([5, 3])

    Reference: Improving Variational Inference with Inverse Autoregressive Flow (Kingma et al.,
    2016), https://arxiv.org/abs/1606.04934
    """

    direct_inverse = False
