"""The bound by sums over all states of z, and the evidence itself."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from tfvae._config import check_amount
from tfvae._typing import Distribution, Tensor, register
from tfvae.distributions.finite import num_states
from tfvae.objectives.base import Expectation
from tfvae.objectives.draws import zeros_with_gradient
from tfvae.objectives.schedules import Schedule, is_heavy, value_at
from tfvae.terms import Draws, Terms

__all__ = ["Enumerated"]


@register
@dataclass(frozen=True)
class Enumerated(Expectation):
    """Evidence lower bound, or the evidence itself, by sums over all states of z: never by draws.

        bound = sum_z q(z|x) (log p(x|z) - beta (log q(z|x) - log p(z)))
        bound = log sum_z p(x|z) p(z)                                    with `marginal=True`

    `ELBO` sums too where it can, and draws elsewhere; this one is refused where z is not summed
    over. With `marginal=True` the maximised quantity is log p(x), which does not depend on
    q(z|x): the encoder learns nothing, and the ELBO that is logged stays below by its gap.

    Args:
        beta: Weight of the rate, >= 0: a number or a `Schedule`.
        marginal: Maximises log p(x) in place of its bound.

    Call arguments:
        terms: `Terms` of all states; reads the scores `[S, B]`.
        step: Number of updates made so far.

    Returns:
        bound: `[B]`, nats.

    Raises:
        ValueError: `beta` is negative, or not 1 beside `marginal=True`; at `compile`, z is not
            summed over.

    Example:
        >>> tfvae.objectives.Enumerated(marginal=True).takes_all_states
        True

    Reference: Pyro: Deep Universal Probabilistic Programming (Bingham et al., 2019),
    https://jmlr.org/papers/v20/18-403.html, whose `TraceEnum_ELBO` sums over states of the guide,
    or of the model.
    """

    beta: float | Schedule = 1.0
    marginal: bool = False

    needs_all_states = True

    @property
    def is_bound(self) -> bool:
        """Whether the weight of the rate is a number of one or more."""
        return is_heavy(self.beta)

    def __post_init__(self) -> None:
        check_amount("beta", self.beta, Schedule)
        if self.marginal and self.beta != 1.0:
            raise ValueError(
                "`beta` weighs the rate, which log p(x) has none of. Expected: beta=1.0 beside "
                f"`marginal=True`. Received: beta={self.beta!r}"
            )

    def __call__(self, terms: Terms, step: int | Tensor = 0) -> Tensor:
        if terms.log_weights is None:
            raise ValueError(_refusal(terms.q_z))
        if self.marginal:
            # A gradient of zero, and not none: optimizers warn of weights without any.
            idle = zeros_with_gradient(0.0, terms.log_q_z)
            return terms.log_evidence + tf.reduce_sum(idle, axis=0)
        beta = tf.cast(value_at(self.beta, step), terms.log_p_x.dtype)
        return -terms.distortion - beta * terms.sampled_rate

    def draw(self, q_z: Distribution, num_samples: int, seed: Tensor) -> Draws:
        """Refuses: a model calls it only where it does not sum over all states.

        Raises:
            ValueError: Always.
        """
        del num_samples, seed
        raise ValueError(_refusal(q_z))


def _refusal(q_z: Distribution) -> str:
    states = num_states(q_z)
    name = type(q_z).__name__
    what = "`Enumerated` sums over all states of z, and this model draws z."
    if states is None:
        return (
            f"{what} Expected: a posterior of finitely many states, such as `OneHotCategorical`. "
            f"Received: {name}, of no finite or known number of states. End the encoder with "
            "such a layer, or use `ELBO()`, which takes draws."
        )
    return (
        f"{what} Received: {name} of {states} states. Make a `VAE` or `DirectedModel` with "
        f"`max_states={states}` or more (the number of all latents jointly), or use "
        "`ELBO(num_samples=2, gradient=LeaveOneOut())`, which takes draws."
    )
