"""Layers whose elements follow each other, each given those before it."""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfvae import distributions
from tfvae._precision import full_dtype
from tfvae._random import fold_in
from tfvae._shapes import with_event
from tfvae._snapshots import values_of, with_values
from tfvae._stored import function_config, function_from_config
from tfvae._typing import Distribution, Tensor, register, whole_number
from tfvae.distributions.support import support_of
from tfvae.layers.base import DistributionLayer
from tfvae.networks.causal import GatedPixelCNN
from tfvae.networks.made import MADE

__all__ = ["Autoregressive", "PixelCNN"]


# Compiled on first use. Beside the layers, which copies and files of them are made of.
_SAMPLERS: weakref.WeakKeyDictionary[Any, Callable[..., Tensor]] = weakref.WeakKeyDictionary()


def _drawn_by(layer: Callable[[], Any], *args: Any) -> Tensor:
    """Returns draws of a layer that is held by a weak reference."""
    return layer()._drawn(*args)


class _AutoregressiveLayer(DistributionLayer):
    """What the layers with a network of their own share: the context is their input."""

    network: Any

    def __init__(
        self,
        event_shape: int | Sequence[int],
        element: DistributionLayer,
        context_size: int | None = None,
        convert_to_tensor_fn: Any = "sample",
        validate_args: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(event_shape, convert_to_tensor_fn, validate_args, **kwargs)
        if isinstance(self.convert_to_tensor_fn, str) and self.convert_to_tensor_fn != "sample":
            raise ValueError(
                f"`{type(self).__name__}` has no {self.convert_to_tensor_fn} in closed form. Pass "
                '`convert_to_tensor_fn="sample"`, or a callable that averages draws.'
            )
        self.element = element
        self._element_size = _checked_element(element, type(self).__name__)
        self.context_size = whole_number("context_size", context_size or 0, 0) or None
        self._network_dtype = full_dtype(self.variable_dtype)
        probe = element._distribution(tf.zeros([self._element_size], self._network_dtype))
        self._dtype_of_draws = tf.as_dtype(probe.dtype).name
        support = support_of(probe)
        low, high = support.lower, support.upper
        bounded = low is not None and high is not None and low < high
        self._input_range = (low, high) if bounded else None
        self._levels = support.categories
        # Kept: distributions are told apart by the identity of their functions.
        self._functions = (self._params, element._distribution, self._sample)

    @classmethod
    def params_size(cls, context_size: int) -> int:
        """Returns the size of the context, which is what the layer takes."""
        return whole_number("context_size", context_size, 0)

    @classmethod
    def new(cls, params: Tensor, *structure: Any, **options: Any) -> Distribution:
        """A layer with weights makes its distributions itself.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(
            f"`{cls.__name__}` has weights, so no distribution comes of parameters alone. Make a "
            "layer and call it, or its method `distribution`."
        )

    def distribution(self, context: Tensor | None = None) -> Distribution:
        """Returns the distribution given a context `[..., C]`, or without one.

        Args:
            context: `[..., C]`; None for a layer without a context.

        Returns:
            `tfvae.distributions.Autoregressive`, batch shape `[...]`, `[]` without a context.

        Raises:
            ValueError: The context is missing, or not of the layer's size.
        """
        if context is None:
            context = tf.zeros([0], self._network_dtype)
        context = tf.cast(tf.convert_to_tensor(context), self._network_dtype)
        if context.shape[-1] != (self.context_size or 0):
            raise ValueError(
                f"Layer '{self.name}' was made with context_size={self.context_size}. Received: "
                f"a context of shape {tuple(context.shape)}."
            )
        return self._distribution(context)

    @property
    def takes_context(self) -> bool:
        """Whether the distribution depends on a context."""
        return self.context_size is not None

    def call(self, params: Tensor, training: bool | None = None) -> Distribution:
        super().build(params.shape)  # Checks the input; the weights are there already.
        return super().call(params, training)

    def compute_output_spec(
        self, params: keras.KerasTensor, training: bool | None = None
    ) -> keras.KerasTensor:
        super().build(params.shape)
        return super().compute_output_spec(params, training)

    def get_config(self) -> dict[str, Any]:
        name = f"The `element` of layer '{self.name}'"
        stored = function_config(self.element, name, "Use a distribution layer, or")
        return {**super().get_config(), "element": stored}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DistributionLayer:
        return super().from_config({**config, "element": function_from_config(config["element"])})

    def _structure(self) -> dict[str, Any]:
        return {"event_shape": self.event_shape, "context_size": self.context_size}

    def _params_size(self) -> int:
        return self.context_size or 0

    def _event_dtype(self, params: keras.KerasTensor) -> str:
        return self._dtype_of_draws

    def _distribution(self, params: Tensor, *, validate_args: bool = False) -> Distribution:
        params_fn, element_fn, sample_fn = self._functions
        return distributions.Autoregressive(
            params_fn,
            element_fn,
            self.event_shape,
            self._element_size,
            tf.cast(params, self._network_dtype),
            values_of(self.network),
            sample_fn,
            validate_args=validate_args or self.validate_args,
        )

    def _network_options(self) -> dict[str, Any]:
        return {
            "context_size": self._params_size(),
            "input_range": self._input_range,
            "dtype": self._network_dtype,
            "name": "network",
        }

    def _params(self, x: Tensor, context: Tensor, weights: Sequence[Tensor]) -> Tensor:
        with with_values(self.network, weights):
            return self.network(x, context=context)

    def _sample(
        self, num: Tensor, context: Tensor, weights: Sequence[Tensor], seed: Tensor
    ) -> Tensor:
        if not tf.executing_eagerly():
            return self._drawn(num, context, weights, seed)
        if self not in _SAMPLERS:
            # Step by step, eager code would take a hundred times as long.
            # A partial function: TensorFlow would take functions of the same code for one.
            drawn = functools.partial(_drawn_by, weakref.ref(self))
            _SAMPLERS[self] = tf.function(drawn, autograph=False, reduce_retracing=True)
        return _SAMPLERS[self](tf.convert_to_tensor(num), context, list(weights), seed)

    def _drawn(
        self, num: Tensor, context: Tensor, weights: Sequence[Tensor], seed: Tensor
    ) -> Tensor:
        def draw(step: Any, params: Tensor) -> Tensor:
            return self.element._distribution(params).sample(seed=fold_in(seed, step))

        with with_values(self.network, weights):
            return self.network.generate(draw, num, context)


@register
class Autoregressive(_AutoregressiveLayer):
    """Elements of one family, each given all before it in an order, and a context.

        params = made(x, context);   log p(x) = sum_i log p(x_i | params_i),
        params_i depends on x_j only where j is before i

    The layer's input is the context, such as features of z: each element depends on it. Without
    `context_size` the layer is a model of x alone, see `distribution`. A draw takes one step per
    element, which together cost about one pass. Densities carry gradients to the weights, the
    context and, where elements are continuous, x; so do draws of families that have them.

    There is no mean or mode: models take a draw in place of it. The output is a composite of the
    context and the weights as they are now.

    Args:
        event_shape: Shape of one draw, `E`, flattened row by row for the order.
        element: The family of the elements: a distribution layer of event shape `()`, such as
            `IndependentBernoulli()`. Between known bounds its values are seen as from -1 to 1,
            those of `IndependentCategorical` as one-hot vectors.
        context_size: Size of the context, C; None for none.
        convert_to_tensor_fn: "sample", or a callable from the distribution.
        validate_args: See `DistributionLayer`.
        hidden_units: Units of each hidden layer.
        activation: Keras activation of the hidden layers, by name or as a callable.
        input_order: See `tfvae.networks.MADE`.
        hidden_degrees: See `tfvae.networks.MADE`.
        kernel_initializer: Keras initializer of all kernels.
        order_seed: Seed of random orders and degrees.
        **kwargs: See `DistributionLayer`.

    Call arguments:
        params: The context `[..., C]`; `[..., 0]` without one.

    Returns:
        `tfvae.distributions.Autoregressive`, batch shape `[...]`, event shape `E`.

    Raises:
        TypeError: `element` is no distribution layer of single elements.
        ValueError: The input does not hold the context, or an argument is none of its kind.

    Example:
        >>> layer = tfvae.layers.Autoregressive(
        ...     6, tfvae.layers.IndependentBernoulli(), context_size=4, hidden_units=[32])
        >>> layer(tf.zeros([5, 4])).log_prob(tf.ones([5, 6])).shape
        TensorShape([5])

    Reference: MADE (Germain et al., 2015), https://arxiv.org/abs/1502.03509
    """

    def __init__(
        self,
        event_shape: int | Sequence[int],
        element: DistributionLayer,
        context_size: int | None = None,
        convert_to_tensor_fn: Any = "sample",
        validate_args: bool = False,
        *,
        hidden_units: Sequence[int] = (256, 256),
        activation: Any = "relu",
        input_order: str | Sequence[int] = "left-to-right",
        hidden_degrees: str = "equal",
        kernel_initializer: Any = "glorot_uniform",
        order_seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            event_shape, element, context_size, convert_to_tensor_fn, validate_args, **kwargs
        )
        size = math.prod(self.event_shape)
        seen = {"input_range": None, "levels": self._levels} if self._levels else {}
        self.network = MADE(
            self._element_size,
            size,
            hidden_units=hidden_units,
            activation=activation,
            input_order=input_order,
            hidden_degrees=hidden_degrees,
            kernel_initializer=kernel_initializer,
            seed=order_seed,
            **{**self._network_options(), **seen},
        )
        self.network.build((size,))
        self.built = True

    def get_config(self) -> dict[str, Any]:
        network = self.network.get_config()
        names = ("hidden_units", "activation", "input_order", "hidden_degrees")
        return {
            **super().get_config(),
            **{name: network[name] for name in (*names, "kernel_initializer")},
            "order_seed": self.network.seed,
        }

    def _params(self, x: Tensor, context: Tensor, weights: Sequence[Tensor]) -> Tensor:
        flat = with_event(x, [math.prod(self.event_shape)], axes=len(self.event_shape))
        params = super()._params(flat, context, weights)
        return with_event(params, [*self.event_shape, self._element_size], axes=2)


@register
class PixelCNN(_AutoregressiveLayer):
    """Images, each value given all values before it, row by row, and a context.

        params = net(x, context);   log p(x) = sum_i log p(x_i | params_i),
        params_i depends on x_j only where j is before i: in a row above, to the left in the same
        row, or an earlier channel of the same pixel

    The layer's input is the context, such as features of z: each block of the network depends on
    it. Without `context_size` the layer is a model of x alone, see `distribution`. A draw takes
    one step per value, which together cost about one pass: features are kept from step to step.
    Densities carry gradients to the weights, the context and, where elements are continuous, x.

    There is no mean or mode: models take a draw in place of it. The output is a composite of the
    context and the weights as they are now.

    Args:
        event_shape: `(height, width, channels)`.
        element: The family of the values: a distribution layer of event shape `()`, such as
            `DiscretizedLogistic()`. Between known bounds its values are seen as from -1 to 1.
        context_size: Size of the context, C; None for none.
        convert_to_tensor_fn: "sample", or a callable from the distribution.
        validate_args: See `DistributionLayer`.
        filters: See `tfvae.networks.GatedPixelCNN`.
        num_blocks: See `tfvae.networks.GatedPixelCNN`.
        kernel_size: See `tfvae.networks.GatedPixelCNN`.
        first_kernel_size: See `tfvae.networks.GatedPixelCNN`.
        kernel_initializer: Keras initializer of all kernels.
        **kwargs: See `DistributionLayer`.

    Call arguments:
        params: The context `[..., C]`; `[..., 0]` without one.

    Returns:
        `tfvae.distributions.Autoregressive`, batch shape `[...]`, event shape that of an image.

    Raises:
        TypeError: `element` is no distribution layer of single elements.
        ValueError: The input does not hold the context, or an argument is none of its kind.

    Example:
        >>> layer = tfvae.layers.PixelCNN(
        ...     (6, 6, 1), tfvae.layers.IndependentBernoulli(), 4, filters=8, num_blocks=2)
        >>> layer(tf.zeros([5, 4])).log_prob(tf.ones([5, 6, 6, 1])).shape
        TensorShape([5])

    Reference: Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016),
    https://arxiv.org/abs/1606.05328
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        element: DistributionLayer,
        context_size: int | None = None,
        convert_to_tensor_fn: Any = "sample",
        validate_args: bool = False,
        *,
        filters: int = 32,
        num_blocks: int = 5,
        kernel_size: int = 3,
        first_kernel_size: int = 7,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            event_shape, element, context_size, convert_to_tensor_fn, validate_args, **kwargs
        )
        self.network = GatedPixelCNN(
            self._element_size,
            self.event_shape,
            filters=filters,
            num_blocks=num_blocks,
            kernel_size=kernel_size,
            first_kernel_size=first_kernel_size,
            kernel_initializer=kernel_initializer,
            **self._network_options(),
        )
        self.network.build(self.event_shape)
        self.built = True

    def get_config(self) -> dict[str, Any]:
        network = self.network.get_config()
        names = ("filters", "num_blocks", "kernel_size", "first_kernel_size")
        return {
            **super().get_config(),
            **{name: network[name] for name in (*names, "kernel_initializer")},
        }


def _checked_element(element: Any, layer: str) -> int:
    """Returns the number of parameters of one element.

    Raises:
        TypeError: It is no distribution layer of single elements.
    """
    known = isinstance(element, DistributionLayer) and element._event_is_known
    if not known or element.event_shape != ():
        received = type(element).__name__
        if isinstance(element, DistributionLayer):
            received += f" of event shape {element.event_shape}"
        raise TypeError(
            f"`element` of `{layer}` must be a distribution layer of event shape (), such as "
            f"`IndependentBernoulli()`. Received: {received}"
        )
    return element._params_size()
