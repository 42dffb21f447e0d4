"""The variational mixture of posteriors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._config import check_count
from tfvae._typing import Distribution, Shape, Tensor, register
from tfvae.distributions.aggregated import AggregatedPosterior
from tfvae.distributions.gaussian import as_diagonal_normal
from tfvae.distributions.normal_mixture import NormalMixture
from tfvae.distributions.support import Support
from tfvae.priors.base import Prior

__all__ = ["VampPrior"]

tfd = tfp.distributions

# How near to a bound that is excluded pseudo-inputs may come, in parts of the interval, or of one
# where there is one bound: its logarithm and the gradient of that are far from overflow.
_MARGIN = 1e-6


@register
class VampPrior(Prior):
    """Mixture of the posteriors of learned pseudo-inputs.

    The prior of the greatest ELBO is the aggregated posterior, the mean of q(z|x) over all data;
    this one is that mean over a few points, which are learned:

        p(z) = sum_m w_m q(z|u_m),   u_m `[*x_event]` learned, q the model's own encoder

    Encoder and prior share their weights, which a `.keras` file of the model holds once.
    Pseudo-inputs stay within the bounds of the likelihood, column by column, if it has some; bounds
    that are excluded are never reached.

    Args:
        num_components: Number of pseudo-inputs, M; by default that of the rows of
            `pseudo_inputs`, or 500.
        event_shape: Shape of one latent; by default that of the model's encoder.
        pseudo_inputs: Data `[M, *x_event]`, or fewer rows, to start from; what is left, by default
            all, starts from noise: uniform between two
            bounds of the likelihood, log-normal beyond one bound, standard normal without any, and
            whole numbers for categories.
        learn_weights: Learns the weights `w` of the mixture; False keeps them equal.
        **kwargs: See `Prior`.

    Raises:
        ValueError: `num_components` is smaller than 1 or than the rows of `pseudo_inputs`, these
            have not the shape of the data or lie outside of the support of the likelihood, the
            encoder needs a context, or a model with another encoder has the prior already.

    Example:
        >>> from tfvae.demo import decoder, encoder
        >>> prior = tfvae.priors.VampPrior(50)
        >>> vae = tfvae.VAE(encoder, decoder, prior)
        >>> prior.pseudo_inputs.shape == (50, *vae.data.event_shape)
        True

    Reference: VAE with a VampPrior (Tomczak and Welling, 2018), https://arxiv.org/abs/1705.07120
    """

    needs_model = True

    def __init__(
        self,
        num_components: int | None = None,
        event_shape: Any = None,
        *,
        pseudo_inputs: Any = None,
        learn_weights: bool = False,
        **kwargs: Any,
    ) -> None:
        if num_components is None:
            num_components = 500 if pseudo_inputs is None else len(np.asarray(pseudo_inputs))
        check_count("num_components", num_components)
        self.num_components = int(num_components)
        self.learn_weights = learn_weights
        self._start = None if pseudo_inputs is None else np.asarray(pseudo_inputs, "float32")
        if self._start is not None and len(self._start) > num_components:
            raise ValueError(
                "`pseudo_inputs` must hold at most one row per component. Received: "
                f"{len(self._start)} rows, num_components={num_components}"
            )
        self._encode: Callable[[Tensor], Distribution] | None = None
        super().__init__(event_shape, **kwargs)

    def distribution(self, context: Tensor | None = None) -> Distribution:
        """Returns the mixture, batch shape `[]`, event shape `E`.

        A `tfvae.distributions.NormalMixture` for diagonal Gaussian posteriors, whose cost is that
        of two matrix products; an `AggregatedPosterior` for others.
        """
        self.known_event_shape()
        if self._encode is None:
            raise ValueError(
                f"The prior '{self.name}' is made of posteriors: pass it to a model, "
                "`tfvae.VAE(encoder, decoder, prior)`, and build that."
            )
        q_u = self._encode(tf.convert_to_tensor(self.pseudo_inputs))
        logits = tf.cast(tf.convert_to_tensor(self.logits), q_u.dtype)
        normal = as_diagonal_normal(q_u)
        if normal is not None:
            return NormalMixture(logits, normal.loc, normal.scale)
        return AggregatedPosterior(q_u, tfd.Categorical(logits=logits))

    def connect(
        self, encode: Callable[[Tensor], Distribution] | None, event_shape: Shape, support: Support
    ) -> None:
        """Keeps the encoder, and the shape and bounds of the pseudo-inputs to be made."""
        if encode is None:
            raise ValueError(
                "`VampPrior` is made of posteriors q(z|u) of pseudo-inputs u alone, but the "
                "encoder needs a context too. Leave the context out of the encoder, or choose "
                "another prior, such as `Conditional`."
            )
        known = self._encode
        if self.built and known is not None and not self._same_posteriors(known, encode):
            raise ValueError(
                f"The prior '{self.name}' is made of the posteriors of one encoder, and another "
                "model with another encoder has it already. Give each model a prior of its own: "
                f"`VampPrior({self.num_components}, pseudo_inputs=...)`."
            )
        # No layer and no model: Keras would count the encoder's weights twice.
        self._encode = encode
        self._x_shape, self._support = event_shape, support

    def _same_posteriors(self, *encoders: Callable[[Tensor], Distribution]) -> bool:
        """Whether two encoders make the same posteriors of the pseudo-inputs."""
        with tf.init_scope():
            u = tf.convert_to_tensor(self.pseudo_inputs)
            each = [tf.nest.flatten(encode(u), expand_composites=True) for encode in encoders]
        parts = [[np.asarray(part) for part in some if tf.is_tensor(part)] for some in each]
        return len(parts[0]) == len(parts[1]) and all(
            np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(*parts, strict=True)
        )

    def get_build_config(self) -> None:
        """Returns None: a loaded prior waits for its model, as a new one does."""

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_components": self.num_components,
            "learn_weights": self.learn_weights,
        }

    def _build(self, event_shape: Shape) -> None:
        start, x_shape, support = self._start, self._x_shape, self._support
        within = _Within(*_bounds(support), support.norm)
        if start is not None and start.shape[1:] != x_shape:
            raise ValueError(
                "`pseudo_inputs` must have the shape of the data. "
                f"Expected: {[len(start), *x_shape]}. Received: {list(start.shape)}"
            )
        known = [] if start is None else start[~np.isnan(start)] if support.missing else start
        if not np.all(np.isfinite(known)):
            what = "infinite" if support.missing else "NaN or infinite"
            raise ValueError(
                f"`pseudo_inputs` hold {what} values. Expected: values that data may have. Remove "
                "the rows that hold them."
            )
        if start is not None and within.excludes(start):
            raise ValueError(
                "`pseudo_inputs` must lie within the support of the likelihood, as data does. "
                f"Received: values from {np.nanmin(start):g} to {np.nanmax(start):g} for "
                f"{support.likelihood}. {support.remedy}".rstrip()
            )
        self.pseudo_inputs = self.add_weight(
            shape=(self.num_components, *x_shape),
            initializer=lambda shape, dtype=None: _beginning(start, support, within, shape, dtype),
            constraint=within,
            name="pseudo_inputs",
        )
        self.pseudo_inputs.may_lack_entries = support.missing
        self.logits = self.add_weight(
            shape=(self.num_components,),
            initializer="zeros",
            trainable=self.learn_weights,
            name="logits",
        )


def _beginning(
    start: np.ndarray | None, support: Support, within: _Within, shape: Shape, dtype: Any
) -> Tensor:
    """Returns the rows that are given, and noise for those that are not."""
    given = np.zeros((0, *shape[1:]), "float32") if start is None else start
    if len(given) == shape[0]:
        return tf.cast(given, dtype or keras.config.floatx())
    noise = within(_noise(support, (shape[0] - len(given), *shape[1:]), dtype))
    return tf.concat([tf.cast(given, noise.dtype), noise], axis=0)


class _Within(keras.constraints.Constraint):
    """Projects onto the support of the data.

    Args:
        lower: Least value, of all or of each of the last axis, -infinity where there is none.
        upper: Greatest value, in the same way.
        norm: See `Support.norm`.
    """

    def __init__(self, lower: np.ndarray, upper: np.ndarray, norm: int | None = None) -> None:
        self.lower, self.upper, self.norm = lower, upper, norm

    def __call__(self, w: Tensor) -> Tensor:
        w = tf.clip_by_value(w, tf.cast(self.lower, w.dtype), tf.cast(self.upper, w.dtype))
        if self.norm is None:
            return w
        # Vectors of zeros have no direction, nor shares.
        w = tf.maximum(w, _MARGIN) if self.norm == 1 else w
        return w / tf.norm(w, ord=self.norm, axis=-1, keepdims=True)

    def excludes(self, values: np.ndarray) -> bool:
        """Returns whether any of `values` lies outside; NaN does not."""
        return bool(np.any((values < self.lower) | (values > self.upper)))


def _ends(support: Support) -> tuple[float, float]:
    """Returns the least and the greatest value that a pseudo-input may take."""
    lower = -math.inf if support.lower is None else support.lower
    upper = math.inf if support.upper is None else support.upper
    if support.exclusive:
        width = upper - lower
        margin = _MARGIN * (width if math.isfinite(width) else 1.0)
        lower, upper = lower + margin, upper - margin
    return lower, upper


def _bounds(support: Support) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ends of all values, `[]`, or where columns differ of each of these, `[D]`."""
    if not support.columns:
        lower, upper = _ends(support)
        return np.asarray(lower, "float32"), np.asarray(upper, "float32")
    ends = [_bounds(own) for *_, own in support.columns]
    sizes = [size for _, size, _ in support.columns]
    lower, upper = (
        np.concatenate([np.broadcast_to(end, size) for end, size in zip(part, sizes, strict=True)])
        for part in zip(*ends, strict=True)
    )
    return lower, upper


def _noise(support: Support, shape: Shape, dtype: Any) -> Tensor:
    """Returns noise that lies within the support, as an initializer does."""
    if support.columns:
        parts = [_noise(own, (*shape[:-1], size), dtype) for _, size, own in support.columns]
        return tf.concat(parts, axis=-1)
    lower, upper = _ends(support)
    normal = keras.initializers.RandomNormal(stddev=1.0)
    if support.categories is not None:
        uniform = keras.initializers.RandomUniform(lower, lower + support.categories)
        return tf.minimum(tf.floor(uniform(shape, dtype)), upper)
    if math.isfinite(lower) and math.isfinite(upper):
        return keras.initializers.RandomUniform(lower, upper)(shape, dtype)
    if math.isfinite(lower):
        return lower + tf.exp(normal(shape, dtype))
    if math.isfinite(upper):
        return upper - tf.exp(normal(shape, dtype))
    return normal(shape, dtype)
