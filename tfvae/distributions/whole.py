"""Families of whole numbers that give NaN for NaN."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._typing import Tensor

__all__ = ["CarefulCategorical", "CarefulPoisson"]

tfd = tfp.distributions


class _Careful:
    """Mixin that scores NaN as NaN, where TFP takes it for an impossible or a wild number."""

    __init__: Any

    def _log_prob(self, x: Tensor) -> Tensor:
        base: Any = super()
        if not tf.as_dtype(x.dtype).is_floating:
            return base._log_prob(x)
        unknown = tf.math.is_nan(x)
        log_prob = base._log_prob(tf.where(unknown, tf.zeros_like(x), x))
        return tf.where(unknown, tf.cast(float("nan"), log_prob.dtype), log_prob)


class CarefulPoisson(_Careful, tfd.Poisson):
    """`tfd.Poisson`, to which the count NaN is not impossible but unknown.

    Args:
        **kwargs: See `tfd.Poisson`.

    Example:
        >>> from tfvae.distributions.whole import CarefulPoisson
        >>> CarefulPoisson(log_rate=0.0).log_prob([0.0, float("nan")]).numpy()
        array([-1., nan], dtype=float32)
    """


class CarefulCategorical(_Careful, tfd.Categorical):
    """`tfd.Categorical`, to which the number NaN is no category but unknown.

    Args:
        **kwargs: See `tfd.Categorical`.

    Example:
        >>> from tfvae.distributions.whole import CarefulCategorical
        >>> p = CarefulCategorical([0.0, 0.0], dtype=tf.float32)
        >>> p.log_prob([1.0, float("nan")]).numpy().round(2)
        array([-0.69,   nan], dtype=float32)
    """
