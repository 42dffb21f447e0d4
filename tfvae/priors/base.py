"""The base of all priors p(z)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import keras

from tfvae._precision import full_dtype
from tfvae._typing import Distribution, Shape, Tensor, event_tuple
from tfvae.distributions.support import Support

__all__ = ["Prior", "add_scale"]


class Prior(keras.layers.Layer):
    """Abstract prior p(z): a Keras layer that holds the weights and makes the distribution.

    A subclass adds its weights in `_build(event_shape)` with `add_weight` and makes the
    distribution from them in `distribution()`, anew on each call: a distribution kept from an
    earlier call would be a snapshot that never trains.

    Args:
        event_shape: Shape of one latent, `E`. A model sets it from its encoder where it is None.
        **kwargs: `name` and the other arguments of `keras.layers.Layer`.

    Attributes:
        takes_context: Whether `distribution` reads a context.
        needs_model: Whether the weights can only be made after `connect`.
    """

    takes_context: ClassVar[bool] = False
    needs_model: ClassVar[bool] = False

    def __init__(self, event_shape: int | Sequence[int] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.event_shape: Shape | None = None
        if event_shape is not None and self.needs_model:
            self.event_shape = event_tuple(event_shape)
        elif event_shape is not None:
            self.build(event_tuple(event_shape))

    def build(self, event_shape: Sequence[int]) -> None:
        """Makes the weights for latents of shape `event_shape`; a second call only compares.

        Raises:
            ValueError: The prior is already built for another shape.
        """
        event = event_tuple(event_shape)
        if self.event_shape is None:
            self.event_shape = event
        if event != self.event_shape:
            raise ValueError(
                f"The prior '{self.name}' is over latents of shape {self.event_shape}, "
                f"the posterior over latents of shape {event}. Leave out the prior's "
                "`event_shape` to have the model set it."
            )
        if not self.built:
            self._build(event)
            self.built = True
            self._check_made_anew()

    def _check_made_anew(self) -> None:
        """Checks that weights are read by each call of `distribution`, and not once and for all.

        Raises:
            ValueError: They are not.
        """
        is_own = type(self).__module__.startswith("tfvae.")
        if is_own or self.takes_context or self.needs_model or not self.trainable_weights:
            return
        if self.distribution() is self.distribution():
            raise ValueError(
                f"The prior '{self.name}' ({type(self).__name__}) returns the same distribution "
                "each time, made from its weights as they were: it would never train. Make it "
                "within `distribution`."
            )

    def distribution(self, context: Tensor | None = None) -> Distribution:
        """Returns p(z), batch shape `[]`, event shape `E`, made from the weights as they are.

        Args:
            context: `[B, ...]`, only for a prior that `takes_context`: its p(z|c) has batch
                shape `[B]`.

        Raises:
            ValueError: The shape of the latents is not known yet.
        """
        raise NotImplementedError

    def connect(
        self, encode: Callable[[Tensor], Distribution] | None, event_shape: Shape, support: Support
    ) -> None:
        """Shows the prior the model that it belongs to, before `build`; most do not look.

        Args:
            encode: From x `[B, *event_shape]` to q(z|x); None where it needs a context too.
            event_shape: Shape of one example of x.
            support: What the likelihood can produce.
        """

    def add_weight(self, *args: Any, **kwargs: Any) -> keras.Variable:
        """Adds a weight as `keras.layers.Layer` does, which a layer around does not round."""
        return super().add_weight(*args, **{"autocast": False, **kwargs})

    @property
    def density_dtype(self) -> str:
        """Type of the densities: that of the weights, "float32" where it is half precision."""
        return full_dtype(self.variable_dtype)

    def known_event_shape(self) -> Shape:
        """Returns the shape of one latent.

        Raises:
            ValueError: It is not known yet.
        """
        if self.event_shape is None:
            raise ValueError(
                f"The prior '{self.name}' does not know the shape of its latents yet. Pass "
                "`event_shape` to it, or pass it to a model and build that: "
                "`model.build((None, *x.shape[1:]))`."
            )
        return self.event_shape

    def get_config(self) -> dict[str, Any]:
        shape = None if self.event_shape is None else list(self.event_shape)
        return {**super().get_config(), "event_shape": shape}

    def _build(self, event_shape: Shape) -> None:
        """Adds the weights; nothing to do for a prior without any."""


def add_scale(prior: Prior, shape: Shape, min_scale: float) -> Any:
    """Adds the weight `raw_scale`, of which `min_scale + softplus(raw_scale)` is 1."""
    if not 0.0 <= min_scale < 1.0:
        raise ValueError(f"`min_scale` must lie in [0, 1). Received: min_scale={min_scale}")
    start = keras.initializers.Constant(math.log(math.expm1(1.0 - min_scale)))
    return prior.add_weight(shape=shape, initializer=start, name="raw_scale")
