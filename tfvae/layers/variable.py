"""A layer that is a weight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from tfvae._stored import parts_config
from tfvae._typing import Shape, Tensor, event_tuple, register
from tfvae.layers.tracking import captured_parts

__all__ = ["VariableLayer"]


@register
class VariableLayer(keras.layers.Layer):
    """Returns one trainable weight, whatever its input is.

    Before a distribution layer it makes a trainable prior, or a model without inputs.

    Args:
        shape: Shape of the weight.
        dtype: Type of the weight; by default Keras's `floatx`.
        activation: Applied to the weight, by name or as a callable. Variables that it uses train
            with the layer.
        initializer: First value of the weight.
        regularizer: Regularizer of the weight.
        constraint: Constraint of the weight.
        **kwargs: `name` and the other arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Not read.

    Returns:
        The weight, of shape `shape`: there is no batch axis.

    Example:
        >>> prior = keras.Sequential([
        ...     tfvae.layers.VariableLayer([4]), tfvae.layers.MultivariateNormalDiag(2)])
        >>> prior(tf.zeros([1])).batch_shape, len(prior.trainable_weights)
        (TensorShape([]), 1)
    """

    def __init__(
        self,
        shape: int | Sequence[int],
        dtype: Any = None,
        activation: Any = None,
        initializer: Any = "zeros",
        regularizer: Any = None,
        constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(dtype=dtype, **kwargs)
        self.shape: Shape = event_tuple(shape)
        self.activation = keras.activations.get(activation)
        self.initializer = keras.initializers.get(initializer)
        self.regularizer = keras.regularizers.get(regularizer)
        self.constraint = keras.constraints.get(constraint)
        self.constant = self.add_weight(
            name="constant",
            shape=self.shape,
            initializer=self.initializer,
            regularizer=self.regularizer,
            constraint=self.constraint,
        )
        where = f"`activation` of layer '{self.name}'"
        self._activation_parts = captured_parts(self.activation, where)
        self.built = True

    def call(self, inputs: Any) -> Tensor:
        del inputs
        return self.activation(keras.ops.convert_to_tensor(self.constant))

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        del inputs
        return keras.KerasTensor(self.shape, dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "shape": self.shape,
            **parts_config(self, "activation", "initializer", "regularizer", "constraint"),
        }
