"""A Gaussian of full covariance whose densities stay finite."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._typing import Tensor

__all__ = ["FullNormal"]

tfd = tfp.distributions

# Squares and sums of such numbers, and their products with each other, are floats.
_MOST = 1e15


class FullNormal(tfd.MultivariateNormalTriL):
    """`tfd.MultivariateNormalTriL` whose log-densities and gradients are finite for any factor.

    Whitening multiplies by off-diagonal over diagonal entries once per row, which leaves the range
    of float32 where the diagonal is tiny and the rest huge. Whitened values and gradients are
    held to 1e15 in size here; those of other factors are the same as TFP's. NaN stays NaN.

    Args:
        loc: Means `[..., K]`.
        scale_tril: Lower triangular factors `[..., K, K]` with a positive diagonal.
        validate_args: See `tfd.Distribution`.
        allow_nan_stats: See `tfd.Distribution`.
        name: See `tfd.Distribution`.

    Example:
        >>> from tfvae.distributions import FullNormal
        >>> FullNormal([0.0, 0.0], [[1.0, 0.0], [1.0, 1.0]]).covariance()[1, 1].numpy().item()
        2.0

    Reference: Numerical Linear Algebra (Trefethen and Bau, 1997), lecture 17.
    """

    def __init__(
        self,
        loc: Any,
        scale_tril: Any,
        validate_args: bool = False,
        allow_nan_stats: bool = True,
        name: str = "FullNormal",
    ) -> None:
        parameters = dict(locals())
        super().__init__(loc, scale_tril, validate_args, allow_nan_stats, name=name)
        self._parameters = self._no_dependency(parameters)

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: int | None = None) -> dict[str, Any]:
        return tfd.MultivariateNormalTriL._parameter_properties(dtype, num_classes)

    def _log_prob(self, x: Tensor) -> Tensor:
        z = _whitened(self.scale.to_dense(), x - self.loc)
        log_det = tf.reduce_sum(tf.math.log(self.scale.diag_part()), axis=-1)
        constant = 0.5 * math.log(2.0 * math.pi) * tf.cast(tf.shape(z)[-1], z.dtype)
        return -0.5 * tf.reduce_sum(tf.square(z), axis=-1) - log_det - constant


def _whitened(tril: Tensor, x: Tensor) -> Tensor:
    """Returns `inverse(tril) @ x`, `[..., K]`, finite and with finite gradients.

    But for what comes from NaN: that is NaN.
    """

    def solve(tril: Tensor, x: Tensor) -> Tensor:
        # The operator folds axes of `x` that `tril` lacks into columns, and copies no factor.
        return tf.linalg.LinearOperatorLowerTriangular(tril).solvevec(x)

    def marked(tril: Tensor, x: Tensor) -> Tensor:
        # NaN where an input is, `[..., K]`, but not where whitening overflows.
        return x + tf.reduce_sum(tril, axis=-1)

    @tf.custom_gradient
    def whiten(tril: Tensor, x: Tensor) -> tuple[Tensor, Any]:
        def gradient(dz: Tensor) -> list[Tensor]:
            with tf.GradientTape(persistent=True) as tape:
                tape.watch([tril, x])
                z, mark = solve(tril, x), marked(tril, x)
            lost: Any = tf.where(tf.math.is_nan(dz), dz, tf.zeros_like(dz))
            found = tape.gradient(z, [tril, x], output_gradients=_held(dz))
            nans = tape.gradient(mark, [tril, x], output_gradients=lost)
            return [_held(each) + nan for each, nan in zip(found, nans, strict=True)]

        z, mark = solve(tril, x), marked(tril, x)
        return tf.where(tf.math.is_nan(mark), mark, _held(z)), gradient

    return whiten(tril, x)


def _held(values: Tensor) -> Tensor:
    values = tf.where(tf.math.is_nan(values), tf.zeros_like(values), values)
    return tf.clip_by_value(values, -_MOST, _MOST)
