"""What `predict` and exports say of a point: its latents, and x as they make it again."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from tfvae._protocols import Described
from tfvae._typing import Distribution, Tensor
from tfvae.distributions.finite import num_states
from tfvae.distributions.hierarchy import Hierarchy
from tfvae.distributions.labelled import Labelled
from tfvae.distributions.parameters import parameters_of
from tfvae.distributions.statistics import centre, probabilities, statistic
from tfvae.graph.parts import CONTEXT

__all__ = ["describe", "describe_posterior", "parameters_of_nodes"]


def describe(model: Described, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns `z_mean`, `z_stddev` and `reconstruction` of each point, `[B, ...]`; draws nothing.

    Where latent nodes are told apart, of each its own, for categories `y_probs`, given the
    centres of the others that it depends on; of several observed nodes `x_reconstruction`.
    Without latent nodes `log_prob`, nats, and of one x that a context is given for, `mean` and
    `stddev` of p(x|c).

    Args:
        model: A built model.
        batch: `x` `[B, *x_event]`, and `context` for a model with one.

    Example:
        >>> from tfvae.demo import vae, x
        >>> from tfvae.graph.description import describe
        >>> sorted(describe(vae, {"x": x[:2]}))
        ['reconstruction', 'z_mean', 'z_stddev']
    """
    if not model.graph.latents:
        return _describe_observed(model, batch)
    q_z = model.encode(**batch)
    found = model.data.observed_parts(centre(model.decode(centre(q_z), batch.get(CONTEXT))))
    several = len(found) > 1
    return {
        **describe_posterior(model, q_z),
        **{f"{n}_reconstruction" if several else "reconstruction": v for n, v in found.items()},
    }


def describe_posterior(model: Described, q_z: Distribution) -> dict[str, Tensor]:
    """Returns `z_mean` and `z_stddev` `[B, *E]`, or those of each latent node told apart.

    Where a posterior has no mean, a fixed draw stands in for it; without a standard deviation
    there is no `z_stddev`. Of categories, `z_mean` is the most probable one, and their
    probabilities `z_probs` `[B, *E, L]` stand in place of `z_stddev`.

    Example:
        >>> from tfvae.demo import vae, x
        >>> from tfvae.graph.description import describe_posterior
        >>> describe_posterior(vae, vae.encode(x[:3]))["z_mean"].shape
        TensorShape([3, 2])
    """
    graph = model.graph
    if not (graph.tells_latents_apart and graph.latents):
        return {"z_mean": centre(q_z), **_spread(q_z, "z")}
    levels = graph.levels(q_z)
    values = levels.split(levels.centre())
    found: dict[str, Tensor] = {}
    for name, conditional in levels.conditionals(values).items():
        q = conditional.distribution
        found[f"{name}_mean"] = tf.reshape(values[name], [-1, *graph.shapes[name]])
        q = q.distribution if isinstance(q, Labelled) else q
        if probabilities(q) is not None or num_states(q) is None:
            found |= _spread(q, name)
    return found


def parameters_of_nodes(distribution: Distribution, name: str) -> dict[str, Tensor]:
    """Returns the parameters `[B, ...]` of a posterior or likelihood, beside what `describe` says.

    Of several nodes each has its own, given the centres of those that it depends on.

    Args:
        distribution: q(z|x) or p(x|z), batch shape `[B]`.
        name: What it is over: of several nodes each has its own name.

    Example:
        >>> from tfvae.demo import vae, x
        >>> from tfvae.graph.description import parameters_of_nodes
        >>> sorted(parameters_of_nodes(vae.encode(x[:3]), "z"))
        ['z_loc', 'z_scale_diag']
    """
    if not isinstance(distribution, Hierarchy):
        found = parameters_of(distribution).items()
        return {f"{name}_{parameter}": value for parameter, value in found}
    values = distribution.split(distribution.centre())
    return {
        f"{node}_{parameter}": value
        for node, conditional in distribution.conditionals(values).items()
        for parameter, value in parameters_of(conditional.distribution).items()
        if conditional.distribution.batch_shape.rank == 1
    }


def _describe_observed(model: Described, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    graph = model.graph
    found = {"log_prob": graph.log_evidence(model.data.as_parts(batch))}
    if len(graph.observed) > 1 or CONTEXT not in graph.generative[graph.observed[0]].reads:
        return found
    nothing = tf.zeros(tf.stack([tf.shape(batch["x"])[0], 0]))
    p_x = model.decode(nothing, batch[CONTEXT])
    return found | _statistics(p_x, {"mean": "mean", "stddev": "stddev"})


def _spread(q: Distribution, name: str) -> dict[str, Tensor]:
    """Returns the probabilities of categories; of numbers their standard deviation, if any."""
    probs = probabilities(q)
    if probs is not None:
        return {f"{name}_probs": probs}
    return _statistics(q, {"stddev": f"{name}_stddev"})


def _statistics(distribution: Distribution, names: Mapping[str, str]) -> dict[str, Tensor]:
    """Returns statistics under names of one's own, those that the distribution has."""
    found = {name: statistic(distribution, each) for each, name in names.items()}
    return {name: value for name, value in found.items() if value is not None}
