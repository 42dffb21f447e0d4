"""Models without latent variables, on the same `fit`, evaluation and export."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae._stored import made_again, objects_config
from tfvae._typing import Distribution, Tensor, register
from tfvae._words import kind_of
from tfvae.graph.graph import Graph
from tfvae.graph.parts import CONTEXT, Network, Root
from tfvae.graph.posteriors import Networks
from tfvae.models.base import LatentVariableModel
from tfvae.models.regression import as_data, described

__all__ = ["ConditionalModel", "DensityModel"]


@register
class DensityModel(LatentVariableModel):
    """p(x) without latent variables: maximum likelihood for any density with weights.

        max_theta sum_n log p_theta(x_n)

    Minibatch gradients are unbiased estimates of those of the whole sum.

    Args:
        density: A layer with `distribution()`: a `tfvae.priors.Prior` (`Parametric` makes one of
            any distribution layer), or an autoregressive layer without context.
        seed: See `LatentVariableModel`.
        **kwargs: See `LatentVariableModel`.

    Raises:
        TypeError: `density` has no `distribution()`, or depends on a context.

    Example:
        >>> model = tfvae.DensityModel(tfvae.priors.GaussianMixture(5, 2))
        >>> model.compile("adam")
        >>> points = np.random.default_rng(0).normal(size=(100, 2)).astype("float32")
        >>> history = model.fit(points, verbose=0)
        >>> tfvae.log_likelihood(model, points, num_samples=1).per_point.shape
        (100,)

    Reference: Pattern Recognition and Machine Learning (Bishop, 2006), section 2.3.
    """

    def __init__(self, density: Any, *, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed=seed, **kwargs)
        if not isinstance(density, keras.layers.Layer) or not hasattr(density, "distribution"):
            raise TypeError(
                "`density` must be a layer with a `distribution()`, such as those of "
                "`tfvae.priors`; `tfvae.priors.Parametric(layer)` makes one of a distribution "
                f"layer. Received: {kind_of(density)}"
            )
        if getattr(density, "takes_context", False):
            raise TypeError(
                "`density` must not depend on a context. Use `tfvae.ConditionalModel` for p(y|x). "
                f"Received: {kind_of(density)}"
            )
        self.density = density
        self._set_graph(Graph({"x": Root(density, "density")}, Networks({})))

    def p_x(self, context: Tensor | None = None) -> Distribution:
        """Returns p(x), batch shape `[]`."""
        self._refuse_surplus(context)
        return self.density.distribution()

    def log_p_x(self, x: Tensor) -> Tensor:
        """Returns log p(x) `[B]`, nats."""
        return self.graph.log_p_observed(self._given(x, None), {})[0]

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain data."""
        stored = objects_config(density=self.density)
        return {**super().get_config(), **stored, "seed": self.seed}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> DensityModel:
        """Makes the model again from the output of `get_config`, without its weights."""
        return cls(**made_again(config, "density", custom_objects=custom_objects))


@register
class ConditionalModel(LatentVariableModel):
    """p(x|c) without latent variables: a network from the context to a distribution.

        max_theta sum_n log p_theta(x_n | c_n)

    A regression or a classification: `fit(inputs, targets)`, and `predict(inputs)` gives mean and
    interval, or probabilities. What is modelled is `x`, as in all models, so that by name targets
    are `x` and inputs `context`: `{"x": targets, "context": inputs}` is the same data for `fit`,
    and what evaluations and exports take.

    Args:
        network: Keras model from `context` `[B, *C]` to a distribution over one example of `x`.
        seed: See `LatentVariableModel`.
        **kwargs: See `LatentVariableModel`.

    Raises:
        TypeError: `network` is no Keras layer, or returns no distribution.

    Example:
        >>> network = keras.Sequential([
        ...     keras.Input((3,)), keras.layers.Dense(2), tfvae.layers.IndependentNormal(1)])
        >>> model = tfvae.ConditionalModel(network)
        >>> model.compile("adam")
        >>> rng = np.random.default_rng(0)
        >>> inputs = rng.normal(size=(50, 3)).astype("float32")
        >>> targets = inputs.sum(axis=1, keepdims=True)
        >>> history = model.fit(inputs, targets, verbose=0)
        >>> found = model.predict(inputs, interval=0.9)
        >>> found["mean"].shape, bool((found["lower"] < found["upper"]).all())
        ((50, 1), True)
        >>> model(inputs[:2]).event_shape  # p(y|x) itself
        TensorShape([1])

    Reference: Pattern Recognition and Machine Learning (Bishop, 2006), chapters 3 and 4.
    """

    def __init__(
        self, network: keras.layers.Layer, *, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        if not isinstance(network, keras.layers.Layer):
            raise TypeError(
                "`network` must be a Keras model from the context to a distribution. "
                f"Received: {kind_of(network)}"
            )
        self.network = network
        p_x = Network(
            network, "network", [CONTEXT], [], "IndependentNormal", second_is_context=True
        )
        self._set_graph(Graph({"x": p_x}, Networks({})))

    def call(self, x: Any, training: bool = False) -> Distribution:
        """Returns p(y|x), batch shape `[B]`, of inputs `[B, *C]`, or of data by name."""
        context = self.data.named(x).get(CONTEXT) if isinstance(x, Mapping) else x
        return self.p_x(context, training=training)

    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Trains as `LatentVariableModel.fit` does, on inputs and targets, or on data by name.

        Args:
            x: Inputs `[N, *C]`, or a `tf.data.Dataset` of `(inputs, targets)`; or `{"x": targets,
                "context": inputs}`.
            y: Targets `[N, ...]`.
            *args: As in `keras.Model.fit`.
            **kwargs: As in `keras.Model.fit`; `validation_data` may be `(inputs, targets)`.
        """
        x, y = as_data(x, y)
        if kwargs.get("validation_data") is not None:
            given = kwargs["validation_data"]
            given = tuple(given) if isinstance(given, list) else given
            kwargs["validation_data"], _ = as_data(given)
        return super().fit(x, y, *args, **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """See `LatentVariableModel.evaluate`; takes what `fit` does."""
        return super().evaluate(*as_data(x, y), *args, **kwargs)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        *args: Any,
        interval: float = 0.9,
        **kwargs: Any,
    ) -> Any:
        """Returns what p(y|x) says of inputs, arrays `[N, ...]` by name.

        Args:
            x: Inputs `[N, *C]`. Data by name gives what `predict` of other models does, with
                `log_prob` of the targets.
            batch_size: Rows at once.
            verbose: As in `keras.Model.predict`, for data by name.
            *args: As in `keras.Model.predict`, for data by name.
            interval: The share of each target that is to lie between `lower` and `upper`.
            **kwargs: As in `keras.Model.predict`, for data by name.

        Returns:
            `mean`, `stddev`, `lower` and `upper`; of categories `probs` and `mode`.

        Raises:
            ValueError: `interval` is not between 0 and 1, or there are no inputs.
        """
        if not hasattr(x, "__array__"):
            return super().predict(x, batch_size, verbose, *args, **kwargs)
        x, size = np.asarray(x), batch_size or 1000
        if not len(x):
            raise ValueError("`x` is empty. Expected at least one row of inputs.")
        chunks = [
            described(self.p_x(tf.convert_to_tensor(x[start : start + size])), interval)
            for start in range(0, len(x), size)
        ]
        return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}

    def p_x(self, context: Tensor | None = None, *, training: bool = False) -> Distribution:
        """Returns p(x|c), batch shape `[B]`."""
        self._check_built()
        given = self._context(context, True)
        return self.graph.likelihood(
            tf.zeros(tf.stack([tf.shape(given[CONTEXT])[0], 0])), given, training=training
        )

    def log_p_x(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Returns log p(x|c) `[B]`, nats."""
        return self.graph.log_p_observed(self._given(x, context), {})[0]

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain data."""
        stored = objects_config(network=self.network)
        return {**super().get_config(), **stored, "seed": self.seed}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> ConditionalModel:
        """Makes the model again from the output of `get_config`, without its weights."""
        return cls(**made_again(config, "network", custom_objects=custom_objects))
