"""KL divergences between hierarchies, level by level."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._typing import Shape, Tensor
from tfvae.distributions.hierarchy import Hierarchy
from tfvae.distributions.kl import closed_form_kl
from tfvae.distributions.levels import Conditional, LevelDraws

__all__ = ["LevelRates", "level_rates"]

tfd = tfp.distributions


class LevelRates(NamedTuple):
    """Scores of draws level by level.

    Attributes:
        log_p: log p(z_l|...) `[S, B]` by name, nats.
        rates: The rate of each level `[B]` by name, nats.
        closed: Whether all rates are means of closed forms.
        read: The levels whose draws closed forms depend on: the gradient of their mean goes
            through these draws, or lacks a term.
    """

    log_p: dict[str, Tensor]
    rates: dict[str, Tensor]
    closed: bool
    read: frozenset[str]


def level_rates(q: Hierarchy, p: Hierarchy, draws: LevelDraws) -> LevelRates:
    """Scores draws `q.draw(...)` level by level.

        rate_l = E_q[log q(z_l|...) - log p(z_l|...)],   sum_l rate_l = KL(q || p)

    Where z_l is independent, under q, of what it depends on under p, given what it depends on under
    q, that is the mean of the conditional KL, which is taken in closed form where there is one: of
    less variance than the mean over draws of z_l. Top-down posteriors are such, bottom-up ones are
    not: their levels above depend on z_l.

    Args:
        q: Posterior, batch shape `[B]`.
        p: Prior, batch shape `[]` or `[B]`.
        draws: Of q.
    """
    values, log_q, q_levels = draws.values, draws.log_probs, draws.conditionals
    p_levels = p.conditionals(values)
    log_p, rates, closed, read = {}, {}, True, set()
    for name, value in values.items():
        event = q._shapes[name]
        log_p[name] = p_levels[name].log_prob(value, event)
        kl = None
        if not q.descendants(name) & set(p.parents(name)):
            kl = _conditional_kl(q_levels[name], p_levels[name], event)
        closed = closed and (kl is not None or name in draws.summed)
        if kl is not None:
            read |= {*q.parents(name), *p.parents(name)}
        kl = log_q[name] - log_p[name] if kl is None else kl
        rates[name] = draws.expect(kl) if kl.shape.rank == 2 else kl
    return LevelRates(log_p, rates, closed, frozenset(read))


def _conditional_kl(q: Conditional, p: Conditional, event_shape: Shape) -> Tensor | None:
    """Returns KL(q || p) in closed form, `[B]` or `[S, B]`, None where there is none."""
    same = (q.leading is None) == (p.leading is None)
    if same or (p.leading is None and p.distribution.batch_shape.rank == 0):
        kl = closed_form_kl(q.distribution, p.distribution)
        return kl if kl is None or q.leading is None else tf.reshape(kl, q.leading)
    one, other = q.unfolded(event_shape), p.unfolded(event_shape)
    if one is None or other is None:
        return None
    axes = list(range(-len(event_shape), 0))
    return tf.reduce_sum(tfd.kl_divergence(one, other), axis=axes)
