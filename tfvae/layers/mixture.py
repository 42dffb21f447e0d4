"""Mixture density layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import keras
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability.python.internal import auto_composite_tensor

from tfvae._stored import function_config, function_from_config
from tfvae._typing import Distribution, Tensor, register, whole_number
from tfvae.distributions.mixture import ReparameterizedMixture
from tfvae.layers.base import DistributionLayer, IndependentLayer
from tfvae.layers.normal import IndependentNormal
from tfvae.layers.parameters import split_components
from tfvae.layers.real import IndependentLogistic
from tfvae.layers.tracking import captured_parts

__all__ = ["MixtureLogistic", "MixtureNormal", "MixtureSameFamily"]

tfd = tfp.distributions


@register
class MixtureSameFamily(DistributionLayer):
    """A mixture of C components, made by another distribution layer.

        p(x) = sum_c softmax(logits)_c p(x | params_c)

    Parameters: `logits` `[..., C]`, then those of the components `[..., C, P]` row by row. Draws
    carry gradients to all parameters where the components are scalars or vectors of independent
    elements (an `IndependentLayer`) with such draws, under at most two batch axes; other draws
    carry none, as `reparameterization_type` says.

    Args:
        num_components: Number of components, C.
        component_layer: A distribution layer, or a callable from parameters `[..., C, P]` to a
            distribution of batch shape `[..., C]`.
        convert_to_tensor_fn: See `DistributionLayer`.
        validate_args: See `DistributionLayer`.
        **kwargs: See `DistributionLayer`.

    Returns:
        `tfd.MixtureSameFamily`, batch shape `[...]`, event shape that of the components.

    Example:
        >>> component = tfvae.layers.IndependentLogistic(2)
        >>> layer = tfvae.layers.MixtureSameFamily(3, component)
        >>> layer.params_size(3, component.params_size(2))
        15
        >>> layer(tf.zeros([5, 15])).event_shape
        TensorShape([2])

    Reference: Mixture Density Networks (Bishop, 1994), https://publications.aston.ac.uk/id/eprint/373
    """

    def __init__(
        self,
        num_components: int,
        component_layer: Callable[[Tensor], Distribution],
        convert_to_tensor_fn: Any = "sample",
        validate_args: bool = False,
        **kwargs: Any,
    ) -> None:
        # Of a function only a trace can tell.
        known = getattr(component_layer, "_event_is_known", False)
        event_shape = component_layer.event_shape if known else None  # type: ignore[attr-defined]
        super().__init__(event_shape, convert_to_tensor_fn, validate_args, **kwargs)
        self.num_components = whole_number("num_components", num_components)
        self.component_layer = component_layer
        if not isinstance(component_layer, keras.layers.Layer):
            self._parts = captured_parts(
                component_layer, f"`component_layer` of layer '{self.name}'"
            )

    @classmethod
    def params_size(cls, num_components: int, component_params_size: int) -> int:
        """Returns `C * (1 + P)`, P the number of parameters of one component."""
        each = 1 + whole_number("component_params_size", component_params_size)
        return whole_number("num_components", num_components) * each

    @classmethod
    def new(
        cls,
        params: Tensor,
        num_components: int,
        component_layer: Callable[[Tensor], Distribution],
        validate_args: bool = False,
    ) -> Distribution:
        """Returns the plain tfp distribution of parameters `[..., C * (1 + P)]`."""
        if isinstance(component_layer, DistributionLayer):
            # Not by calling it: parameters keep their precision whatever the layer's policy is.
            component_layer = component_layer._distribution
        return _mixture(params, num_components, component_layer, validate_args)

    def build(self, input_shape: Any) -> None:
        if getattr(self.component_layer, "_event_is_known", False):
            size = self.component_layer._params_size()
            self.component_layer.build((*input_shape[:-1], self.num_components, size))
            super().build(input_shape)
        self.built = True

    def get_config(self) -> dict[str, Any]:
        name = f"The `component_layer` of layer '{self.name}'"
        stored = function_config(self.component_layer, name, "Use a distribution layer, or")
        return {**super().get_config(), "component_layer": stored}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DistributionLayer:
        component_layer = function_from_config(config["component_layer"])
        return super().from_config({**config, "component_layer": component_layer})

    def _structure(self) -> dict[str, Any]:
        structure = {"num_components": self.num_components}
        return {**structure, "component_layer": self.component_layer}

    def _params_size(self) -> int:
        return self.params_size(self.num_components, self.component_layer._params_size())


class _MixtureOf(DistributionLayer):
    """A mixture of one family of independent elements."""

    component: ClassVar[type[IndependentLayer]]

    def __init__(
        self,
        num_components: int,
        event_shape: int | Sequence[int] = (),
        convert_to_tensor_fn: Any = "sample",
        validate_args: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(event_shape, convert_to_tensor_fn, validate_args, **kwargs)
        self.num_components = whole_number("num_components", num_components)

    @classmethod
    def params_size(cls, num_components: int, event_shape: int | Sequence[int] = ()) -> int:
        """Returns `C * (1 + num_parts * size(event_shape))`."""
        each = 1 + cls.component.params_size(event_shape)
        return whole_number("num_components", num_components) * each

    @classmethod
    def new(
        cls,
        params: Tensor,
        num_components: int,
        event_shape: int | Sequence[int] = (),
        validate_args: bool = False,
        **options: Any,
    ) -> Distribution:
        """Returns the plain tfp distribution, a `tfd.MixtureSameFamily`."""

        def components(part: Tensor) -> Distribution:
            return cls.component.new(part, event_shape, validate_args, **options)

        return _mixture(params, num_components, components, validate_args)

    def _structure(self) -> dict[str, Any]:
        return {"num_components": self.num_components, "event_shape": self.event_shape}


@register
class MixtureNormal(_MixtureOf):
    """A mixture of C Gaussians with diagonal covariance.

        p(x) = sum_c softmax(logits)_c prod_j N(x_j; loc_cj, scale_cj)
        scale = min_scale + softplus(raw)

    Parameters: `logits` `[..., C]`, then for each component its locs and its raw scales. Draws of
    scalars and vectors carry gradients to all of them, those of larger events carry none.

    Args:
        num_components: Number of components, C.
        event_shape: Shape of one draw, `E`.
        convert_to_tensor_fn: See `DistributionLayer`.
        validate_args: See `DistributionLayer`.
        min_scale: Floor of the standard deviations.
        **kwargs: See `DistributionLayer`.

    Returns:
        `tfd.MixtureSameFamily`, batch shape `[...]`, event shape `E`.

    Example:
        >>> layer = tfvae.layers.MixtureNormal(3, 2)
        >>> layer(tf.zeros([5, layer.params_size(3, 2)])).mean().shape
        TensorShape([5, 2])

    Reference: Mixture Density Networks (Bishop, 1994), https://publications.aston.ac.uk/id/eprint/373
    """

    component = IndependentNormal
    floors = IndependentNormal.floors


@register
class MixtureLogistic(_MixtureOf):
    """A mixture of C distributions of independent logistic variables.

        p(x) = sum_c softmax(logits)_c prod_j Logistic(x_j; loc_cj, scale_cj)
        scale = min_scale + softplus(raw)

    Parameters: `logits` `[..., C]`, then for each component its locs and its raw scales. Draws of
    scalars and vectors carry gradients to all of them, those of larger events carry none.

    Args:
        num_components: Number of components, C.
        event_shape: Shape of one draw, `E`.
        convert_to_tensor_fn: See `DistributionLayer`.
        validate_args: See `DistributionLayer`.
        min_scale: Floor of the scales.
        **kwargs: See `DistributionLayer`.

    Returns:
        `tfd.MixtureSameFamily`, batch shape `[...]`, event shape `E`.

    Example:
        >>> layer = tfvae.layers.MixtureLogistic(3, 2)
        >>> layer(tf.zeros([5, layer.params_size(3, 2)])).mean().shape
        TensorShape([5, 2])

    Reference: Mixture Density Networks (Bishop, 1994), https://publications.aston.ac.uk/id/eprint/373
    """

    component = IndependentLogistic
    floors = IndependentLogistic.floors


def _mixture(
    params: Tensor,
    num_components: int,
    components: Callable[[Tensor], Distribution],
    validate_args: bool,
) -> Distribution:
    params = tf.convert_to_tensor(params)
    logits, rest = split_components(params, num_components)
    made = components(rest)
    made = getattr(made, "tensor_distribution", made)
    # TFP inverts the distribution function element by element, so elements must be independent,
    # and takes a softmax over tensors with two more axes, which has no kernel beyond rank five.
    rank = made.batch_shape.rank + made.event_shape.rank
    reparameterize = (
        isinstance(made, tfd.Independent)
        and made.reparameterization_type == tfd.FULLY_REPARAMETERIZED
        and rank <= 4
        and made.event_shape.rank <= 1
    )
    weights = tfd.Categorical(logits, validate_args=validate_args)
    if reparameterize and auto_composite_tensor.is_composite_tensor(made):
        return ReparameterizedMixture(weights, made, validate_args=validate_args)
    return tfd.MixtureSameFamily(
        weights, made, reparameterize=reparameterize, validate_args=validate_args
    )
