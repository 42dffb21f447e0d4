"""Priors over finitely many states."""

from __future__ import annotations

from typing import Any

import tensorflow_probability as tfp

from tfvae._config import check_count
from tfvae._precision import full_precision
from tfvae._typing import Distribution, Shape, Tensor, register
from tfvae.priors.base import Prior

__all__ = ["Categorical", "OneHot"]

tfd = tfp.distributions


@register
class Categorical(Prior):
    """Independent categorical variables of `levels` states each, numbered from 0.

        p(z) = prod_j softmax(logits_j)[z_j],   logits `[*E, L]` learned

    Args:
        levels: Number of states of each variable, L.
        event_shape: Shape of one latent, `E`; by default that of the model's encoder.
        learn_weights: Learns the probabilities; False keeps them equal.
        **kwargs: See `Prior`.

    Raises:
        ValueError: `levels` is smaller than 1.

    Example:
        >>> tfvae.priors.Categorical(10, ()).distribution().log_prob(3.0).shape
        TensorShape([])

    Reference: Neural Discrete Representation Learning (van den Oord et al., 2017),
    https://arxiv.org/abs/1711.00937
    """

    def __init__(
        self, levels: int, event_shape: Any = None, *, learn_weights: bool = True, **kwargs: Any
    ) -> None:
        check_count("levels", levels)
        self.levels = int(levels)
        self.learn_weights = learn_weights
        super().__init__(event_shape, **kwargs)

    def distribution(self, context: Tensor | None = None) -> Distribution:
        """Returns `tfd.Independent(tfd.Categorical)`, batch shape `[]`, event shape `E`."""
        rank = len(self.known_event_shape())
        logits = full_precision(self.logits)
        return tfd.Independent(tfd.Categorical(logits=logits, dtype=logits.dtype), rank)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "levels": self.levels,
            "learn_weights": self.learn_weights,
        }

    def _build(self, event_shape: Shape) -> None:
        self.logits = self.add_weight(
            shape=(*event_shape, self.levels),
            initializer="zeros",
            trainable=self.learn_weights,
            name="logits",
        )


@register
class OneHot(Prior):
    """One categorical variable as a one-hot vector; its number of states is the event's size.

        p(z) = sum_k z_k softmax(logits)_k,   logits `[K]` learned

    Args:
        event_shape: Number of states, K; by default that of the model's encoder.
        learn_weights: Learns the probabilities; False keeps them equal.
        **kwargs: See `Prior`.

    Example:
        >>> tfvae.priors.OneHot(10).distribution().event_shape
        TensorShape([10])

    Reference: Finite Mixture Models (McLachlan and Peel, 2000), https://doi.org/10.1002/0471721182
    """

    def __init__(
        self, event_shape: Any = None, *, learn_weights: bool = True, **kwargs: Any
    ) -> None:
        self.learn_weights = learn_weights
        super().__init__(event_shape, **kwargs)

    def distribution(self, context: Tensor | None = None) -> Distribution:
        """Returns `tfd.OneHotCategorical`, batch shape `[]`, event shape `[K]`."""
        self.known_event_shape()
        logits = full_precision(self.logits)
        return tfd.OneHotCategorical(logits=logits, dtype=logits.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "learn_weights": self.learn_weights}

    def _build(self, event_shape: Shape) -> None:
        if len(event_shape) != 1:
            raise ValueError(
                "`OneHot` is over vectors, one entry per state. "
                f"Received: event_shape={event_shape}. Use `Categorical` for several variables."
            )
        self.logits = self.add_weight(
            shape=event_shape, initializer="zeros", trainable=self.learn_weights, name="logits"
        )
