"""What comes before a model in its file: data as clients have it becomes data of the model.

The bytes of an image become numbers from 0 to 1, kilometres become what `Normalization` makes of
them, and a category becomes a vector. What a client sends is checked first, and what comes of it as
data of the model is. Answers are about the latter: log p(x) is that of x as the model takes it, and
of numbers that were divided by s on the way, log s less for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tfvae._protocols import Served
from tfvae._typing import Tensor
from tfvae._words import kind_of
from tfvae.data.checks import assertion
from tfvae.data.spec import CONTEXT
from tfvae.export.portable import PORTABLE
from tfvae.export.requests import checked_raw, end_of
from tfvae.export.rows import with_rows

__all__ = ["Preprocessing"]


class Preprocessing:
    """Keras models that come before parts of the data.

    Args:
        model: A built model.
        given: Name of a part of the data, or "context" → Keras model of one input, what clients
            send, and one output, what `model` takes; or one such model, for data of one part.

    Attributes:
        networks: By name.

    Raises:
        TypeError: One is no Keras model that knows its input.
        ValueError: There is no such part, it has another shape, or the network makes another
            number of examples of those that it is given.

    Example:
        >>> from tfvae.demo import vae
        >>> from tfvae.export.preprocessing import Preprocessing
        >>> size = keras.layers.Rescaling(1 / 255)
        >>> bytes_first = keras.Sequential([keras.Input((8, 8, 1), dtype="uint8"), size])
        >>> Preprocessing(vae, bytes_first).specs(vae.data.specs())["x"].dtype
        tf.uint8
    """

    def __init__(self, model: Served, given: Any = None) -> None:
        self._model = model
        if given is not None and not isinstance(given, Mapping):
            given = {model.data.names[0]: given} if len(model.data.names) == 1 else {"": given}
        self.networks: dict[str, Any] = dict(given or {})
        for name, network in self.networks.items():
            self._check(name, network)

    def specs(self, specs: Mapping[str, tf.TensorSpec]) -> dict[str, tf.TensorSpec]:
        """Returns what a client sends, by name, of parts of the data by name."""
        return {name: self._spec(name, name) or spec for name, spec in specs.items()}

    def end_spec(self) -> tf.TensorSpec | None:
        """Returns what a client sends for the other end of an interpolation, None as it is."""
        return self._spec(self._model.data.observed[0], end_of(self._model))

    def applied(self, inputs: Mapping[str, Tensor], place: str) -> dict[str, Tensor]:
        """Returns the inputs of a signature as the model takes them.

        Args:
            inputs: As clients send them, by name.
            place: What messages begin with.
        """
        found = dict(inputs)
        for name, network in self.networks.items():
            ends = [end_of(self._model)] if name == self._model.data.observed[0] else []
            for key in [key for key in (name, *ends) if key in found]:
                raw, checks = checked_raw(
                    found[key], self._shape(name), key, place, may_lack=self._may_lack(name)
                )
                with tf.control_dependencies(checks):
                    raw = tf.identity(raw)
                made = with_rows(
                    lambda raw, network=network: {"made": _row_by_row(network, raw, place)},
                    {"raw": raw},
                )["made"]
                found[key] = tf.cast(made, self._model.data.specs()[name].dtype)
        return found

    def check_signatures(self, names: Any) -> None:
        """Checks that all signatures are read by TensorFlow, which runs any layer.

        Raises:
            ValueError: One is portable.
        """
        found = [name for name in names if name in PORTABLE]
        if found and self.networks:
            raise ValueError(
                f"{', '.join(found)} are for other runtimes than TensorFlow, and take data as the "
                "model does. Export them to a folder of their own, without `preprocessing`."
            )

    def examples(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Returns inputs of all signatures by name, with rows as clients would send them.

        These are rows of zeros and of ones in turn.
        """
        found = {}
        for name in self.networks:
            rows = len(inputs[name])
            spec = self._spec(name, name)
            ends = [end_of(self._model)] if name == self._model.data.observed[0] else []
            each = [tf.fill(self._shape(name), float(row % 2)) for row in range(rows)]
            found |= dict.fromkeys((name, *ends), _of_type(tf.stack(each), spec.dtype))
        return {**inputs, **found} if found else inputs

    def description(self) -> dict[str, Any]:
        """Returns what is known of each, as plain data."""
        return {
            name: {
                "network": network.name,
                "layers": [type(layer).__name__ for layer in network.layers],
                "dtype": network.inputs[0].dtype,
                "shape": [None, *self._shape(name)],
            }
            for name, network in self.networks.items()
        }

    def _shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.networks[name].inputs[0].shape[1:])

    def _spec(self, name: str, key: str) -> Any:
        if name not in self.networks:
            return None
        return tf.TensorSpec([None, *self._shape(name)], self.networks[name].inputs[0].dtype, key)

    def _may_lack(self, name: str) -> bool:
        return name != CONTEXT and self._model.data.supports[name].missing

    def _check(self, name: str, network: Any) -> None:
        specs = self._model.data.specs()
        if name not in specs:
            raise ValueError(
                "`preprocessing` must name parts of the data, as a dict of name → Keras model. "
                f"Expected: {', '.join(specs)}. Received: {name or kind_of(network)}"
            )
        inputs, outputs = (getattr(network, side, None) or [] for side in ("inputs", "outputs"))
        if not (isinstance(network, keras.Model) and len(inputs) == len(outputs) == 1):
            raise TypeError(
                f"`preprocessing` of `{name}` must be a Keras model of one input and one output, "
                "such as `keras.Sequential([keras.Input((28, 28), dtype='uint8'), "
                f"keras.layers.Rescaling(1 / 255)])`. Received: {kind_of(network)} with "
                f"{len(inputs)} inputs and {len(outputs)} outputs"
            )
        shape, expected = tuple(outputs[0].shape[1:]), tuple(specs[name].shape[1:])
        if shape != expected or None in self._shape(name):
            raise ValueError(
                f"`preprocessing` of `{name}` must take examples of a known shape and return what "
                f"the model takes, of shape {expected}. Received: '{network.name}' from "
                f"{self._shape(name)} to {shape}"
            )
        # Shapes of a graph tell what is dropped whatever the values are, without any.
        three = tf.TensorSpec([3, *self._shape(name)], network.inputs[0].dtype)
        made = tf.function(lambda raw: _row_by_row(network, raw, ""), autograph=False)
        made.get_concrete_function(three)


def _row_by_row(network: Any, raw: Tensor, place: str) -> Tensor:
    """Returns what a network makes of examples, after a check that it is one of each.

    Raises:
        ValueError: It is not, as shapes tell before any values are known.
        tf.errors.InvalidArgumentError: It is not, as the graph finds when it runs.
    """
    made = network(raw, training=False)
    said = (
        f"{place}`preprocessing` must make one example of each that it is given, and network "
        f"'{network.name}' makes more or fewer: answers would belong to other rows. Leave out "
        "layers that drop or repeat rows."
    )
    if not made.shape[:1].is_compatible_with(raw.shape[:1]):
        raise ValueError(f"{said} Received: {made.shape[0]} of {raw.shape[0]}")
    same = tf.shape(made)[0] == tf.shape(raw)[0]
    text = f"{said} Received: {{}} of {{}}."
    with tf.control_dependencies([assertion(same, text, tf.shape(made)[0], tf.shape(raw)[0])]):
        return tf.identity(made)


def _of_type(numbers: Tensor, dtype: tf.DType) -> Tensor:
    return (
        tf.as_string(tf.cast(numbers, "int32")) if dtype == tf.string else tf.cast(numbers, dtype)
    )
