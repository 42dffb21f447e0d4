"""A prior over codes, one category after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfvae import distributions, layers
from tfvae._config import check_count
from tfvae._shapes import with_event
from tfvae._snapshots import values_of, with_values
from tfvae._stored import parts_config
from tfvae._typing import Distribution, Shape, Tensor, event_tuple
from tfvae.distributions.one_hot import OneHot
from tfvae.priors.base import Prior

__all__ = ["Autoregressive"]


# A layer has the same name.
@keras.saving.register_keras_serializable(package="tfvae.priors")
class Autoregressive(Prior):
    """Codes of several categorical variables, each given those before it, and a context.

        p(z) = prod_i softmax(made(z_<i, context)_i)[z_i]

    A masked network sees the variables as one-hot vectors, whose order means nothing. Densities
    take one pass of it, draws one step per variable, which together cost about one pass. The KL
    has no closed form: where the posterior has too few states to sum over, it is read from draws.

    Args:
        levels: Number of categories of each variable, L.
        event_shape: Shape of one latent, `E`; by default that of the model's encoder.
        one_hot: Latents are one-hot vectors, `E` = `(..., L)`, in place of numbers from 0 to L - 1.
            Their log-density is that of `OneHotCategorical` and smooth in between, so that
            `StraightThrough()` and `Relaxed()` draws of a posterior carry gradients through it.
        context_size: Size of a context `[B, C]` that all variables depend on; None for none.
        hidden_units: Units of each hidden layer.
        activation: Keras activation of the hidden layers, by name or as a callable.
        input_order: Order of the variables, row by row: see `tfvae.networks.MADE`.
        **kwargs: See `Prior`.

    Raises:
        ValueError: A number is smaller than 1, or one-hot latents of another size.

    Example:
        >>> p_z = tfvae.priors.Autoregressive(4, 8).distribution()
        >>> p_z.log_prob(p_z.sample(3, seed=[0, 1])).shape
        TensorShape([3])

    References:
        MADE (Germain et al., 2015), https://arxiv.org/abs/1502.03509
        Neural Discrete Representation Learning (van den Oord et al., 2017),
        https://arxiv.org/abs/1711.00937
    """

    def __init__(
        self,
        levels: int,
        event_shape: int | Sequence[int] | None = None,
        *,
        one_hot: bool = False,
        context_size: int | None = None,
        hidden_units: Sequence[int] = (64, 64),
        activation: Any = "relu",
        input_order: str | Sequence[int] = "left-to-right",
        **kwargs: Any,
    ) -> None:
        check_count("levels", levels)
        if context_size is not None:
            check_count("context_size", context_size)
        super().__init__(**kwargs)
        self.levels = int(levels)
        self.one_hot = one_hot
        self.context_size = context_size
        self.hidden_units = list(hidden_units)
        self.activation: Any = keras.activations.get(activation)
        self.input_order = input_order if isinstance(input_order, str) else list(input_order)
        # Kept: distributions are told apart by the identity of their functions.
        self._functions = (self._params, _one_hot, self._sample)
        if event_shape is not None:
            self.build(event_tuple(event_shape))

    @property
    def takes_context(self) -> bool:  # type: ignore[override]
        """Whether p(z) depends on a context."""
        return self.context_size is not None

    @property
    def inputs(self) -> list[Any] | None:
        """What tells a model the shape of the context."""
        return [keras.KerasTensor((None, self.context_size))] if self.takes_context else None

    def distribution(self, context: Tensor | None = None) -> Distribution:
        """Returns a `tfvae.distributions.Autoregressive`, batch shape `[]`, or `[B]` of a context.

        Raises:
            ValueError: The context is missing, or not of size `context_size`.
        """
        event = self.known_event_shape()
        if self.takes_context and context is None:
            raise ValueError(f"The prior '{self.name}' needs a context. Received: none.")
        numbers = self.layer.distribution(context if self.takes_context else None)
        if not self.one_hot:
            return numbers
        return distributions.Autoregressive(
            *self._functions[:2],
            event,
            self.levels,
            numbers.context,
            values_of(self.layer.network),
            self._functions[2],
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "levels": self.levels,
            "one_hot": self.one_hot,
            "context_size": self.context_size,
            "hidden_units": self.hidden_units,
            **parts_config(self, "activation"),
            "input_order": self.input_order,
        }

    def _build(self, event_shape: Shape) -> None:
        if self.one_hot and event_shape[-1:] != (self.levels,):
            raise ValueError(
                f"One-hot latents of {self.levels} levels must have shape (..., {self.levels}). "
                f"Received: event_shape={event_shape}"
            )
        self.layer = layers.Autoregressive(
            event_shape[:-1] if self.one_hot else event_shape,
            layers.IndependentCategorical((), self.levels, dtype=self.dtype_policy),
            self.context_size,
            hidden_units=self.hidden_units,
            activation=self.activation,
            input_order=self.input_order,
            order_seed=0,
            dtype=self.dtype_policy,
            name="layer",
        )

    def _params(self, z: Tensor, context: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """Returns logits `[..., *D, L]` of latents `[..., *D, L]`."""
        event = self.known_event_shape()
        network = self.layer.network
        flat = with_event(tf.cast(z, network.compute_dtype), [math.prod(event)], axes=len(event))
        with with_values(network, weights):
            params = network.from_features(flat, context if self.takes_context else None)
        return with_event(params, event, axes=2)

    def _sample(
        self, num: Tensor, context: Tensor, weights: Sequence[Tensor], seed: Tensor
    ) -> Tensor:
        numbers = self.layer._sample(num, context, weights, seed)
        return tf.one_hot(tf.cast(numbers, tf.int32), self.levels, dtype=context.dtype)


def _one_hot(logits: Tensor) -> Distribution:
    return OneHot(logits, dtype=logits.dtype)
