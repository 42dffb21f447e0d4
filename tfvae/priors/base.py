"""The base of all priors p(z)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from tfvae._typing import Distribution, Shape, event_tuple

__all__ = ["Prior"]


class Prior(keras.layers.Layer):
    """Abstract prior p(z): a Keras layer that holds the weights and makes the distribution.

    A subclass adds its weights in `_build(event_shape)` with `add_weight` and makes the
    distribution from them in `distribution()`, anew on each call: a distribution kept from an
    earlier call would be a snapshot that never trains.

    Args:
        event_shape: Shape of one latent, `E`. A model sets it from its encoder where it is None.
        **kwargs: `name` and the other arguments of `keras.layers.Layer`.
    """

    def __init__(self, event_shape: int | Sequence[int] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.event_shape: Shape | None = None
        if event_shape is not None:
            self.build(event_tuple(event_shape))

    def build(self, event_shape: Sequence[int]) -> None:
        """Makes the weights for latents of shape `event_shape`; a second call only compares.

        Raises:
            ValueError: The prior is already built for another shape.
        """
        event = event_tuple(event_shape)
        if self.event_shape is None:
            self.event_shape = event
            self._build(event)
            self.built = True
        if event != self.event_shape:
            raise ValueError(
                f"The prior '{self.name}' is over latents of shape {self.event_shape}, "
                f"the posterior over latents of shape {event}. Leave out the prior's "
                "`event_shape` to have the model set it."
            )

    def distribution(self) -> Distribution:
        """Returns p(z), batch shape `[]`, event shape `E`, made from the weights as they are."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        shape = None if self.event_shape is None else list(self.event_shape)
        return {**super().get_config(), "event_shape": shape}

    def _build(self, event_shape: Shape) -> None:
        """Adds the weights; nothing to do for a prior without any."""
