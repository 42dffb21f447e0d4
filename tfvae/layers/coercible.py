"""Distributions that Keras layers accept as input, by turning into a tensor once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from keras.src.backend.common.symbolic_scope import in_symbolic_scope
from tensorflow.python.framework import ops

from tfvae._typing import Distribution, Tensor
from tfvae.layers.outside import warn_outside

__all__ = ["Coercer", "SymbolicCoercible", "TensorCoercible", "distribution_of"]

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
    on first use by the layer's `convert_to_tensor_fn` and kept, so that all readers see one draw:
    in any thread, and on both sides of the border of a `tf.function` that a drawn distribution
    passes. One that enters as an argument before it is drawn is drawn anew inside, and one that is
    no composite tensor cannot pass at all: TensorFlow returns its tensor in its place.

    That tensor has the distribution as `tensor_distribution` and answers its methods (`log_prob`,
    `mean`, ...): Keras turns all outputs into tensors before functions given as `loss` or
    `metrics` see them.
    """

    _coerce: Callable[[Distribution], Tensor]
    _conversion: str | None

    @property
    def tensor_distribution(self) -> Distribution:
        """The plain tfp distribution, as `tfp.layers` calls it."""
        return _copied_as(_plain_class(type(self)), self)  # type: ignore[arg-type]

    def _as_tensor(self) -> Tensor:
        value = self.__dict__.get("_coerced_value")
        if value is None:
            with _scope_of(self):  # type: ignore[arg-type]
                value = tf.convert_to_tensor(type(self)._coerce(self))  # type: ignore[arg-type]
            # Past tf.Module's attribute tracking, which copies what it is given; and in one step,
            # so that of several threads that draw at once all see the draw of the first.
            value = self.__dict__.setdefault("_coerced_value", value)
            if tf.executing_eagerly():
                self.__dict__["_home"] = None
        return value

    def log_prob(self, value: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Returns log p(value); in eager code with a warning outside of the support."""
        if tf.executing_eagerly() and not self.validate_args:  # type: ignore[attr-defined]
            warn_outside(self, value)  # type: ignore[arg-type]
        return super().log_prob(value, *args, **kwargs)  # type: ignore[misc]

    def _scored_as_tensor(self, value: Any, *args: Any, **kwargs: Any) -> Tensor:
        """`log_prob` for functions given to stock Keras, where nobody else looks at the data."""
        warn_outside(self, value)  # type: ignore[arg-type]
        # Keras brings labels to the type that it computes losses in, whatever that of the model is.
        dtype = self.dtype  # type: ignore[attr-defined]
        if tf.is_tensor(value) and value.dtype.is_floating and dtype.is_floating:
            value = tf.cast(value, dtype)
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


class SymbolicCoercible(TensorCoercible):
    """What layers return while Keras looks for the shape of what a model returns.

    There Keras makes a symbolic output of each tensor that comes out of a user's `call`, and
    refuses anything else: this counts as a tensor as it is. Layers in the same `call` then get the
    distribution itself, which TensorFlow's functions turn into its tensor.
    """

    @staticmethod
    def is_tensor_like() -> bool:
        """Has TensorFlow take it for a tensor, by being there."""
        return True

    @property
    def shape(self) -> tf.TensorShape:
        """Shape of the tensor that this distribution turns into."""
        if self._conversion is None:  # A function may do anything with it.
            return self._as_tensor().shape
        return self.batch_shape + self.event_shape  # type: ignore[attr-defined]

    @property
    def ndim(self) -> int:
        """Number of axes of that tensor."""
        return self.shape.rank


def distribution_of(value: Any) -> Distribution | None:
    """Returns the coercible distribution that a layer was given, or whose tensor it was given."""
    found = value if isinstance(value, TensorCoercible) else None
    if found is None:
        found = getattr(value, "tensor_distribution", None)
    return found if isinstance(found, TensorCoercible) else None  # type: ignore[return-value]


def _scope_of(distribution: Distribution) -> contextlib.AbstractContextManager:
    """Returns the scope whose tensors live as long as the distribution's parameters.

    A distribution may first be read inside of a function, or of a branch or loop, that closes over
    it: a tensor made there would belong to that graph and be of no use to later readers.
    """
    home, graph = _home_of(distribution), ops.get_default_graph()
    if tf.executing_eagerly() or home is graph:
        return contextlib.nullcontext()
    if home is None:
        return tf.init_scope()
    while graph is not None and graph is not home:
        graph = getattr(graph, "outer_graph", None)
    return contextlib.nullcontext() if graph is None else home.as_default()


def _home_of(distribution: Distribution) -> Any:
    """Returns the graph that a distribution was made in, None for eager code."""
    if "_home" in distribution.__dict__:
        return distribution.__dict__["_home"]
    # Not from a layer, but put together from its parts by TensorFlow, or a copy.
    parts = tf.nest.flatten(distribution, expand_composites=True)
    graphs = [part.graph for part in parts if tf.is_symbolic_tensor(part)]
    if parts[0] is distribution:  # No composite: nothing tells.
        return _current_graph()
    return max(graphs, key=_depth, default=None)


def _current_graph() -> Any:
    return None if tf.executing_eagerly() else ops.get_default_graph()


def _depth(graph: Any) -> int:
    outer = getattr(graph, "outer_graph", None)
    return 0 if outer is None else 1 + _depth(outer)


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


class _DrawnSpec(tf.TypeSpec):
    """Type of a distribution together with the tensor that it has turned into.

    By it `tf.function` takes a distribution apart at its borders and keeps the draw.
    """

    def __init__(self, distribution: Any, value: tf.TensorSpec) -> None:
        self._distribution = distribution
        self._value = value

    @property
    def value_type(self) -> type:
        return self._distribution.value_type

    @property
    def _component_specs(self) -> Any:
        return (self._distribution, self._value)

    def _to_components(self, value: Any) -> Any:
        return (_copied_as(type(value), value), value._as_tensor())

    def _from_components(self, components: Any) -> Any:
        distribution, value = components
        distribution.__dict__.update(_coerced_value=value, _home=_current_graph())
        return distribution

    def _serialize(self) -> Any:
        return (self._distribution, self._value)


class Coercer:
    """Gives distributions the `TensorCoercible` behaviour with one conversion function.

    What comes out is of a subclass with the name of the distribution's class. Subclasses are kept,
    one per tfp class: composite tensors are compared by class, and a new class on each call would
    make `tf.function` trace again.

    Args:
        convert: Maps the distribution to its tensor.
        name: Name of the conversion, for messages; None where it has none.
    """

    def __init__(self, convert: Callable[[Distribution], Tensor], name: str | None = None) -> None:
        self._convert = convert
        self._name = name
        self._classes: dict[tuple[type, type], type] = {}
        self._lock = threading.Lock()

    def __call__(self, distribution: Distribution) -> Distribution:
        """Returns a coercible copy, with no tensor yet; `distribution` stays as it is."""
        # Of a layer that passes on another layer's distribution its own conversion counts.
        cls = _plain_class(type(distribution))
        mixin = SymbolicCoercible if in_symbolic_scope() else TensorCoercible
        with self._lock:
            if (cls, mixin) not in self._classes:
                self._classes[cls, mixin] = self._subclass(cls, mixin)
        made = _copied_as(self._classes[cls, mixin], distribution)
        made.__dict__["_home"] = _current_graph()
        return made

    def _subclass(self, cls: type, mixin: type) -> type:
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
        made: Any = type(cls)(cls.__name__, (mixin, cls), body)
        if hasattr(made, "_type_spec"):
            undrawn = made._type_spec.fget

            def type_spec(value: Any) -> Any:
                spec, tensor = undrawn(value), value.__dict__.get("_coerced_value")
                # Of no known home, it may be the argument of the function that is traced right now,
                # whose type must not change.
                if tensor is None or "_home" not in value.__dict__:
                    return spec
                return _DrawnSpec(spec, tf.TensorSpec.from_tensor(tensor))

            made._type_spec = property(type_spec)
        return made


def _copied_as(cls: Any, distribution: Distribution) -> Any:
    """Returns a copy of that class, which has not turned into a tensor yet."""
    copy = object.__new__(cls)
    copy.__dict__.update(distribution.__dict__)
    for name in ("_coerced_value", "_home"):
        copy.__dict__.pop(name, None)
    return copy


def _plain_class(cls: type) -> type:
    """Returns the tfp class behind a coercible one, and any other class as it is."""
    return next(base for base in cls.__mro__ if not issubclass(base, TensorCoercible))
