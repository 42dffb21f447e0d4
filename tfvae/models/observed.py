"""Models without latent variables, on the same `fit`, evaluation and export."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._stored import made_again, objects_config
from tfvae._tracing import outputs_of
from tfvae._typing import Distribution, Seed, Shape, Tensor, register
from tfvae.distributions.statistics import statistic
from tfvae.distributions.support import support_of
from tfvae.models.base import LatentVariableModel
from tfvae.models.checks import check_context, check_distribution, check_event_shape, named
from tfvae.objectives import Objective
from tfvae.terms import Terms

__all__ = ["ConditionalModel", "DensityModel"]

tfd = tfp.distributions


class _ObservedModel(LatentVariableModel):
    """Abstract model of which all is observed: its latent has no dimensions.

    The posterior and the prior of nothing are equal, so that rate and mutual information are zero,
    the ELBO is log p(x), and whatever reads `Terms` works unchanged.
    """

    latent_shape: Shape = (0,)

    def p_x(self, context: Tensor | None = None, *, training: bool = False) -> Distribution:
        """Returns p(x), batch shape `[]`, or p(x|c), batch shape `[B]`."""
        raise NotImplementedError

    def encode(
        self, x: Tensor, context: Tensor | None = None, *, training: bool = False
    ) -> Distribution:
        """Returns the distribution of nothing: batch shape `[B]`, event shape `[0]`."""
        x = tf.convert_to_tensor(x)
        self._describe_data(x, context)
        check_event_shape(x, self.event_shape)
        check_context(x, context, context_shape=self.context_shape)
        return nothing(tf.shape(x)[:1])

    def decode(
        self, z: Tensor, context: Tensor | None = None, *, training: bool = False
    ) -> Distribution:
        """Returns p(x) or p(x|c), with a batch axis for each leading axis of `z` `[..., 0]`."""
        p_x, leading = self.p_x(context, training=training), tf.shape(z)[:-1]
        if p_x.batch_shape.rank == len(z.shape) - 1:
            return p_x
        return tfd.BatchBroadcast(p_x, leading)

    def prior_distribution(self, context: Tensor | None = None) -> Distribution:
        """Returns the distribution of nothing, batch shape `[]`."""
        self._refuse_surplus(context)
        return nothing(tf.constant([], tf.int32))

    def terms(
        self,
        x: Tensor,
        num_samples: int = 1,
        seed: Seed = None,
        *,
        context: Tensor | None = None,
        posterior: Distribution | None = None,
        prior: Distribution | None = None,
        objective: Objective | None = None,
        training: bool = False,
    ) -> Terms:
        """See `LatentVariableModel.terms`: log p(x) is the same in each of the S rows."""
        if posterior is None:
            self.encode(x, context)  # checks what it is given
        return terms_without_latents(self.log_p_x(x, context, training=training), num_samples)

    def log_p_x(
        self, x: Tensor, context: Tensor | None = None, *, training: bool = False
    ) -> Tensor:
        """Returns log p(x) or log p(x|c) `[B]`, nats."""
        p_x = self.p_x(context, training=training)
        return p_x.log_prob(tf.cast(x, p_x.dtype))

    def exact_log_p_x(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Returns log p(x) or log p(x|c) `[B]`, nats."""
        return self.log_p_x(x, context)

    def _remember(self, p_x: Distribution, part: str, x_shape: Any) -> None:
        if not p_x.event_shape.is_compatible_with(x_shape):
            raise ValueError(
                f"`{part}` must be a distribution over one example of `x`. "
                f"Expected: event_shape={x_shape}. Received: event_shape={p_x.event_shape}."
            )
        self.event_shape = tuple(p_x.event_shape)
        self.support = support_of(p_x)


@register
class DensityModel(_ObservedModel):
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
                f"layer. Received: {type(density).__name__}"
            )
        if getattr(density, "takes_context", False):
            raise TypeError(
                "`density` must not depend on a context. Use `tfvae.ConditionalModel` for p(y|x). "
                f"Received: {type(density).__name__}"
            )
        self.density = density
        shape = getattr(density, "event_shape", None)
        if shape is not None:
            self.build((None, *shape))

    def build(self, input_shape: Any) -> None:
        """Makes all weights, for data of shape `(None, *x_event)`."""
        if self.built:
            return
        shape = named(input_shape)["x"][1:]
        if not self.density.built:
            self.density.build(shape)
        self._remember(self.density.distribution(), "density", shape)
        self.built = True

    def p_x(self, context: Tensor | None = None, *, training: bool = False) -> Distribution:
        """Returns p(x), batch shape `[]`."""
        self._refuse_surplus(context)
        return self.density.distribution()

    def describe(self, x: Tensor, context: Tensor | None = None) -> dict[str, Tensor]:
        """Returns what `predict` gives: `log_prob` `[B]`, nats."""
        return {"log_prob": self.log_p_x(x, context)}

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain data."""
        stored = objects_config(density=self.density)
        return {**super().get_config(), **stored, "seed": self.seed}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> DensityModel:
        """Makes the model again from the output of `get_config`, without its weights."""
        return cls(**made_again(config, "density", custom_objects=custom_objects))

    def _describe_data(self, x: Tensor, context: Tensor | None = None) -> None:
        if not self.built:
            self.build(x.shape)


@register
class ConditionalModel(_ObservedModel):
    """p(x|c) without latent variables: a network from the context to a distribution.

        max_theta sum_n log p_theta(x_n | c_n)

    What is modelled is `x` here, as in all models: for a regression or a classification of labels
    `y` by inputs `c`, the data is `{"x": y, "context": c}`.

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
        >>> labels = inputs.sum(axis=1, keepdims=True)
        >>> history = model.fit({"x": labels, "context": inputs}, verbose=0)
        >>> model.predict({"x": labels, "context": inputs}, verbose=0)["mean"].shape
        (50, 1)

    Reference: Pattern Recognition and Machine Learning (Bishop, 2006), chapters 3 and 4.
    """

    def __init__(
        self, network: keras.layers.Layer, *, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        if not isinstance(network, keras.layers.Layer):
            raise TypeError(
                "`network` must be a Keras model from the context to a distribution. "
                f"Received: {type(network).__name__}"
            )
        self.network = network
        inputs = getattr(network, "inputs", None)
        if inputs:
            self._build_for(inputs[0].shape, inputs[0].dtype)

    def build(self, input_shape: Any) -> None:
        """Makes all weights, for a dict of the shapes of `x` and `context`."""
        if self.built:
            return
        shapes = named(input_shape)
        if "context" not in shapes:
            check_context(None, None, context_shape=())
        self._build_for(shapes["context"], keras.config.floatx())

    def p_x(self, context: Tensor | None = None, *, training: bool = False) -> Distribution:
        """Returns p(x|c), batch shape `[B]`."""
        if context is None:
            check_context(None, None, context_shape=self.context_shape or ())
        p_x = self.network(context, training=training)
        return check_distribution(p_x, "network", "one example of `x`", "IndependentNormal")

    def describe(self, x: Tensor, context: Tensor | None = None) -> dict[str, Tensor]:
        """Returns what `predict` gives: `log_prob` `[B]`, and `mean` and `stddev` of p(x|c)."""
        p_x = self.p_x(context)
        values = {"log_prob": p_x.log_prob(tf.cast(x, p_x.dtype))}
        for name in ("mean", "stddev"):
            value = statistic(p_x, name)
            if value is not None:
                values[name] = value
        return values

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain data."""
        stored = objects_config(network=self.network)
        return {**super().get_config(), **stored, "seed": self.seed}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> ConditionalModel:
        """Makes the model again from the output of `get_config`, without its weights."""
        return cls(**made_again(config, "network", custom_objects=custom_objects))

    def _build_for(self, context_shape: Any, dtype: Any) -> None:
        self.context_shape = tuple(context_shape[1:])

        def trace(context: Tensor) -> None:
            p_x = self.p_x(context)
            self._remember(p_x, "network", p_x.event_shape)

        outputs_of(trace, tf.TensorSpec([2, *self.context_shape], dtype))
        self.built = True

    def _describe_data(self, x: Tensor, context: Tensor | None = None) -> None:
        if not self.built:
            self.build(
                {"x": x.shape} if context is None else {"x": x.shape, "context": context.shape}
            )


def terms_without_latents(log_p_x: Tensor, num_samples: int | Tensor) -> Terms:
    """Returns the scores of log p(x) `[B]` alone: the same in each of S rows."""
    shape = tf.stack([num_samples, tf.shape(log_p_x)[0]])
    zeros = tf.zeros_like(log_p_x)
    return Terms(
        log_p_x=tf.broadcast_to(log_p_x, shape),
        log_p_z=tf.broadcast_to(zeros, shape),
        log_q_z=tf.broadcast_to(zeros, shape),
        kl=zeros,
        z=tf.zeros(tf.concat([shape, [0]], axis=0), log_p_x.dtype),
        q_z=nothing(tf.shape(log_p_x)),
        p_z=nothing(tf.constant([], tf.int32)),
        gradient_scale=tf.zeros(tf.concat([[2], shape], axis=0), log_p_x.dtype),
    )


def nothing(batch_shape: Tensor) -> Distribution:
    """Returns the distribution of nothing, event shape `[0]`."""
    zeros = tf.zeros(tf.concat([batch_shape, [0]], axis=0), keras.config.floatx())
    return tfd.Independent(tfd.Normal(zeros, tf.ones_like(zeros)), 1)
