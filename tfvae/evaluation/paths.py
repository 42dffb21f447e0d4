"""Paths of densities from one that can be drawn from to p(x, z)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfvae._typing import Distribution, Tensor
from tfvae.distributions.reparameterised import sample
from tfvae.evaluation.proposals import Proposal
from tfvae.models import LatentVariableModel

__all__ = ["Path", "check_free", "path_of", "temperatures"]

# Half of the length of the sigmoid that temperatures are spaced along (Wu et al., 2017).
_STEEPNESS = 4.0

Batch = Mapping[str, Tensor]


class Path(NamedTuple):
    """Densities between a start and p(x, z), for some points of a batch.

        log f_t(z) = (1 - t) log start(z) + t log p(x, z) = log start(z) + t log_ratio(z)

    Attributes:
        start: Distribution of what f_0 is the density of, batch shape `[]` or `[P]`.
        log_ratio: From z `[S, P, *E]` to log p(x, z) - log start(z) `[S, P]`, nats.
        draw: From a seed to draws of the start, one for each point of the whole batch `[B, *E]`.
        num_points: B.
    """

    start: Distribution
    log_ratio: Callable[[Tensor], Tensor]
    draw: Callable[[Tensor], Tensor]
    num_points: Tensor

    def log_density(self, z: Tensor, temperature: Tensor) -> Tensor:
        """Returns log f_t(z) `[S, P]`, nats."""
        return self.start.log_prob(z) + temperature * self.log_ratio(z)

    def value_and_slope(self, z: Tensor, temperature: Tensor) -> tuple[Tensor, Tensor]:
        """Returns log f_t(z) `[S, P]`, nats, and its gradient `[S, P, *E]`."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(z)
            value = self.log_density(z, temperature)
        slope: Any = tape.gradient(value, z, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return value, slope


def temperatures(number: int) -> np.ndarray:
    """Returns where the path is stopped at, from 0 to 1, `[number + 1]`.

    They lie along a sigmoid, dense at both ends, where densities change most.

    Example:
        >>> from tfvae.evaluation.paths import temperatures
        >>> [f"{beta:.3f}" for beta in temperatures(4)]
        ['0.000', '0.105', '0.500', '0.895', '1.000']
    """
    sigmoid = np.tanh(0.5 * _STEEPNESS * np.linspace(-1.0, 1.0, number + 1))
    return (0.5 + 0.5 * sigmoid / sigmoid[-1]).astype("float32")


def check_free(model: LatentVariableModel) -> None:
    """Checks that all latents of a model take every real value.

    Raises:
        ValueError: They do not: Hamiltonian moves would leave where p(z) lies.
    """
    graph = model.graph
    if graph.partly_observed:
        raise ValueError(
            "Annealing moves all latent nodes, and knows nothing of values that the data gives of "
            f"{', '.join(graph.partly_observed)}. Use `tfvae.log_likelihood`."
        )
    for name in graph.latents:
        support = graph.supports[name]
        if support.whole:
            what = "takes whole numbers alone"
            remedy = (
                "Let the model sum over all states, which is exact, by a larger `max_states`, or "
                "use `tfvae.log_likelihood`."
            )
        elif support.norm is not None:
            what, remedy = "lies on a surface", "Use `tfvae.log_likelihood`."
        elif support.lower is not None or support.upper is not None or support.columns:
            what, remedy = "has bounds", "Use `tfvae.log_likelihood`."
        else:
            continue
        raise ValueError(
            "Annealing takes latents that may be any real number, which Hamiltonian moves go "
            f"through. Received: latent node `{name}` with a prior {support.likelihood}, which "
            f"{what}. {remedy}"
        )


def path_of(
    model: LatentVariableModel,
    batch: Batch,
    own: Batch,
    start: Proposal | None = None,
    points: Tensor | None = None,
) -> Path:
    """Returns the path from the prior, or another start, to p(x, z).

    Args:
        model: The model.
        batch: `x` `[B, ...]`, and `context` for a model with one.
        own: What the start knows of the points, by name `[B, ...]`.
        start: Where the path begins, None for the prior.
        points: Which of the points it is for `[P]`; None for all, and then P is B.
    """
    graph, whole = model.graph, _start_of(model, batch, own, start)
    num_points = tf.shape(batch["x"])[0]

    def draw(seed: Tensor) -> Tensor:
        return (
            sample(whole, 1, seed)[0] if whole.batch_shape.rank else sample(whole, num_points, seed)
        )

    if points is not None:
        batch, own = ({n: tf.gather(v, points) for n, v in p.items()} for p in (batch, own))
    first = whole if points is None else _start_of(model, batch, own, start)
    prior, parts = model.prior_of(batch), model.data.as_parts(batch)

    def log_likelihood(z: Tensor) -> Tensor:
        return graph.log_p_observed(parts, graph.split(z))

    def log_ratio(z: Tensor) -> Tensor:
        return log_likelihood(z) + prior.log_prob(z) - first.log_prob(z)

    ratio = log_likelihood if start is None else log_ratio
    return Path(first, ratio, draw, num_points)


def _start_of(
    model: LatentVariableModel, batch: Batch, own: Batch, start: Proposal | None
) -> Distribution:
    """Returns the distribution that a path begins at, batch shape `[]` or `[B]`."""
    return model.prior_of(batch) if start is None else start.distribution(model, batch, own)
