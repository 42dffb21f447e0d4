"""What comes into a model: names, shapes, types, supports and the context."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae._typing import Shape, Tensor
from tfvae.data.checks import check_array, check_context, checked_part
from tfvae.data.row_checks import check_known_whole, known_whole, same_rows
from tfvae.distributions.levels import split_levels
from tfvae.distributions.support import Support

__all__ = ["CONTEXT", "DataSpec", "wide_as", "with_context"]

CONTEXT = "context"


@dataclass(frozen=True)
class DataSpec:
    """Names, checks and packs arrays, batches and requests; nobody else looks at shapes.

    Data in any form that `fit` takes becomes parts by name (`named`): the observed nodes, labels of
    latent nodes where they are given, and the context. A batch is what goes through `fit` and to
    `terms`: `x`, the parts in one vector where there are several, and `context`.

    Attributes:
        observed: Names of the parts that data always gives.
        partly_observed: Names of those that it may give for some examples.
        takes_context: Whether a context belongs to it.
        shapes: Part → shape of one example; empty until the model is built.
        supports: Part → the values that it can have.
        context_shape: Shape of the context of one example; None without one.
        dtype: Type of the numbers in a batch.
    """

    observed: tuple[str, ...]
    partly_observed: tuple[str, ...] = ()
    takes_context: bool = False
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    supports: Mapping[str, Support] = field(default_factory=dict)
    context_shape: Shape | None = None
    dtype: str = "float32"

    @property
    def names(self) -> tuple[str, ...]:
        """The parts of a batch's `x`, in their order within it."""
        return (*self.observed, *self.partly_observed)

    @property
    def is_packed(self) -> bool:
        """Whether `x` of a batch is a vector of several parts."""
        return len(self.names) > 1

    @property
    def event_shape(self) -> Shape:
        """Shape of one `x` of a batch.

        Raises:
            ValueError: The model has seen neither data nor the shape of it.
        """
        self.check_known()
        if not self.is_packed:
            return self.shapes[self.observed[0]]
        return (sum(math.prod(self.shapes[name]) for name in self.names),)

    @property
    def support(self) -> Support:
        """The values that one `x` of a batch can have."""
        if not self.is_packed:
            return self.supports[self.observed[0]]
        return Support("DirectedModel", missing=bool(self.partly_observed))

    def check_known(self) -> None:
        """Checks that shapes are known: that the model is built.

        Raises:
            ValueError: They are not.
        """
        if not self.shapes:
            raise ValueError(
                "This model does not know the shape of its data and latents before it is built. "
                "Give its networks a `keras.Input`, or build the model: "
                "`model.build((None, *x.shape[1:]))`."
            )

    def named(self, data: Any) -> dict[str, Any]:
        """Returns data in any form that `fit` takes as parts by name, the rows of each as given.

        Raises:
            ValueError: A part is missing, or there are others.
        """
        if not isinstance(data, Mapping):
            data = {self.observed[0] if len(self.observed) == 1 else "": data}
        optional = [*self.partly_observed, CONTEXT]  # a surplus context has words of its own
        missing = [name for name in self.observed if name not in data]
        surplus = [name for name in data if name not in {*self.observed, *optional}]
        if missing or surplus:
            more = optional if self.takes_context else self.partly_observed
            more = f", and where known {', '.join(sorted(more))}" if more else ""
            given = "an array" if "" in data else f"a dict with the keys {sorted(map(str, data))}"
            raise ValueError(
                f"Data of this model is a dict of {', '.join(self.observed)}{more}. "
                f"Received: {given}"
            )
        return {name: _in_64_bits(data[name]) for name in (*self.names, CONTEXT) if name in data}

    def as_batch(self, parts: Mapping[str, Any]) -> dict[str, Any]:
        """Returns parts by name as a batch.

        Args:
            parts: What `named` returns. Labels may be -1 or NaN where they are not known, or left
                out, and whole numbers for one-hot nodes.
        """
        context = {CONTEXT: parts[CONTEXT]} if CONTEXT in parts else {}
        if not self.is_packed:
            return {"x": parts[self.observed[0]], **context}
        columns: list[Tensor] = []
        for name in self.names:
            event = self.shapes[name]
            if name in parts:
                value = self._labels(name, parts[name])
                value = tf.cast(tf.convert_to_tensor(value), self.dtype)
            else:
                shape = tf.concat([tf.shape(columns[0])[:1], event], axis=0)
                value = tf.fill(shape, tf.cast(float("nan"), self.dtype))
            columns.append(tf.reshape(value, [-1, math.prod(event)]))
        return {"x": tf.concat(columns, axis=-1), **context}

    def whole_batch(self, parts: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
        """Returns arrays that `check_arrays` has passed as one batch, truth values as numbers."""
        tensors = {name: tf.convert_to_tensor(part) for name, part in parts.items()}
        as_numbers = {
            name: tf.cast(part, keras.config.floatx()) if part.dtype.is_bool else part
            for name, part in tensors.items()
        }
        return {name: tf.convert_to_tensor(p) for name, p in self.as_batch(as_numbers).items()}

    def as_parts(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Returns a batch as parts by name again."""
        context = {CONTEXT: tf.convert_to_tensor(batch[CONTEXT])} if CONTEXT in batch else {}
        x = tf.convert_to_tensor(batch["x"])
        if not self.is_packed:
            return {self.observed[0]: x, **context}
        return {**split_levels(x, {name: self.shapes[name] for name in self.names}), **context}

    def observed_parts(self, x: Tensor) -> dict[str, Tensor]:
        """Returns draws or means of p(x|z) `[..., *x_event]` as observed parts by name."""
        if len(self.observed) == 1:
            return {self.observed[0]: x}
        return split_levels(x, {name: self.shapes[name] for name in self.observed})

    def specs(self, *, batch_size: int | None = None) -> dict[str, tf.TensorSpec]:
        """Returns what data is, as parts by name, each `[batch_size, ...]`, of 32 or 64 bits."""
        shapes = {name: self.shapes[name] for name in self.names}
        if self.context_shape is not None:
            shapes[CONTEXT] = self.context_shape
        return {
            name: tf.TensorSpec([batch_size, *shape], wide_as(self.dtype), name=name)
            for name, shape in shapes.items()
        }

    def batch_specs(self, batch_size: int = 2) -> dict[str, tf.TensorSpec]:
        """Returns what a batch is, to trace functions of one by."""
        specs = {"x": tf.TensorSpec([batch_size, *self.event_shape], self.dtype)}
        if self.context_shape is not None:
            shape = [batch_size, *self.context_shape]
            specs[CONTEXT] = tf.TensorSpec(shape, keras.config.floatx())
        return specs

    def check_arrays(self, parts: Mapping[str, np.ndarray], name: str) -> None:
        """Checks parts as wholes, before anything is computed from them.

        Raises:
            ValueError: One is empty, of a wrong shape, not numeric, holds NaN or infinite values,
                or values that the likelihood cannot produce; or they differ in rows.
        """
        single = len(self.names) == 1
        if not single:
            counts = {key: len(part) for key, part in parts.items()}
            if len(set(counts.values())) > 1:
                sizes = ", ".join(f"{count} of {key}" for key, count in counts.items())
                raise ValueError(f"`{name}` must have as many rows of each part. Received: {sizes}")
        for node in self.names:
            if node in parts:
                part = np.asarray(self._labels(node, parts[node]))
                title = name if single else f'{name}["{node}"]'
                check_array(part, title, self.shapes[node], self.supports[node])
                if node in self.partly_observed:
                    check_known_whole(part, title)
        first = parts[self.observed[0]]
        check_context(first, parts.get(CONTEXT), context_shape=self.context_shape)

    def checked_batch(
        self, parts: Mapping[str, Tensor], place: str = ""
    ) -> tuple[dict[str, Tensor], list[Any]]:
        """Checks parts of a batch: what is known of it at once, the rest when it comes.

        Must stand outside of XLA, which drops assertions.

        Args:
            parts: What `named` returns.
            place: What messages of assertions begin with.

        Returns:
            The batch, with shapes set and truth values as numbers; and the assertions that all that
            reads it or changes weights has to wait for.

        Raises:
            ValueError: Shapes or types are known and wrong, or a context is missing or surplus.
        """
        first = parts[self.observed[0]]
        check_context(first, parts.get(CONTEXT), context_shape=self.context_shape)
        checks: list[Any] = []
        checked = {}
        for node in self.names:
            if node in parts:
                value = self._labels(node, parts[node])
                checked[node], more = checked_part(
                    value, self.shapes[node], node, self.supports[node], place
                )
                checks += more
                if node in self.partly_observed:
                    checks += known_whole(checked[node], node, place)
        if self.context_shape is not None:
            context = parts[CONTEXT]
            checked[CONTEXT], more = checked_part(context, self.context_shape, CONTEXT, None, place)
            checks += more
        checks += same_rows(checked, place)
        checks = [check for check in checks if check is not None]
        with tf.control_dependencies(checks):  # Before parts of other rows are put side by side.
            return self.as_batch(checked), checks

    def _labels(self, name: str, value: Any) -> Any:
        """Returns given values of a node, with NaN for those not known, one-hot where it is."""
        if name not in self.partly_observed or self.supports[name].lower != 0.0:
            return value
        value = tf.convert_to_tensor(value)
        dtype = value.dtype if value.dtype.is_floating else tf.as_dtype("float32")
        value = tf.cast(value, dtype)
        unknown = tf.math.is_nan(value) | tf.equal(value, -1.0)
        shape = self.shapes[name]
        if self.supports[name].one_hot and value.shape.rank == 1:
            one_hot = tf.one_hot(tf.cast(tf.where(unknown, 0.0, value), tf.int32), shape[-1])
            # A number beyond the categories would be a vector of zeros: told here, as no category.
            one_hot = tf.where(tf.reduce_any(one_hot > 0.0, axis=-1, keepdims=True), one_hot, -1.0)
            return tf.where(unknown[:, None], tf.cast(float("nan"), one_hot.dtype), one_hot)
        return tf.where(unknown, tf.cast(float("nan"), dtype), value)


def _in_64_bits(part: Any) -> Any:
    """Returns the same, without the numbers of 80 or 128 bits that TensorFlow does not have."""
    wide = isinstance(part, np.ndarray) and part.dtype.kind == "f" and part.dtype.itemsize > 8
    return part.astype("float64") if wide else part


def with_context(x: Any, context: Any) -> Any:
    """Returns data with its context, in the form that `fit` takes: as given where that is None.

    Example:
        >>> from tfvae.data.spec import with_context
        >>> sorted(with_context(np.zeros([2, 3]), np.ones([2, 1])))
        ['context', 'x']
    """
    if context is None:
        return x
    return {**(x if isinstance(x, Mapping) else {"x": x}), CONTEXT: context}


def wide_as(dtype: Any) -> tf.DType:
    """Returns the type in which requests give numbers to a model of a type: float64 stays.

    All others are given float32, of which the checks of data can tell what is not finite.

    Example:
        >>> from tfvae.data.spec import wide_as
        >>> wide_as("float64").name, wide_as("int32").name
        ('float64', 'float32')
    """
    return tf.float64 if tf.as_dtype(dtype) == tf.float64 else tf.float32
