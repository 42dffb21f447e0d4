"""Priors over discrete codes, one after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae._config import check_count
from tfvae._typing import Distribution, Shape, Tensor
from tfvae.distributions.code_sequence import CodeSequence
from tfvae.networks.masked import MaskedDense
from tfvae.priors.base import Prior

__all__ = ["Autoregressive"]


# `layers` has a class of this name.
@keras.saving.register_keras_serializable("tfvae.priors")
class Autoregressive(Prior):
    """Discrete codes, each given those before it, by a masked network.

        p(z) = prod_i softmax(logits_i(z_1, ..., z_i-1))[z_i]

    Any joint distribution of the codes can be had with enough hidden units, while `Categorical`
    takes them as independent. A density takes one pass of the network, a draw one for each code.
    Goes with posteriors such as `IndependentCategorical`, whose draws are numbers from 0, and
    with one-hot ones.

    Args:
        levels: Number of states of each code, K; None for one-hot vectors, whose last axis tells.
        event_shape: Shape of one latent, `E`; by default that of the model's encoder. The codes
            are in its order, row by row.
        context_size: Size of a context that the codes depend on, for p(z|c); None for none.
        hidden_units: Units of each hidden layer.
        activation: Keras activation of the hidden layers.
        **kwargs: See `Prior`.

    Raises:
        ValueError: `levels` or `context_size` is smaller than 1.

    Example:
        >>> prior = tfvae.priors.Autoregressive(10, (4,))
        >>> p_z = prior.distribution()
        >>> p_z.log_prob(p_z.sample(3, seed=[0, 1])).shape
        TensorShape([3])

    References:
        MADE (Germain et al., 2015), https://arxiv.org/abs/1502.03509
        Neural Discrete Representation Learning (van den Oord et al., 2017), section 4.2,
        https://arxiv.org/abs/1711.00937
    """

    def __init__(
        self,
        levels: int | None = None,
        event_shape: Any = None,
        *,
        context_size: int | None = None,
        hidden_units: Sequence[int] = (128, 128),
        activation: Any = "relu",
        **kwargs: Any,
    ) -> None:
        for name, value in (("levels", levels), ("context_size", context_size)):
            if value is not None:
                check_count(name, value)
        super().__init__(**kwargs)
        self.levels = None if levels is None else int(levels)
        self.context_size = context_size
        self.hidden_units = tuple(hidden_units)
        self.activation = keras.activations.get(activation)
        self.masked_layers: list[MaskedDense] = []
        if event_shape is not None:
            self.build((event_shape,) if isinstance(event_shape, int) else tuple(event_shape))

    @property
    def takes_context(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the codes depend on a context."""
        return self.context_size is not None

    def distribution(self, context: Tensor | None = None) -> Distribution:
        """Returns `tfvae.distributions.CodeSequence`: batch shape `[]`, or `[B]` given a context.

        Args:
            context: `[B, ...]`, flattened; only for a prior with `context_size`.

        Raises:
            ValueError: The shape of the latents is not known, or the context not of the size.
        """
        event = self.known_event_shape()
        levels, size = self._levels_and_codes(event)
        rows: Any = None
        if self.context_size is not None:
            if context is None:
                raise ValueError(f"The prior '{self.name}' needs a context. Received: none.")
            context = tf.convert_to_tensor(context)
            if math.prod(context.shape[1:]) != self.context_size:
                raise ValueError(
                    f"The prior '{self.name}' was made with context_size={self.context_size}. "
                    f"Received: a context of shape {list(context.shape)}."
                )
            rows = context = tf.reshape(context, [-1, self.context_size])

        def logits(codes: Tensor) -> Tensor:
            h = tf.reshape(codes, tf.concat([tf.shape(codes)[:-2], [size * levels]], axis=0))
            h = tf.ensure_shape(h, codes.shape[:-2].concatenate(size * levels))
            for layer in self.masked_layers:
                h = layer(h, context=context)
            shape = tf.concat([tf.shape(h)[:-1], [size, levels]], axis=0)
            static = h.shape[:-1].concatenate([size, levels])
            return tf.ensure_shape(tf.reshape(h, shape), static)

        return CodeSequence(logits, event, levels, one_hot=self.levels is None, rows=rows)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "levels": self.levels,
            "context_size": self.context_size,
            "hidden_units": list(self.hidden_units),
            "activation": keras.activations.serialize(self.activation),
        }

    def _levels_and_codes(self, event_shape: Shape) -> tuple[int, int]:
        if self.levels is None:
            return event_shape[-1], math.prod(event_shape[:-1])
        return self.levels, math.prod(event_shape)

    def _build(self, event_shape: Shape) -> None:
        levels, size = self._levels_and_codes(event_shape)
        # A code of degree i sees units of degree up to i - 1; those of degree 0 are constants, but
        # for a context.
        first = 0 if self.context_size else min(1, size - 1)
        spread = [np.linspace(first, size - 1, units).round() for units in self.hidden_units]
        codes = np.repeat(np.arange(1, size + 1), levels)
        degrees = [codes, *spread, codes]
        for index in range(len(degrees) - 1):
            last = index == len(degrees) - 2
            layer = MaskedDense(
                degrees[index].tolist(),
                degrees[index + 1].tolist(),
                exclusive=last,
                context_size=self.context_size or 0,
                activation=None if last else self.activation,
                dtype="float32",
                name=f"masked_{index}",
            )
            layer.build((len(degrees[index]),))
            self.masked_layers.append(layer)
