"""The base of all normalizing flows: weights, and the invertible map that they make."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._shapes import with_event
from tfvae._snapshots import values_of, with_values
from tfvae._typing import Shape, Tensor, event_tuple, whole_number

__all__ = ["Flow", "FlowBijector", "register_flow"]

# Priors have the same names.
register_flow = keras.saving.register_keras_serializable(package="tfvae.flows")


class Flow(keras.layers.Layer):
    """Abstract normalizing flow: an invertible map of latents, with trainable weights.

        y = f(x; context),   log p(y) = log p_base(f^-1(y)) + log |det d f^-1(y) / dy|

    A layer like any other holds the weights; `bijector(context)` makes the map from them as they
    are, anew on each call: one that is kept from an earlier call is a snapshot that never trains.

    A subclass adds its weights in `_build(size, context_size)` and maps vectors in `_forward` and
    `_inverse`; events of other shapes are vectors there.

    Args:
        **kwargs: `name`, `dtype` and the other arguments of `keras.layers.Layer`. Weights are
            float32 where the policy is half precision.

    Attributes:
        event_shape: Shape of one latent, `E`; None before `build`.
        context_size: Size of the context, C; 0 where there is none.
    """

    def __init__(self, **kwargs: Any) -> None:
        policy: Any = keras.dtype_policies.get(kwargs.pop("dtype", None))
        half = policy.variable_dtype in ("float16", "bfloat16")
        super().__init__(dtype="float32" if half else policy.variable_dtype, **kwargs)
        self.event_shape: Shape | None = None
        self.context_size = 0

    def build(self, event_shape: int | Sequence[int], context_size: int = 0) -> None:
        """Makes the weights for latents of shape `event_shape`; a second call only compares.

        Args:
            event_shape: Shape of one latent, `E`; an int means a vector.
            context_size: Size of the context, C; 0 for a map that depends on nothing else.

        Raises:
            ValueError: The flow is already built for others, or cannot map such latents.
        """
        event = event_tuple(event_shape)
        context_size = whole_number("context_size", context_size, least=0)
        if self.event_shape is None:
            self._build(math.prod(event), context_size)
            self.event_shape, self.context_size = event, context_size
            self.built = True
        if (event, context_size) != (self.event_shape, self.context_size):
            raise ValueError(
                f"The flow '{self.name}' is built for latents of shape {self.event_shape} and a "
                f"context of size {self.context_size}. Received: event_shape={event}, "
                f"context_size={context_size}. Make one flow for each use."
            )

    def bijector(self, context: Tensor | None = None) -> FlowBijector:
        """Returns the map f, made from the weights as they are.

        Args:
            context: `[..., C]`, whose leading axes broadcast with those of the latents; None where
                the flow is built without context.

        Returns:
            A `tfb.Bijector` of batch shape `[...]` over events `E`.

        Raises:
            ValueError: The flow is not built, or context is missing, unexpected or of another size.
        """
        if self.event_shape is None:
            raise ValueError(
                f"The flow '{self.name}' does not know the shape of its latents yet. Call "
                "`flow.build(event_shape, context_size)`, or give it to a layer or prior."
            )
        if context is not None:
            context = tf.convert_to_tensor(context)
        size = 0 if context is None else (context.shape[-1] if context.shape.rank else None)
        if size != self.context_size or (context is not None and not self.context_size):
            received = "no context" if context is None else f"a context of shape {context.shape}"
            raise ValueError(
                f"The flow '{self.name}' is built for "
                + (f"a context [..., {self.context_size}]" if self.context_size else "no context")
                + f". Received: {received}. Set the size by `context_size` of `build`, or of the "
                "layer that holds the flow."
            )
        return FlowBijector(self, tuple(values_of(self)), context)

    @property
    def size(self) -> int:
        """Number of dimensions of one latent, D."""
        return math.prod(self.event_shape or ())

    def get_build_config(self) -> dict[str, Any] | None:
        """Returns the arguments of `build`, None before it."""
        if self.event_shape is None:
            return None
        return {"event_shape": list(self.event_shape), "context_size": self.context_size}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Makes the weights by the output of `get_build_config`."""
        if config:
            self.build(**config)

    def _build(self, size: int, context_size: int) -> None:
        """Adds the weights of a map of vectors `[..., size]`."""
        raise NotImplementedError

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns y `[..., D]` and log |det dy/dx| `[...]`."""
        raise NotImplementedError

    def _inverse(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns x `[..., D]` and log |det dx/dy| `[...]`."""
        raise NotImplementedError


class FlowBijector(tfp.bijectors.AutoCompositeTensorBijector):
    """A flow with the weights and the context that it had when this map was made.

    Weights and context are tensors of a composite: a distribution made with this map can be
    returned from a `tf.function`, and `tf.nest.map_structure(tf.stop_gradient, q,
    expand_composites=True)` detaches it from both.

    One pass gives value and log-determinant, which TFP's cache keeps: the density of an own draw
    takes no other pass, and no inversion.

    Args:
        flow: The layer that knows how to map.
        weights: Values of `flow.variables`.
        context: `[..., C]`, or None.
        validate_args: See `tfb.Bijector`.
        name: See `tfb.Bijector`.
    """

    def __init__(
        self,
        flow: Flow,
        weights: tuple[Tensor, ...],
        context: Tensor | None = None,
        validate_args: bool = False,
        name: str = "flow",
    ) -> None:
        parameters = dict(locals())
        # Past tf.Module's attribute tracking, which wraps layers and tuples.
        object.__setattr__(self, "_flow", flow)
        object.__setattr__(self, "_weights", weights)
        self._context = context
        super().__init__(
            forward_min_event_ndims=len(flow.event_shape or ()),
            validate_args=validate_args,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype: Any) -> dict[str, Any]:
        # Weights have no batch axes: slices and broadcasts leave them as they are.
        return {"context": tfp.util.ParameterProperties(event_ndims=1)}

    @property
    def flow(self) -> Flow:
        """The layer that this map is a snapshot of."""
        return self._flow

    @property
    def weights(self) -> tuple[Tensor, ...]:
        """Values of the flow's variables."""
        return self._weights

    @property
    def context(self) -> Tensor | None:
        """What the map depends on beside the weights, `[..., C]`."""
        return self._context

    def _forward(self, x: Tensor) -> Tensor:
        y, log_det = self._mapped(self.flow._forward, x)
        self._cache.forward_attributes(x)["ildj"] = -log_det
        return y

    def _inverse(self, y: Tensor) -> Tensor:
        x, log_det = self._mapped(self.flow._inverse, y)
        self._cache.inverse_attributes(y)["ildj"] = log_det
        return x

    def _forward_log_det_jacobian(self, x: Tensor) -> Tensor:
        # Only after a pass whose result is gone; the cache answers all others.
        return self._mapped(self.flow._forward, x)[1]

    def _mapped(self, function: Any, value: Tensor) -> tuple[Tensor, Tensor]:
        flow, event = self.flow, self.flow.event_shape or ()
        flat = with_event(value, [flow.size], axes=len(event))
        with with_values(flow, self.weights):
            image, log_det = function(flat, self.context)
        return with_event(image, event), log_det
