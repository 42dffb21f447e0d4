"""A distribution layer from any function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfvae._precision import full_precision, uncast
from tfvae._stored import function_config, function_from_config
from tfvae._typing import Distribution, register
from tfvae._words import kind_of
from tfvae.distributions.open_support import opened
from tfvae.layers.base import DistributionLayer, traced_spec
from tfvae.layers.conversion import is_method
from tfvae.layers.origin import Origin, with_origin
from tfvae.layers.tracking import captured_parts, checked_reads

__all__ = ["DistributionLambda"]


@register
class DistributionLambda(DistributionLayer):
    """Turns tensors into the distribution that a function makes of them.

    Keras layers, `keras.Variable`s and `tf.Variable`s that the function uses, those inside a
    `tfp.util.TransformedVariable`, a distribution or a bijector too, become parts of this layer:
    they train and are stored with it.

    Families of TFP's over open sets, whose draws reach ends at which they have no density in
    float32, give way to those of the same parameters that have one there:
    `tfd.RelaxedBernoulli`, `tfd.RelaxedOneHotCategorical`, `tfd.Beta`, `tfd.LogNormal`.

    Args:
        make_distribution_fn: From the layer's input, a tensor or a structure of tensors, to a
            distribution. To be stored in a file, it has to be decorated with
            `keras.saving.register_keras_serializable()`.
        convert_to_tensor_fn: See `DistributionLayer`.
        **kwargs: See `DistributionLayer`.

    Call arguments:
        inputs: What the function takes.
        **kwargs: Further keyword arguments of the function.

    Returns:
        The function's distribution.

    Raises:
        TypeError: The function returns no distribution, or uses weights that Keras 3 cannot
            train, such as a network of `tf_keras`.

    Example:
        >>> layer = tfvae.layers.DistributionLambda(
        ...     lambda t: tfd.Normal(t[..., 0], tf.math.softplus(t[..., 1])))
        >>> layer(tf.zeros([5, 2])).batch_shape
        TensorShape([5])
    """

    def __init__(
        self,
        make_distribution_fn: Callable[..., Distribution],
        convert_to_tensor_fn: Any = "sample",
        **kwargs: Any,
    ) -> None:
        super().__init__(None, convert_to_tensor_fn, **kwargs)
        if is_method(make_distribution_fn):
            raise TypeError(
                "`make_distribution_fn` is called with the input of the layer, and has to return a "
                f"distribution. Received: {make_distribution_fn.__qualname__}, which is called "
                "with a distribution: pass it as `convert_to_tensor_fn`."
            )
        self.make_distribution_fn = make_distribution_fn
        self._where = f"`make_distribution_fn` of layer '{self.name}'"
        # What cannot be trained is refused early, and what can is there before the first call.
        found = captured_parts(make_distribution_fn, self._where)
        self._parts: list[Any] = [part for part in found if isinstance(part, keras.Variable)]
        self._outer_variables: Callable[[], list[Any]] = list

    @classmethod
    def params_size(cls, *structure: Any) -> int:
        """A function does not tell how many parameters it reads.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            "`DistributionLambda` takes any input, so that nobody can count its parameters. What "
            "learns parameters for a layer, such as `priors.Parametric` and `FiniteMixture`, "
            "takes a layer that says how many it reads: one of `tfvae.layers`, or a subclass of "
            "`DistributionLayer` with `params_size`."
        )

    def build(self, input_shape: Any) -> None:
        self._keep_parts()
        self.built = True

    def call(self, inputs: Any, training: bool | None = None, **kwargs: Any) -> Distribution:
        made = self._coercible(inputs, **kwargs)
        if tf.is_tensor(inputs):
            params = full_precision(inputs)
            made = with_origin(made, Origin(params, lambda p: self._coercible(p, **kwargs)))
        return self._regularized(made, training)

    def compute_output_spec(
        self, inputs: Any, training: bool | None = None, **kwargs: Any
    ) -> keras.KerasTensor:
        return traced_spec(lambda t: tf.convert_to_tensor(self._coercible(t, **kwargs)), inputs)

    def get_config(self) -> dict[str, Any]:
        name = f"The `make_distribution_fn` of layer '{self.name}'"
        remedy = "Subclass `tfvae.layers.DistributionLayer`, or"
        stored = function_config(self.make_distribution_fn, name, remedy)
        return {"make_distribution_fn": stored, **super().get_config()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DistributionLayer:
        stored = config["make_distribution_fn"]
        return super().from_config({**config, "make_distribution_fn": function_from_config(stored)})

    def _structure(self) -> dict[str, Any]:
        return {}

    def _coercible(self, inputs: Any, **kwargs: Any) -> Distribution:
        with uncast():
            return self._coercer(self._distribution(inputs, **kwargs))

    def _distribution(self, params: Any, **kwargs: Any) -> Distribution:
        inputs = keras.tree.map_structure(full_precision, params)
        made = checked_reads(
            lambda: self.make_distribution_fn(inputs, **kwargs),
            lambda: [*self.variables, *self._outer_variables()],
            self._where,
        )
        if not isinstance(made, Distribution):
            raise TypeError(
                f"{self._where} must return a tfp distribution. Received: {kind_of(made)}."
            )
        return opened(made)

    def _keep_parts(self) -> None:
        """Tracks what the function uses, except models that hold this layer themselves."""
        outer: list[Any] = []
        kept = {id(part) for part in self._parts}
        for part in captured_parts(self.make_distribution_fn, self._where):
            if id(part) in kept:
                continue
            inside = isinstance(part, keras.layers.Layer) and self in part._flatten_layers()
            (outer if inside else self._parts).append(part)
        # Behind a function, where Keras does not look: those models track these variables.
        self._outer_variables = lambda: [v for part in outer for v in part.variables]
