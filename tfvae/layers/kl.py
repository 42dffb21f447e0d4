"""Kullback-Leibler penalties for stock Keras models: on a layer, or as a layer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._precision import uncast
from tfvae._stored import function_config, function_from_config
from tfvae._typing import Distribution, Tensor, register
from tfvae._words import kind_of
from tfvae.distributions.kl import closed_form_kl
from tfvae.layers.coercible import distribution_of
from tfvae.layers.stored_distribution import (
    distribution_config,
    distribution_from_config,
    variable_config,
    variable_from_config,
)
from tfvae.layers.tracking import captured_parts, checked_reads

__all__ = ["KLDivergenceAddLoss", "KLDivergenceRegularizer"]

tfd = tfp.distributions


@register
class KLDivergenceRegularizer(keras.regularizers.Regularizer):
    """Penalty weight * KL(q || p) on a distribution layer, as its `activity_regularizer`.

        penalty = weight * mean_b KL(q[b] || p)

    Keras adds it to the loss once, where the other losses are means over the batch too: with
    `weight = 1` and the mean of -log p(x|z) as the loss the sum is minus the ELBO, at any batch
    size.

    Args:
        distribution_b: p: a distribution; a Keras model, such as a `VariableLayer` followed by a
            distribution layer; an object of `tfvae.priors`; or a callable without arguments.
            Keras layers and variables in it, also the `tf.Variable`s and
            `tfp.util.TransformedVariable`s that a distribution is made from, train with the layer
            that is regularized.
        use_exact_kl: Takes the closed form. False estimates the divergence at test points.
        test_points_reduce_axis: Axes of the test points to average over; the batch is averaged
            over in any case, so this changes nothing. Kept for programs that pass it.
        test_points_fn: From q to the test points of the estimate, draws from q; by default the
            tensor that q turns into.
        weight: A number, a `keras.Variable` or `tf.Variable` (which trains if it is trainable), a
            schedule (a callable of the number of training steps so far, such as
            `tfvae.objectives.Linear`), or a callable without arguments, for schedules.

    Call arguments:
        distribution_a: q, batch shape `[...]`.
        step: Number of training steps so far, for a weight that is a schedule of it. A layer gives
            its own count, of its calls in training.

    Returns:
        Scalar, nats.

    Raises:
        TypeError: `distribution_b` or `weight` is of another kind, or holds weights that Keras 3
            cannot train.
        ValueError: Test points by default, and q turns into a tensor that is no draw.
        NotImplementedError: There is no closed form.

    Example:
        >>> prior = tfd.MultivariateNormalDiag(tf.zeros(2))
        >>> penalty = tfvae.layers.KLDivergenceRegularizer(prior, use_exact_kl=True)
        >>> layer = tfvae.layers.MultivariateNormalTriL(2, activity_regularizer=penalty)
        >>> q = layer(tf.zeros([7, 5]))
        >>> len(layer.losses)
        1

    Reference: Auto-Encoding Variational Bayes (Kingma and Welling, 2014),
    https://arxiv.org/abs/1312.6114
    """

    def __init__(
        self,
        distribution_b: Any,
        use_exact_kl: bool = False,
        test_points_reduce_axis: int | Sequence[int] | None = (),
        test_points_fn: Callable[[Distribution], Tensor] = tf.convert_to_tensor,
        weight: Any = None,
    ) -> None:
        where = f"`distribution_b` of `{type(self).__name__}`"
        if not isinstance(distribution_b, Distribution) and not callable(distribution_b):
            raise TypeError(
                f"{where} must be a distribution, a Keras model, an object of `tfvae.priors`, or "
                f"a callable without arguments. Received: {distribution_b!r}"
            )
        model = isinstance(distribution_b, keras.layers.Layer)
        if model and not distribution_b.built and not hasattr(distribution_b, "distribution"):
            distribution_b(tf.zeros([1]))  # The host's weights must exist before its first call.
        self.distribution_b = distribution_b
        self.use_exact_kl = use_exact_kl
        self.test_points_reduce_axis = test_points_reduce_axis
        self.test_points_fn = test_points_fn
        self.weight = _checked_weight(weight)
        self.tracked_parts = captured_parts(distribution_b, where)
        self._follows_steps = callable(weight) and bool(_required(weight))
        if not self._follows_steps:
            name = f"`weight` of `{type(self).__name__}`"
            self.tracked_parts += captured_parts(weight, name)

    def __call__(self, distribution_a: Distribution, step: Any = 0) -> Tensor:
        self.check_conversion(getattr(distribution_a, "_conversion", None))
        with uncast():
            return self._penalty(distribution_a, step)

    def _penalty(self, distribution_a: Distribution, step: Any) -> Tensor:
        distribution_b = self._distribution_b()
        types = [distribution_a.dtype, distribution_b.dtype]
        if all(isinstance(t, tf.DType) and t.is_floating for t in types) and types[0] != types[1]:
            raise TypeError(
                "A KL penalty needs two distributions of one type. Received: q of "
                f"{types[0].name}, `distribution_b` of {types[1].name}. "
                f"Make the latter with dtype='{types[0].name}', or the layer of q as the latter is."
            )
        if self.use_exact_kl:
            kl = closed_form_kl(distribution_a, distribution_b)
            if kl is None:
                raise NotImplementedError(
                    "No closed form is known of KL(q || p) between "
                    f"{type(distribution_a).__name__} and {type(distribution_b).__name__}. "
                    "Set `use_exact_kl=False` to estimate it from draws."
                )
        else:
            z = self.test_points_fn(distribution_a)
            kl = distribution_a.log_prob(z) - distribution_b.log_prob(z)
        penalty = tf.reduce_mean(kl)
        if self.weight is None:
            return penalty
        weight: Any = self.weight
        if self._follows_steps:
            weight = weight(tf.convert_to_tensor(step))
        elif callable(weight):
            weight = weight()
        return tf.cast(weight, penalty.dtype) * penalty

    def new_step(self) -> keras.Variable | None:
        """Returns a count of training steps for a layer to keep, None where no weight needs it."""
        if not self._follows_steps:
            return None
        return keras.Variable(0, trainable=False, dtype="int32", name="step")

    def check_conversion(self, name: str | None, layer_name: str | None = None) -> None:
        """Checks that the tensors that q turns into are draws, where they are the test points.

        Args:
            name: The `convert_to_tensor_fn` of q's layer, None where it has no name.
            layer_name: Name of that layer, for the message.

        Raises:
            ValueError: They are not: log q - log p at one fixed point estimates no divergence.
        """
        drawn = self.use_exact_kl or self.test_points_fn is not tf.convert_to_tensor
        if drawn or name in (None, "sample"):
            return
        layer = "the layer" if layer_name is None else f"layer '{layer_name}'"
        raise ValueError(
            f"A Monte Carlo KL needs draws from q, but {layer} turns its distribution into a "
            f"tensor by `convert_to_tensor_fn={name!r}`: the estimate would be biased, whatever "
            "the number of points. Set `use_exact_kl=True`, or "
            "`test_points_fn=lambda q: q.sample()`."
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain data."""
        default_points = self.test_points_fn is tf.convert_to_tensor
        points = None if default_points else _stored(self.test_points_fn, "test_points_fn")
        if isinstance(self.weight, (keras.Variable, tf.Variable)):
            weight: Any = variable_config(self.weight)
        else:
            weight = _stored(self.weight, "weight") if callable(self.weight) else self.weight
        if isinstance(self.distribution_b, Distribution):
            name = "The `distribution_b` of a KL penalty"
            distribution: Any = {"distribution": distribution_config(self.distribution_b, name)}
        else:
            distribution = _stored(self.distribution_b, "distribution_b")
        return {
            "distribution_b": distribution,
            "use_exact_kl": self.use_exact_kl,
            "test_points_reduce_axis": self.test_points_reduce_axis,
            "test_points_fn": points,
            "weight": weight,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> KLDivergenceRegularizer:
        """Makes the regularizer again from the output of `get_config`."""
        config = dict(config)
        stored, weight = config["distribution_b"], config["weight"]
        if "distribution" in stored:
            config["distribution_b"] = distribution_from_config(stored["distribution"])
        else:
            config["distribution_b"] = function_from_config(stored)
        if isinstance(weight, dict) and "variable" in weight:
            config["weight"] = variable_from_config(weight)
        else:
            config["weight"] = function_from_config(weight)
        points = config["test_points_fn"]
        config["test_points_fn"] = (
            tf.convert_to_tensor if points is None else function_from_config(points)
        )
        return cls(**config)

    def _distribution_b(self) -> Distribution:
        given = self.distribution_b
        if isinstance(given, Distribution):
            return given
        if isinstance(given, keras.layers.Layer):
            # A model that ignores its input, or a prior that makes its distribution when asked.
            made = given.distribution() if hasattr(given, "distribution") else given(tf.zeros([1]))
        else:
            where = f"`distribution_b` of `{type(self).__name__}`"
            made = checked_reads(given, lambda: _variables(self.tracked_parts), where)
        if not isinstance(made, Distribution):
            raise TypeError(
                "`distribution_b` must give a tfp distribution. "
                f"Received: {kind_of(made)} from {given!r}"
            )
        return made


@register
class KLDivergenceAddLoss(keras.layers.Layer):
    """Passes a distribution on and adds weight * KL(q || p) to the loss of the model.

        penalty = weight * mean_b KL(q[b] || p)

    Args:
        distribution_b: See `KLDivergenceRegularizer`.
        use_exact_kl: See `KLDivergenceRegularizer`.
        test_points_reduce_axis: See `KLDivergenceRegularizer`.
        test_points_fn: See `KLDivergenceRegularizer`.
        weight: See `KLDivergenceRegularizer`.
        **kwargs: `name` and the other arguments of `keras.layers.Layer`.

    Call arguments:
        distribution_a: q, the output of a distribution layer.

    Returns:
        q, with the draw that it has turned into.

    Raises:
        TypeError: The input does not come from a distribution layer.

    Example:
        >>> prior = tfd.MultivariateNormalDiag(tf.zeros(2))
        >>> encoder = keras.Sequential([
        ...     keras.Input((3,)), keras.layers.Dense(4), tfvae.layers.MultivariateNormalDiag(2),
        ...     tfvae.layers.KLDivergenceAddLoss(prior, use_exact_kl=True)])
        >>> encoder(tf.zeros([5, 3])).batch_shape, len(encoder.losses)
        (TensorShape([5]), 1)

    Reference: Auto-Encoding Variational Bayes (Kingma and Welling, 2014),
    https://arxiv.org/abs/1312.6114
    """

    def __init__(
        self,
        distribution_b: Any,
        use_exact_kl: bool = False,
        test_points_reduce_axis: int | Sequence[int] | None = None,
        test_points_fn: Callable[[Distribution], Tensor] = tf.convert_to_tensor,
        weight: Any = None,
        **kwargs: Any,
    ) -> None:
        # Uncast: a tensor in another precision would no longer know its distribution.
        super().__init__(**{**kwargs, "autocast": False})
        self.regularizer = KLDivergenceRegularizer(
            distribution_b, use_exact_kl, test_points_reduce_axis, test_points_fn, weight
        )
        self._regularizer_parts = self.regularizer.tracked_parts
        self._regularizer_step = self.regularizer.new_step()

    def call(self, distribution_a: Tensor, training: bool | None = None) -> Distribution:
        q = distribution_of(distribution_a)
        if q is None:
            raise TypeError(
                f"Layer '{self.name}' needs the output of a distribution layer right before it. "
                f"Received: {kind_of(distribution_a)} of shape {distribution_a.shape}"
            )
        step = self._regularizer_step
        self.add_loss(self.regularizer(q, 0 if step is None else step))
        if training and step is not None:
            step.assign_add(1)
        return q

    def compute_output_spec(
        self, distribution_a: keras.KerasTensor, training: bool | None = None
    ) -> keras.KerasTensor:
        return keras.KerasTensor(distribution_a.shape, dtype=distribution_a.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.regularizer.get_config()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> KLDivergenceAddLoss:
        names = inspect.signature(KLDivergenceRegularizer).parameters
        given = {name: config[name] for name in names}
        regularizer = KLDivergenceRegularizer.from_config(given)
        return cls(**{**config, **{name: getattr(regularizer, name) for name in names}})


def _variables(parts: list[Any]) -> list[keras.Variable]:
    found: list[keras.Variable] = []
    for part in parts:
        found += part.variables if isinstance(part, keras.layers.Layer) else [part]
    return found


def _checked_weight(weight: Any) -> Any:
    expected = (
        "`weight` must be a number, a `keras.Variable`, a schedule of the step, or a callable "
        f"without arguments. Received: {weight!r}"
    )
    known = (int, float, np.number, keras.Variable, tf.Variable)
    if weight is None or isinstance(weight, known):
        return weight
    if not callable(weight):
        raise TypeError(expected)
    if hasattr(weight, "initial_state") and weight.initial_state():
        raise TypeError(f"{expected}, which follows the loss of a model; a layer sees none.")
    if len(_required(weight)) > 1:
        raise TypeError(f"{expected}, which needs {', '.join(_required(weight))}.")
    return weight


def _required(function: Callable[..., Any]) -> list[str]:
    """Returns the names of the arguments that a function cannot do without."""
    if isinstance(function, keras.Variable):
        return []
    return [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]


def _stored(value: Any, name: str) -> dict[str, Any]:
    remedy = "Use a distribution, a Keras model or number, or"
    return function_config(value, f"The `{name}` of a KL penalty", remedy)
