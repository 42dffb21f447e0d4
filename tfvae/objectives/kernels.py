"""Kernels k(a, b) between draws of z."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from tfvae._config import Configured, check_amount
from tfvae._typing import Tensor, register

__all__ = ["RBF", "InverseMultiquadratic", "Kernel"]


class Kernel(Configured):
    """Abstract positive definite function of two vectors.

    Call arguments:
        a: `[..., M, K]`.
        b: `[..., N, K]`.

    Returns:
        k(a_m, b_n) `[..., M, N]`.
    """

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class _Stationary(Kernel):
    """Abstract kernel of the distance between two vectors."""

    length_scale: float | None = None

    def __post_init__(self) -> None:
        if self.length_scale is not None:
            check_amount("length_scale", self.length_scale, positive=True)

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        difference = tf.expand_dims(a, -2) - tf.expand_dims(b, -3)  # [..., M, N, K]
        size = tf.cast(tf.shape(a)[-1], a.dtype)
        scale = size if self.length_scale is None else tf.cast(self.length_scale, a.dtype) ** 2
        return self._of_square(tf.reduce_sum(tf.square(difference), axis=-1) / scale)

    def _of_square(self, square: Tensor) -> Tensor:
        raise NotImplementedError


@register
@dataclass(frozen=True)
class RBF(_Stationary):
    """k(a, b) = exp(-|a - b|**2 / (2 length_scale**2)): sees near distances alone.

    Args:
        length_scale: Above zero; None takes sqrt(K), for latents of about unit variance.

    Raises:
        ValueError: `length_scale` is not above zero.

    Example:
        >>> tfvae.objectives.RBF()(tf.zeros([3, 2]), tf.ones([5, 2])).shape
        TensorShape([3, 5])

    Reference: A Kernel Two-Sample Test (Gretton et al., 2012),
    https://jmlr.org/papers/v13/gretton12a.html
    """

    def _of_square(self, square: Tensor) -> Tensor:
        return tf.exp(-0.5 * square)


@register
@dataclass(frozen=True)
class InverseMultiquadratic(_Stationary):
    """k(a, b) = 1 / (1 + |a - b|**2 / (2 length_scale**2)): its tails see outliers too.

    Args:
        length_scale: Above zero; None takes sqrt(K), for latents of about unit variance.

    Raises:
        ValueError: `length_scale` is not above zero.

    Example:
        >>> tfvae.objectives.InverseMultiquadratic(2.0)(tf.zeros([3, 2]), tf.ones([5, 2])).shape
        TensorShape([3, 5])

    Reference: Wasserstein Auto-Encoders (Tolstikhin et al., 2018),
    https://arxiv.org/abs/1711.01558
    """

    def _of_square(self, square: Tensor) -> Tensor:
        return 1.0 / (1.0 + 0.5 * square)
