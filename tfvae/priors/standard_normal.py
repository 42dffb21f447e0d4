"""The standard normal prior."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._typing import Distribution, Tensor, register
from tfvae.priors.base import Prior

__all__ = ["StandardNormal"]

tfd = tfp.distributions


@register
class StandardNormal(Prior):
    """p(z) = N(z; 0, I) over latents of any shape; no weights.

        log p(z) = -K/2 log(2 pi) - 1/2 sum_k z_k**2

    Args:
        event_shape: Shape of one latent; by default that of the model's encoder.
        **kwargs: See `Prior`.

    Example:
        >>> tfvae.priors.StandardNormal(16).distribution().event_shape
        TensorShape([16])

    Reference: Auto-Encoding Variational Bayes (Kingma and Welling, 2014),
    https://arxiv.org/abs/1312.6114
    """

    def distribution(self, context: Tensor | None = None) -> Distribution:
        """Returns `tfd.Independent(tfd.Normal)`, batch shape `[]`, event shape `E`."""
        zeros = tf.zeros(self.known_event_shape(), self.density_dtype)
        return tfd.Independent(tfd.Normal(zeros, tf.ones_like(zeros)), len(zeros.shape))
