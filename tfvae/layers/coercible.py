"""Distributions that Keras layers accept as input, by turning into a tensor once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._typing import Distribution, Tensor
from tfvae.layers.outside import warn_outside

__all__ = ["Coercer", "TensorCoercible"]

# What a tensor made from a distribution still answers as that distribution.
_METHODS = tuple(
    name
    for name, value in vars(tfp.distributions.Distribution).items()
    if not name.startswith("_") and callable(value) and not hasattr(tf.Tensor, name)
)


class TensorCoercible:
    """Mixin of the distributions that layers return: also a tensor, where one is needed.

    The instance stays what it was (`isinstance`, registered KLs and all methods of the tfp class);
    besides, `tf.convert_to_tensor(d)`, `np.asarray(d)` and every Keras layer see one tensor, made
    on first use by the layer's `convert_to_tensor_fn` and kept, so that all readers see one draw.

    That tensor has the distribution as `tensor_distribution` and answers its methods (`log_prob`,
    `mean`, ...): Keras turns all outputs into tensors before functions given as `loss` or
    `metrics` see them.
    """

    _coerce: Callable[[Distribution], Tensor]
    _conversion: str | None

    @property
    def tensor_distribution(self) -> Distribution:
        """The plain tfp distribution, as `tfp.layers` calls it."""
        cls: Any = _plain_class(type(self))
        plain = object.__new__(cls)
        plain.__dict__.update(self.__dict__)
        plain.__dict__.pop("_coerced_value", None)
        return plain

    def _as_tensor(self) -> Tensor:
        value = self.__dict__.get("_coerced_value")
        if value is None:
            with _scope_of(self):
                value = tf.convert_to_tensor(type(self)._coerce(self))
            # Past tf.Module's attribute tracking, which copies what it is given.
            object.__setattr__(self, "_coerced_value", value)
        return value

    def log_prob(self, value: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Returns log p(value); in eager code with a warning outside of the support."""
        if tf.executing_eagerly() and not self.validate_args:  # type: ignore[attr-defined]
            warn_outside(self, value)  # type: ignore[arg-type]
        return super().log_prob(value, *args, **kwargs)  # type: ignore[misc]

    def _scored_as_tensor(self, value: Any, *args: Any, **kwargs: Any) -> Tensor:
        """`log_prob` for functions given to stock Keras, where nobody else looks at the data."""
        warn_outside(self, value)  # type: ignore[arg-type]
        return super().log_prob(value, *args, **kwargs)  # type: ignore[misc]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self._as_tensor(), dtype=dtype)

    def numpy(self) -> np.ndarray:
        """The tensor as an array, as `predict` asks for it where there is one batch only."""
        return np.asarray(self._as_tensor())

    @property
    def shape(self) -> tf.TensorShape:
        """Shape of the tensor that this distribution turns into."""
        value = self.__dict__.get("_coerced_value")
        return value.shape if value is not None else self.batch_shape + self.event_shape  # type: ignore[attr-defined]


def _scope_of(distribution: Distribution) -> contextlib.AbstractContextManager:
    """Returns the scope whose tensors live as long as the distribution's parameters.

    A distribution made in eager code may first be read inside of a function that closes over it: a
    tensor made there would belong to that function's graph and be of no use to later readers.
    """
    parts = tf.nest.flatten(distribution, expand_composites=True)
    outlives_graph = tf.inside_function() and all(hasattr(part, "numpy") for part in parts)
    return tf.init_scope() if outlives_graph else contextlib.nullcontext()


def _to_tensor(value: Any, dtype: Any = None, name: Any = None, as_ref: bool = False) -> Tensor:
    tensor = value._as_tensor()
    if dtype is not None and tensor.dtype != dtype:
        tensor = tf.cast(tensor, dtype)
    # Marked on a copy: the kept tensor would refer to the distribution that refers to it.
    tensor = tf.identity(tensor)
    for name in _METHODS:
        setattr(tensor, name, getattr(value, name))
    tensor.log_prob = value._scored_as_tensor
    tensor.tensor_distribution = value
    tensor.batch_shape, tensor.event_shape = value.batch_shape, value.event_shape
    return tensor


tf.register_tensor_conversion_function(TensorCoercible, _to_tensor)


class Coercer:
    """Gives distributions the `TensorCoercible` behaviour with one conversion function.

    The class of the distribution is replaced by a subclass of the same name. Subclasses are kept,
    one per tfp class: composite tensors are compared by class, and a new class on each call would
    make `tf.function` trace again.

    Args:
        convert: Maps the distribution to its tensor.
        name: Name of the conversion, for messages; None where it has none.
    """

    def __init__(self, convert: Callable[[Distribution], Tensor], name: str | None = None) -> None:
        self._convert = convert
        self._name = name
        self._classes: dict[type, type] = {}
        self._lock = threading.Lock()

    def __call__(self, distribution: Distribution) -> Distribution:
        """Returns `distribution`, now coercible; the object is changed in place."""
        # Of a layer that passes on another layer's distribution its own conversion counts.
        cls = _plain_class(type(distribution))
        with self._lock:
            if cls not in self._classes:
                self._classes[cls] = self._subclass(cls)
        distribution.__class__ = self._classes[cls]
        return distribution

    def _subclass(self, cls: type) -> type:
        def properties(_: type, dtype: Any, num_classes: int | None = None) -> dict[str, Any]:
            return cls._parameter_properties(dtype, num_classes=num_classes)  # type: ignore[attr-defined]

        body = {
            # TFP's metaclass wants these beside any constructor, and makes a new constructor.
            "_parameter_properties": classmethod(properties),
            "_coerce": staticmethod(self._convert),
            "_conversion": self._name,
            "__module__": __name__,
            "__doc__": cls.__doc__,
        }
        return type(cls)(cls.__name__, (TensorCoercible, cls), body)


def _plain_class(cls: type) -> type:
    """Returns the tfp class behind a coercible one, and any other class as it is."""
    return cls.__mro__[2] if issubclass(cls, TensorCoercible) else cls
