"""The base of all layers whose output is a `tfp.distributions` object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._random import next_seed
from tfvae._typing import Distribution, Shape, Tensor, event_tuple
from tfvae.layers.coercible import Coercer

__all__ = ["DistributionLayer", "bounded_scale", "split_parameters"]

_NAMED_CONVERSIONS = ("sample", "mean", "mode", "stddev", "variance")


class DistributionLayer(keras.layers.Layer):
    """Abstract Keras layer that turns a tensor of parameters into a distribution.

    The last axis of the input holds the parameters, all leading axes are batch. The output is a
    genuine tfp distribution with that batch shape and the layer's event shape; given to another
    Keras layer it becomes a tensor, drawn once and then fixed, so encoders chain into decoders.

    A new family is one subclass with two static methods, `params_size` and `new`, and, for
    constructor arguments beyond the event shape, `__init__`, `get_config` and `_distribution`.

    Args:
        event_shape: Shape of one draw, `E`; an int means a vector.
        convert_to_tensor_fn: How the distribution becomes a tensor: "sample", "mean", "mode",
            "stddev", "variance", the tfp method of that name, or a callable from the distribution.
        validate_args: Lets TFP check parameters and values at run time (XLA drops such checks).
        seed: Seed of the draws made by conversion. Models that pass their own seeds do not use it.
        **kwargs: `name`, `dtype` and the other arguments of `keras.layers.Layer`.

    Call arguments:
        params: `[..., P]` with `P = params_size(event_shape)`. Half-precision parameters are cast
            to float32 first: densities in float16 overflow.

    Returns:
        Distribution with batch shape `[...]` and event shape `E`.

    Raises:
        ValueError: The last axis does not hold `P` parameters, or an argument is of a wrong kind.
    """

    def __init__(
        self,
        event_shape: int | Sequence[int] = (),
        convert_to_tensor_fn: str | Callable[[Distribution], Tensor] = "sample",
        validate_args: bool = False,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.event_shape: Shape = event_tuple(event_shape)
        self.convert_to_tensor_fn = _named_conversion(convert_to_tensor_fn)
        self.validate_args = validate_args
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self._coercer = Coercer(self._to_tensor)

    @staticmethod
    def params_size(event_shape: int | Sequence[int] = ()) -> int:
        """Returns P, the number of parameters per example that this family needs."""
        raise NotImplementedError

    @staticmethod
    def new(
        params: Tensor, event_shape: int | Sequence[int] = (), validate_args: bool = False
    ) -> Distribution:
        """Returns the plain tfp distribution of parameters `[..., P]`."""
        raise NotImplementedError

    def build(self, input_shape: Shape) -> None:
        expected = self._params_size()
        if len(input_shape) < 1 or input_shape[-1] != expected:
            raise ValueError(
                f"`{type(self).__name__}` with event_shape={self.event_shape} reads {expected} "
                "parameters per example from the last axis of its input. "
                f"Received an input of shape {tuple(input_shape)}. "
                f"End the layer before it with {expected} units, as counted by "
                f"`{type(self).__name__}.params_size({self.event_shape})`."
            )
        self.built = True

    def call(self, params: Tensor) -> Distribution:
        params = tf.convert_to_tensor(params)
        if params.dtype in (tf.float16, tf.bfloat16):
            params = tf.cast(params, tf.float32)
        return self._coercer(self._distribution(params))

    def compute_output_spec(self, params: keras.KerasTensor) -> keras.KerasTensor:
        leading = tuple(params.shape[:-1])
        if isinstance(self.convert_to_tensor_fn, str):
            return keras.KerasTensor(leading + self.event_shape, dtype=self._event_dtype(params))
        spec = tf.TensorSpec(params.shape, params.dtype)
        value = tf.function(lambda p: tf.convert_to_tensor(self(p))).get_concrete_function(spec)
        shape = tuple(value.structured_outputs.shape)
        return keras.KerasTensor(shape, dtype=value.structured_outputs.dtype.name)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "event_shape": list(self.event_shape),
            "convert_to_tensor_fn": _conversion_config(self.convert_to_tensor_fn, self.name),
            "validate_args": self.validate_args,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DistributionLayer:
        config = dict(config)
        if isinstance(config.get("convert_to_tensor_fn"), dict):
            stored = config["convert_to_tensor_fn"]
            config["convert_to_tensor_fn"] = keras.saving.deserialize_keras_object(stored)
        return cls(**config)

    def _params_size(self) -> int:
        return self.params_size(self.event_shape)

    def _distribution(self, params: Tensor) -> Distribution:
        return self.new(params, self.event_shape, validate_args=self.validate_args)

    def _event_dtype(self, params: keras.KerasTensor) -> str:
        return "float32" if params.dtype in ("float16", "bfloat16") else params.dtype

    def _to_tensor(self, distribution: Distribution) -> Tensor:
        if self.convert_to_tensor_fn == "sample":
            return distribution.sample(seed=next_seed(self.seed_generator))
        if isinstance(self.convert_to_tensor_fn, str):
            return getattr(distribution, self.convert_to_tensor_fn)()
        return self.convert_to_tensor_fn(distribution)


def split_parameters(params: Tensor, event_shape: Shape, num_parts: int) -> list[Tensor]:
    """Cuts `[..., num_parts * size(E)]` along the last axis into parts of shape `[..., *E]`."""
    parts = tf.split(params, num_parts, axis=-1) if num_parts > 1 else [params]
    if len(event_shape) == 1:
        return parts
    shape = tf.concat([tf.shape(params)[:-1], tf.constant(event_shape, tf.int32)], axis=0)
    static = params.shape[:-1].concatenate(event_shape)
    return [tf.ensure_shape(tf.reshape(part, shape), static) for part in parts]


def bounded_scale(raw: Tensor, min_scale: float) -> Tensor:
    """Returns `min_scale + softplus(raw)`: positive, and never so small that densities overflow."""
    return tf.math.softplus(raw) + tf.cast(min_scale, raw.dtype)


def _named_conversion(
    convert: str | Callable[[Distribution], Tensor],
) -> str | Callable[[Distribution], Tensor]:
    for name in _NAMED_CONVERSIONS:
        if convert == name or convert is getattr(tfp.distributions.Distribution, name):
            return name
    if callable(convert):
        return convert
    raise ValueError(
        "`convert_to_tensor_fn` must be a callable or one of "
        f"{', '.join(map(repr, _NAMED_CONVERSIONS))}. Received: {convert!r}"
    )


def _conversion_config(convert: Any, layer_name: str) -> Any:
    if isinstance(convert, str):
        return convert
    registered = keras.saving.get_registered_object(keras.saving.get_registered_name(convert))
    if registered is not convert:
        raise ValueError(
            f"The `convert_to_tensor_fn` of layer '{layer_name}' cannot be stored as data: "
            f"{convert!r}. Use one of {', '.join(map(repr, _NAMED_CONVERSIONS))}, or decorate the "
            "function with `keras.saving.register_keras_serializable()`."
        )
    return keras.saving.serialize_keras_object(convert)
