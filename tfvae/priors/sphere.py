"""The uniform distribution over directions."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._typing import Distribution, Shape, Tensor, register
from tfvae.priors.base import Prior

__all__ = ["Hyperspherical"]

tfd = tfp.distributions


@register
class Hyperspherical(Prior):
    """Uniform over unit vectors of K dimensions, for posteriors over directions; no weights.

        p(z) = Gamma(K / 2) / (2 pi**(K / 2))

    Its KL from `VonMisesFisher` and `PowerSpherical` posteriors has a closed form.

    Args:
        event_shape: Number of dimensions, K >= 2; by default that of the model's encoder.
        **kwargs: See `Prior`.

    Raises:
        ValueError: `event_shape` is not one dimension of at least two.

    Example:
        >>> p = tfvae.priors.Hyperspherical(2).distribution()
        >>> round(float(p.prob([1.0, 0.0])), 4)  # 1 / (2 pi)
        0.1592

    Reference: Hyperspherical Variational Auto-Encoders (Davidson et al., 2018),
    https://arxiv.org/abs/1804.00891
    """

    def distribution(self, context: Tensor | None = None) -> Distribution:
        """Returns `tfd.SphericalUniform`, batch shape `[]`, event shape `[K]`."""
        return tfd.SphericalUniform(
            self.known_event_shape()[0], dtype=tf.as_dtype(self.density_dtype)
        )

    def _build(self, event_shape: Shape) -> None:
        if len(event_shape) != 1 or event_shape[0] < 2:
            raise ValueError(
                "`Hyperspherical` is over unit vectors of at least two dimensions. "
                f"Received: event_shape={event_shape}"
            )
