"""What labels say of the posterior of a latent node."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from tfvae._typing import Tensor, register
from tfvae.objectives.base import Expectation
from tfvae.terms import Terms

__all__ = ["Supervised"]


@register
@dataclass(frozen=True)
class Supervised(Expectation):
    """Log-likelihood of the labels that the data gives of latent nodes, under their posterior.

        bound = log q(y|x)   where y is given, 0 elsewhere

    An addend: labels alone say nothing to q(y|x) by way of the ELBO, in which they take its place.
    The weight is usually that of a classifier beside a density of many dimensions, from 1 to 100:
    `ELBO() + 50.0 * Supervised()`.

    Call arguments:
        terms: `Terms`; reads `log_q_labels` `[B]`.
        step: Not used.

    Returns:
        bound: `[B]`, nats.

    Raises:
        ValueError: The model has no partly observed node.

    Example:
        >>> from tfvae.demo import terms
        >>> labelled = terms._replace(log_q_labels=tf.fill([20], -0.5))
        >>> float(tfvae.objectives.Supervised()(labelled)[0])
        -0.5

    Reference: Semi-supervised Learning with Deep Generative Models (Kingma et al., 2014),
    equation 9, https://arxiv.org/abs/1406.5298
    """

    is_bound = False

    def __call__(self, terms: Terms, step: int | Tensor = 0) -> Tensor:
        del step
        if terms.log_q_labels is None:
            raise ValueError(
                "`Supervised` learns from labels of latent nodes, and this model is given none. "
                'Pass `partly_observed=["y"]` to `tfvae.DirectedModel`, or leave `Supervised` out.'
            )
        return tf.identity(terms.log_q_labels)
