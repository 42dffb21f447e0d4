"""Likelihoods of values between zero and one."""

from __future__ import annotations

from typing import ClassVar

import tensorflow_probability as tfp

from tfvae._typing import Distribution, Tensor, register
from tfvae.distributions.open_support import OpenBeta
from tfvae.layers.base import IndependentLayer
from tfvae.layers.parameters import above

__all__ = ["ContinuousBernoulli", "IndependentBeta"]

tfd = tfp.distributions


@register
class ContinuousBernoulli(IndependentLayer):
    """Independent values from 0 to 1, ends included: the cross entropy with its normaliser.

        log p(x) = sum_j x_j log sigmoid(logits_j) + (1 - x_j) log sigmoid(-logits_j) + log C_j
        C_j = logits_j / tanh(logits_j / 2),   2 for logits_j = 0

    Args:
        event_shape: Shape of one draw, `E`.
        convert_to_tensor_fn: See `DistributionLayer`.
        validate_args: See `DistributionLayer`.
        **kwargs: See `DistributionLayer`.

    Returns:
        `tfd.Independent(tfd.ContinuousBernoulli)`, batch shape `[...]`, event shape `E`.

    Example:
        >>> p = tfvae.layers.ContinuousBernoulli((28, 28, 1))(tf.zeros([5, 784]))
        >>> float(p.mean()[0, 0, 0, 0])
        0.5

    Reference: The continuous Bernoulli (Loaiza-Ganem and Cunningham, 2019),
    https://arxiv.org/abs/1907.06845
    """

    @classmethod
    def _element(cls, logits: Tensor, *, validate_args: bool) -> Distribution:
        return tfd.ContinuousBernoulli(logits, dtype=logits.dtype, validate_args=validate_args)


@register
class IndependentBeta(IndependentLayer):
    """Independent values strictly between 0 and 1: shares, rates, probabilities.

        raw1, raw0 = split(params, 2, axis=-1)
        concentration1, concentration0 = min_concentration + softplus([raw1, raw0])
        p(x_j) proportional to x_j**(concentration1_j - 1) (1 - x_j)**(concentration0_j - 1)

    Args:
        event_shape: Shape of one draw, `E`.
        convert_to_tensor_fn: See `DistributionLayer`.
        validate_args: See `DistributionLayer`.
        min_concentration: Floor of both concentrations; at 1 and above densities have no poles.
        **kwargs: See `DistributionLayer`.

    Returns:
        `tfd.Independent(tfd.Beta)`, batch shape `[...]`, event shape `E`.

    Example:
        >>> p = tfvae.layers.IndependentBeta(3)(tf.zeros([5, 6]))
        >>> float(p.mean()[0, 0])
        0.5
    """

    num_parts = 2
    floors: ClassVar = {"min_concentration": 1e-3}

    @classmethod
    def _element(
        cls, raw1: Tensor, raw0: Tensor, *, validate_args: bool, min_concentration: float
    ) -> Distribution:
        return OpenBeta(
            above(min_concentration, raw1),
            above(min_concentration, raw0),
            validate_args=validate_args,
        )
