"""Mixtures of many diagonal Gaussians, with densities as matrix products."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability.python.distributions.distribution import (
    AutoCompositeTensorDistribution,
)

from tfvae._random import split_seed
from tfvae._shapes import with_event
from tfvae._typing import Shape, Tensor
from tfvae.distributions.pairwise import pairwise_log_prob_exact

__all__ = ["NormalMixture"]

tfd = tfp.distributions


class NormalMixture(AutoCompositeTensorDistribution):
    """Mixture of M Gaussians with diagonal covariance, batch shape `[]`.

        p(z) = sum_m w_m N(z; loc_m, diag scale_m**2),   w = softmax(logits)

    Its log-densities are one matrix product of `[N, 2 K]` by `[2 K, M]`, of the expanded square:
    nothing of size `[N, M, K]` is ever held, as it is by `tfd.MixtureSameFamily`. The expansion
    cancels digits, so that the product is one of float64, after which results are as exact as the
    direct form in the type of the parameters.

    Args:
        logits: Log weights up to a constant `[M]`.
        loc: Means `[M, *E]`.
        scale: Standard deviations `[M, *E]`.
        validate_args: See `tfd.Distribution`.
        allow_nan_stats: See `tfd.Distribution`.
        name: See `tfd.Distribution`.

    Example:
        >>> p = tfvae.distributions.NormalMixture([0.0, 0.0], [[-1.0], [1.0]], [[1.0], [1.0]])
        >>> p.log_prob(tf.zeros([5, 1])).shape, float(p.variance()[0])
        (TensorShape([5]), 2.0)

    Reference: VAE with a VampPrior (Tomczak and Welling, 2018), https://arxiv.org/abs/1705.07120
    """

    def __init__(
        self,
        logits: Any,
        loc: Any,
        scale: Any,
        validate_args: bool = False,
        allow_nan_stats: bool = True,
        name: str = "NormalMixture",
    ) -> None:
        parameters = dict(locals())
        self._loc = tf.convert_to_tensor(loc)
        self._scale = tf.convert_to_tensor(scale, self._loc.dtype)
        self._logits = tf.convert_to_tensor(logits, self._loc.dtype)
        super().__init__(
            dtype=self._loc.dtype,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=validate_args,
            allow_nan_stats=allow_nan_stats,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: int | None = None) -> dict[str, Any]:
        # The whole of each parameter belongs to the one mixture: there is no batch.
        def all_axes(self: NormalMixture) -> int:
            return max(self.loc.shape.rank, 1)

        return {
            "logits": tfp.util.ParameterProperties(event_ndims=1),
            "loc": tfp.util.ParameterProperties(event_ndims=all_axes),
            "scale": tfp.util.ParameterProperties(event_ndims=all_axes),
        }

    @property
    def logits(self) -> Tensor:
        """Log weights `[M]`, up to a constant."""
        return self._logits

    @property
    def loc(self) -> Tensor:
        """Means of the components `[M, *E]`."""
        return self._loc

    @property
    def scale(self) -> Tensor:
        """Standard deviations of the components `[M, *E]`."""
        return self._scale

    @property
    def num_components(self) -> int:
        """Number of components, M."""
        return int(self._loc.shape[0])  # pyright: ignore[reportArgumentType]

    def component_log_prob(self, z: Tensor) -> Tensor:
        """Returns log w_m + log N(z; loc_m, scale_m), `[..., M]`, for `z` `[..., *E]`."""
        dtype: Any = self.dtype
        z = tf.convert_to_tensor(z, dtype)
        event: Shape = tuple(self._loc.shape[1:])  # pyright: ignore[reportAssignmentType]
        components = tfd.Independent(tfd.Normal(self._loc, self._scale), len(event))
        each = pairwise_log_prob_exact(components, tf.reshape(z, [1, -1, *event]))[0]  # [N, M]
        log_weights = tf.nn.log_softmax(self._logits)
        return with_event(each + log_weights, each.shape[1:], axes=len(event), like=z)

    def _event_shape(self) -> tf.TensorShape:
        return self._loc.shape[1:]

    def _event_shape_tensor(self) -> Tensor:
        return tf.shape(self._loc)[1:]

    def _log_prob(self, value: Tensor) -> Tensor:
        static = value.shape[: value.shape.rank - len(self._loc.shape) + 1]
        log_prob = tf.reduce_logsumexp(self.component_log_prob(value), axis=-1)
        return tf.ensure_shape(log_prob, static)

    def _sample_n(self, n: Tensor, seed: Any = None) -> Tensor:
        which, noise = split_seed(seed, 2)
        chosen = tfd.Categorical(logits=self._logits).sample(n, seed=which)  # [N]
        component = tfd.Normal(tf.gather(self._loc, chosen), tf.gather(self._scale, chosen))
        return component.sample(seed=noise)

    def _mean(self) -> Tensor:
        return tf.tensordot(tf.nn.softmax(self._logits), self._loc, axes=1)

    def _variance(self) -> Tensor:
        weights, mean = tf.nn.softmax(self._logits), self._mean()
        spread = tf.square(self._scale) + tf.square(self._loc - mean)
        return tf.tensordot(weights, spread, axes=1)
