"""The base of all layers whose output is a `tfp.distributions` object."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._precision import full_dtype, full_precision, uncast
from tfvae._random import next_seed
from tfvae._stored import function_config, function_from_config, part_config
from tfvae._tracing import outputs_of
from tfvae._typing import Distribution, Shape, Tensor, event_tuple
from tfvae.layers.coercible import Coercer
from tfvae.layers.conversion import CONVERSIONS, checked_conversion
from tfvae.layers.origin import Origin, with_origin
from tfvae.layers.parameters import split_parameters

__all__ = [
    "DistributionLayer",
    "IndependentLayer",
    "TypedDraws",
    "VectorLayer",
    "inspected",
    "traced_spec",
]

tfd = tfp.distributions


class DistributionLayer(keras.layers.Layer):
    """Abstract Keras layer that turns a tensor of parameters into a distribution.

    The last axis of the input holds the parameters, all leading axes are batch. The output is a
    genuine tfp distribution with that batch shape and the layer's event shape; given to another
    Keras layer it becomes a tensor, drawn once and then fixed, so encoders chain into decoders.

    A new family is one subclass with two class methods, `params_size` and `new`; independent
    elements of one family are fewer lines still on `IndependentLayer`. Constructor arguments
    beyond the event shape are stored in `__init__` and named in `_structure`, where `params_size`
    and `new` take them too, or in `_options`, where only `new` does.

    Args:
        event_shape: Shape of one draw, `E`; an int means a vector. None where only the distribution
            itself can tell.
        convert_to_tensor_fn: How the distribution becomes a tensor: "sample", "mean", "mode",
            "stddev", "variance", the tfp method of that name, a property of a tfp class such as
            `tfd.Bernoulli.logits`, or a callable from the distribution.
        validate_args: Lets TFP check parameters and values at run time (XLA drops such checks).
        seed: Seed of the draws made by conversion. Models that pass their own seeds do not use it.
        **kwargs: The lower bounds listed in `floors`, such as `min_scale`; `name`, `dtype` and
            the other arguments of `keras.layers.Layer`.

    Attributes:
        floors: Names and defaults of the family's lower bounds: numbers >= 0 that keep scales and
            the like so large that densities do not overflow. Arguments of constructor and `new`.

    Call arguments:
        params: `[..., P]` with `P = params_size(event_shape)`. Half-precision parameters are cast
            to float32 first: densities in float16 overflow.

    Returns:
        Distribution with batch shape `[...]` and event shape `E`.

    Raises:
        ValueError: The last axis does not hold `P` parameters, or an argument is of a wrong kind.
    """

    floors: ClassVar[Mapping[str, float]] = {}

    def __init__(
        self,
        event_shape: int | Sequence[int] | None = (),
        convert_to_tensor_fn: str | Callable[[Distribution], Tensor] = "sample",
        validate_args: bool = False,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        floors = {name: kwargs.pop(name, default) for name, default in self.floors.items()}
        super().__init__(**kwargs)
        for name, floor in floors.items():
            if not floor >= 0.0:
                raise ValueError(f"`{name}` must be >= 0. Received: {name}={floor}")
            setattr(self, name, floor)
        # None where only a trace tells: a function's distribution.
        self.event_shape: Shape = () if event_shape is None else event_tuple(event_shape)
        self._event_is_known = event_shape is not None
        self.convert_to_tensor_fn = checked_conversion(convert_to_tensor_fn)
        self.validate_args = validate_args
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        convert = self.convert_to_tensor_fn
        name = convert if isinstance(convert, str) else None
        self._coercer = Coercer(self._to_tensor, name)
        # A regularizer is no layer: what it holds trains and is stored as a part of this layer.
        self._regularizer_parts = list(getattr(self.activity_regularizer, "tracked_parts", ()))
        # Each layer counts for itself: one regularizer may stand on several.
        new_step = getattr(self.activity_regularizer, "new_step", None)
        self._regularizer_step = None if new_step is None else new_step()
        check = getattr(self.activity_regularizer, "check_conversion", None)
        if check is not None:
            check(name, self.name)

    @classmethod
    def params_size(cls, *structure: Any) -> int:
        """Returns P, the number of parameters per example that this family needs."""
        raise NotImplementedError

    @classmethod
    def new(cls, params: Tensor, *structure: Any, **options: Any) -> Distribution:
        """Returns the plain tfp distribution of parameters `[..., P]`."""
        raise NotImplementedError

    @property
    def num_params(self) -> int:
        """The number of parameters per example that this layer reads, P."""
        return self._params_size()

    def build(self, input_shape: Shape) -> None:
        structure = self._structure()
        expected = self._params_size()
        if len(input_shape) < 1 or input_shape[-1] != expected:
            given = ", ".join(f"{name}={value}" for name, value in structure.items())
            raise ValueError(
                f"`{type(self).__name__}` with {given} reads {expected} "
                "parameters per example from the last axis of its input. "
                f"Received an input of shape {tuple(input_shape)}. "
                f"End the layer before it with {expected} units, as counted by "
                f"`{type(self).__name__}.params_size`."
            )
        self.built = True

    def call(self, params: Tensor, training: bool | None = None) -> Distribution:
        params = full_precision(params)
        made = with_origin(self._coercible(params), Origin(params, self._coercible))
        return self._regularized(made, training)

    def compute_output_spec(
        self, params: keras.KerasTensor, training: bool | None = None
    ) -> keras.KerasTensor:
        if self._event_is_known and isinstance(self.convert_to_tensor_fn, str):
            leading = tuple(params.shape[:-1])
            return keras.KerasTensor(leading + self.event_shape, dtype=self._event_dtype(params))
        return traced_spec(lambda p: tf.convert_to_tensor(self._coercible(p)), params)

    def get_config(self) -> dict[str, Any]:
        # Keras stores it as well, and would write a lambda as code.
        part_config(self.activity_regularizer, f"The `activity_regularizer` of layer '{self.name}'")
        return {
            **super().get_config(),
            **self._structure(),
            **{name: getattr(self, name) for name in self.floors},
            "convert_to_tensor_fn": self._conversion_config(),
            "validate_args": self.validate_args,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DistributionLayer:
        convert = function_from_config(config["convert_to_tensor_fn"])
        return cls(**{**config, "convert_to_tensor_fn": convert})

    def _structure(self) -> dict[str, Any]:
        """Returns the arguments that constructor, `params_size` and `new` share, in order."""
        return {"event_shape": self.event_shape}

    def _options(self) -> dict[str, Any]:
        """Returns the further keyword arguments of `new`."""
        return {name: getattr(self, name) for name in self.floors}

    def _params_size(self) -> int:
        return self.params_size(*self._structure().values())

    def _distribution(self, params: Tensor, *, validate_args: bool = False) -> Distribution:
        structure, options = self._structure().values(), self._options()
        validate_args = validate_args or self.validate_args
        return self.new(params, *structure, validate_args=validate_args, **options)

    def _coercible(self, params: Tensor) -> Distribution:
        with uncast():
            return self._coercer(self._distribution(full_precision(params)))

    def _regularized(
        self, distribution: Distribution, training: bool | None = None
    ) -> Distribution:
        regularizer: Any = self.activity_regularizer
        step = self._regularizer_step
        if regularizer is not None:
            # Keras applies it to tensors only, and so leaves it out for a distribution.
            given: Any = (distribution,) if step is None else (distribution, step)
            self.add_loss(regularizer(*given))
            if training and step is not None:
                step.assign_add(1)
        return distribution

    def _event_dtype(self, params: keras.KerasTensor) -> str:
        return full_dtype(params.dtype)

    def _conversion_config(self) -> Any:
        if isinstance(self.convert_to_tensor_fn, str):
            return self.convert_to_tensor_fn
        name = f"The `convert_to_tensor_fn` of layer '{self.name}'"
        remedy = f"Use one of {', '.join(map(repr, CONVERSIONS))}, or"
        return function_config(self.convert_to_tensor_fn, name, remedy)

    def _to_tensor(self, distribution: Distribution) -> Tensor:
        if self.convert_to_tensor_fn == "sample":
            return distribution.sample(seed=next_seed(self.seed_generator))
        if isinstance(self.convert_to_tensor_fn, str):
            return getattr(distribution, self.convert_to_tensor_fn)()
        return self.convert_to_tensor_fn(distribution)


class IndependentLayer(DistributionLayer):
    """Abstract layer of independent elements of one family, over an event of any shape.

        params = concatenate([part_1, part_2, ...], axis=-1),   each part [..., size(E)]
        log p(x) = sum_j log p(x_j | part_1[j], part_2[j], ...)

    A family says how many parts an element has, `num_parts`, and makes the distribution of all
    elements from parts of shape `[..., *E]`, in `_element`.

    Args:
        *args: See `DistributionLayer`.
        **kwargs: See `DistributionLayer`.

    Returns:
        `tfd.Independent`, batch shape `[...]`, event shape `E`.
    """

    num_parts: ClassVar[int] = 1

    @classmethod
    def params_size(cls, event_shape: int | Sequence[int] = ()) -> int:
        """Returns `num_parts * size(event_shape)`: the parts stand one after the other."""
        return cls.num_parts * math.prod(event_tuple(event_shape))

    @classmethod
    def new(
        cls,
        params: Tensor,
        event_shape: int | Sequence[int] = (),
        validate_args: bool = False,
        **options: Any,
    ) -> Distribution:
        """Returns the plain tfp distribution of parameters `[..., num_parts * size(E)]`."""
        event = event_tuple(event_shape)
        parts = split_parameters(tf.convert_to_tensor(params), event, cls.num_parts)
        options = {**cls.floors, **options}
        element = cls._element(*parts, validate_args=validate_args, **options)
        return tfd.Independent(element, len(event), validate_args=validate_args)

    @classmethod
    def _element(cls, *parts: Tensor, validate_args: bool, **options: Any) -> Distribution:
        """Returns the distribution of the elements, batch shape `[..., *E]`, event shape `[]`."""
        raise NotImplementedError


class VectorLayer(DistributionLayer):
    """Abstract layer of vectors of one size, given as `event_size` in place of `event_shape`.

    Args:
        event_size: Number of dimensions, K.
        *args: See `DistributionLayer`.
        **kwargs: See `DistributionLayer`.

    Attributes:
        remedy: What to use for events of another shape.

    Raises:
        ValueError: `event_size` is not one positive int.
    """

    remedy: ClassVar[str] = ""

    def __init__(self, event_size: int, *args: Any, **kwargs: Any) -> None:
        event = event_tuple(event_size)
        if len(event) != 1:
            raise ValueError(
                f"`event_size` of `{type(self).__name__}` must be one int, the number of "
                f"dimensions. Received: event_size={event_size}. {self.remedy}".rstrip()
            )
        super().__init__(event, *args, **kwargs)

    def _structure(self) -> dict[str, Any]:
        return {"event_size": self.event_shape[0]}


class TypedDraws(DistributionLayer):
    """Mixin of the discrete layers whose draws may have another type than the parameters.

    Args:
        event_shape: See `DistributionLayer`.
        convert_to_tensor_fn: See `DistributionLayer`.
        sample_dtype: Type of the draws; by default that of the parameters.
        validate_args: See `DistributionLayer`.
        **kwargs: See `DistributionLayer`.
    """

    def __init__(
        self,
        event_shape: int | Sequence[int] = (),
        convert_to_tensor_fn: Any = "sample",
        sample_dtype: Any = None,
        validate_args: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(event_shape, convert_to_tensor_fn, validate_args, **kwargs)
        self.sample_dtype = None if sample_dtype is None else tf.as_dtype(sample_dtype).name

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "sample_dtype": self.sample_dtype}

    @staticmethod
    def _type_and_checks(dtype: Any, validate_args: bool, params: Tensor) -> dict[str, Any]:
        """Returns the type of the draws and whether to check, as arguments of a distribution.

        In the order of `tfp.layers` the type comes first, where all other families have
        `validate_args`: a bool there is meant so, and would else pass as the number of a type.
        """
        if isinstance(dtype, (bool, np.bool_)):
            dtype, validate_args = None, bool(dtype)
        return {"dtype": dtype or params.dtype, "validate_args": validate_args}

    def _options(self) -> dict[str, Any]:
        return {**super()._options(), "dtype": self.sample_dtype}

    def _event_dtype(self, params: keras.KerasTensor) -> str:
        drawn = self.convert_to_tensor_fn in ("sample", "mode")
        return self.sample_dtype if drawn and self.sample_dtype else super()._event_dtype(params)


def traced_spec(function: Any, *inputs: Any) -> keras.KerasTensor:
    """Returns shape and type of a function's tensor, found by tracing it symbolically."""
    specs: Any = keras.tree.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), inputs)
    value = outputs_of(function, *specs)
    return keras.KerasTensor(tuple(value.shape), dtype=value.dtype.name)


def inspected(layer: Any, question: Callable[[Distribution], Any], name: str) -> Any:
    """Returns what `question` finds in a layer's distribution, before the layer is ever called.

    Args:
        layer: The layer, as a user gave it.
        question: Of anything but values, which are not there.
        name: What the layer is, as the subject of the message.

    Raises:
        TypeError: `layer` is no distribution layer, or does not know its number of parameters.
    """
    if not isinstance(layer, DistributionLayer) or not layer._event_is_known:
        raise TypeError(
            f"{name} must be a distribution layer that counts its parameters, such as "
            f"`tfvae.layers.IndependentNormal()`. Received: {layer!r}"
        )
    found = []

    def look() -> None:
        found.append(question(layer._distribution(tf.zeros([1, layer._params_size()]))))

    # Traced: nothing is computed, and weights that a layer makes on its way outlive it.
    outputs_of(look)
    return found[0]
