"""The likely cause of a collapse, told by what can be measured, and what to do about it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae.distributions import Autoregressive
from tfvae.models import LatentVariableModel
from tfvae.objectives.schedules import value_at

__all__ = ["Cause", "Facts", "likely_cause"]

# Nats by which log p(x|z) changes with z, below which p(x|z) does not look at z.
_IGNORED = 0.2

Cause = tuple[str, str]


@dataclass(frozen=True)
class Facts:
    """What the causes are told apart by.

    Attributes:
        model: The model.
        gap: log p(x) - ELBO, nats.
        rate: Mean KL(q(z|x) || p(z)), nats.
        on_floor: Share of the entries of x whose likelihood has its scale on the floor.
        used: Points that each component of the prior takes, `[M]`; one zero for other priors.
        spread: Standard deviation of log p(x|z) over draws of z, nats: zero where p(x|z) does not
            look at z, whatever q(z|x) does.
    """

    model: LatentVariableModel
    gap: float
    rate: float
    on_floor: float
    used: np.ndarray
    spread: float


def likely_cause(facts: Facts) -> Cause:
    """Returns the first cause that the facts speak for, and its remedy."""
    return next(found for check in _CAUSES if (found := check(facts)) is not None)


def _weight(facts: Facts) -> Cause | None:
    beta = _beta(facts.model)
    if beta is None or beta <= 1.0:
        return None
    return (
        f"the rate has a weight of {beta:g}, which makes what z could say cost more than it saves",
        "a smaller `beta`, or `TargetRate(nats)` for a rate that is held",
    )


def _young(facts: Facts) -> Cause | None:
    beta = _beta(facts.model)
    if beta is None or beta >= 1.0:
        return None
    return (
        f"z has not begun to say anything, with a weight of {beta:g} on its rate",
        "more epochs, or a larger learning rate",
    )


def _decoder(facts: Facts) -> Cause | None:
    if facts.spread > _IGNORED or not _sees_x(facts.model):
        return None
    return (
        "the decoder is autoregressive, and predicts x from x without z: another z changes "
        f"log p(x|z) by {facts.spread:.2f} nats",
        "`FreeBits`, `TargetRate(nats)`, or a decoder that sees less of x",
    )


def _floor(facts: Facts) -> Cause | None:
    if facts.on_floor < 0.5:
        return None
    return (
        f"{facts.on_floor:.0%} of the scales of p(x|z) lie on their floor `min_scale`, so that a "
        "better mean than the constant one is not worth its rate",
        "a smaller `min_scale`, or data scaled up to it",
    )


def _components(facts: Facts) -> Cause | None:
    if len(facts.used) < 2:
        return None
    shares = facts.used / np.sum(facts.used)
    entropy = -np.sum(shares[shares > 0.0] * np.log(shares[shares > 0.0]))
    if math.exp(entropy) > 1.5:
        return None
    return (
        f"of {len(shares)} components of the prior all points use one, the others are dead",
        "pseudo-inputs, or means, that start from data: `VampPrior(k, pseudo_inputs=x[:k])`",
    )


def _posterior(facts: Facts) -> Cause | None:
    gap = facts.gap
    if gap < max(0.5, facts.rate) or facts.spread < _IGNORED:
        return None
    return (
        f"the ELBO lies {gap:.1f} nats below log p(x): p(x|z) uses z, and q(z|x) does not follow, "
        "because it lags behind or because its family is too weak",
        "more updates of the encoder, `scheme=Alternating(5)`, or a richer posterior such as "
        "`MultivariateNormalTriL`",
    )


def _early(facts: Facts) -> Cause | None:
    del facts  # what is left where nothing else is seen
    return (
        "the rate has had its whole weight before p(x|z) learned to use z",
        "a warm-up, `ELBO(beta=Linear(0.0, 1.0, steps=...))`, or `FreeBits`",
    )


# In order: what is known for sure comes before what is inferred.
_CAUSES: list[Callable[[Facts], Cause | None]] = [
    _weight,
    _young,
    _decoder,
    _floor,
    _components,
    _posterior,
    _early,
]


def _beta(model: LatentVariableModel) -> float | None:
    """Returns the weight of the rate in the model's objective as it stands, None without one."""
    objective: Any = getattr(model, "objective", None)
    for index, part in enumerate(getattr(objective, "objectives", [objective])):
        beta = getattr(part, "beta", None)
        if beta is None:
            continue
        prefix = "" if part is objective else f"{index}_"
        level = model.objective_state.get(f"{prefix}beta_level")  # of a schedule that learns
        return float(value_at(beta, model.optimizer.iterations) if level is None else level)
    return None


def _sees_x(model: LatentVariableModel) -> bool:
    z = tf.zeros([1, *model.latent_shape])
    context = model.data.context_shape
    p_x: Any = model.decode(z, None if context is None else tf.zeros([1, *context]))
    while not isinstance(p_x, Autoregressive):
        p_x = getattr(p_x, "distribution", None)
        if p_x is None:
            return False
    return True
