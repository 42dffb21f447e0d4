"""The invertible map of a flow at given weights and context, as TFP knows such maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf
import tensorflow_probability as tfp
from keras.src.backend import AutocastScope

from tfvae._typing import Tensor

if TYPE_CHECKING:
    from tfvae.flows.base import Flow

__all__ = ["FlowBijector"]


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
        leading = value.shape[: value.shape.rank - len(event)]
        dynamic = tf.shape(value)[: value.shape.rank - len(event)]
        flat = tf.reshape(value, tf.concat([dynamic, [flow.size]], axis=0))
        flat = tf.ensure_shape(flat, leading.concatenate(flow.size))
        values = list(zip(flow.variables, self.weights, strict=True))
        # Else a layer of half precision around this map rounds the weights.
        with AutocastScope(flow.dtype), keras.StatelessScope(values):
            image, log_det = function(flat, self.context)
        dynamic = tf.concat([tf.shape(image)[:-1], tf.constant(event, tf.int32)], axis=0)
        image = tf.ensure_shape(tf.reshape(image, dynamic), image.shape[:-1].concatenate(event))
        return image, log_det
