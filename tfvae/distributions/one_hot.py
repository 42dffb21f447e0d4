"""Distributions over one-hot vectors, and mixtures of them."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._typing import Tensor

__all__ = ["OneHot", "OneHotMixture"]

tfd = tfp.distributions


class OneHot(tfd.OneHotCategorical):
    """One of K categories as a one-hot vector, with a density that follows values in between.

        log p(x) = sum_k x_k log softmax(logits)_k

    TFP's own stops the gradient in x, which straight-through draws carry.

    Args:
        **kwargs: See `tfd.OneHotCategorical`.

    Example:
        >>> import tensorflow_probability as tfp
        >>> from tfvae.distributions.one_hot import OneHot
        >>> p = OneHot(tf.zeros([2]))
        >>> tfp.math.value_and_gradient(p.log_prob, tf.constant([1.0, 0.0]))[1].numpy().round(3)
        array([-0.693, -0.693], dtype=float32)
    """

    def _log_prob(self, x: Tensor) -> Tensor:
        log_p = tf.math.log_softmax(self.logits_parameter())
        # Impossible categories that x does not name count nothing: zero times infinity would.
        return tf.reduce_sum(tf.math.multiply_no_nan(log_p, tf.cast(x, log_p.dtype)), axis=-1)


class OneHotMixture(tfd.MixtureSameFamily):
    """A mixture of one-hot categoricals that knows its mean exactly, in probabilities and in logs.

    Args:
        mixture_distribution: `tfd.Categorical`, batch shape `[...]`, over C components.
        components_distribution: `tfd.OneHotCategorical`, batch shape `[..., C]`, over K
            categories.
        **kwargs: See `tfd.MixtureSameFamily`.

    Example:
        >>> from tfvae.distributions import OneHotMixture
        >>> p = OneHotMixture(tfd.Categorical([0.0, 0.0]), tfd.OneHotCategorical(tf.zeros([2, 3])))
        >>> p.log_mean().shape
        TensorShape([3])
    """

    def log_mean(self) -> Tensor:
        """Returns the log probabilities of the categories `[..., K]`."""
        weights = tf.math.log_softmax(self.mixture_distribution.logits_parameter())
        logits = tf.math.log_softmax(self.components_distribution.logits_parameter())
        return tf.reduce_logsumexp(weights[..., None] + logits, axis=-2)

    def _mean(self) -> Tensor:
        return tf.exp(self.log_mean())

    def _variance(self) -> Tensor:
        mean = self._mean()
        return mean * (1.0 - mean)

    def _mode(self) -> Tensor:
        best = tf.argmax(self.log_mean(), axis=-1)
        return tf.one_hot(best, self.event_shape[-1], dtype=self.dtype)
