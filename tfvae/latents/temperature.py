"""Samples of a model whose prior is made narrower or wider."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._config import check_amount, check_count
from tfvae._random import fold_in
from tfvae._typing import Distribution, Seed, Tensor
from tfvae.data.spec import CONTEXT
from tfvae.distributions import NormalMixture
from tfvae.distributions.wrappers import BatchBroadcast, Independent, MixtureSameFamily
from tfvae.latents.codes import check_latents
from tfvae.latents.traversals import decoded
from tfvae.models import LatentVariableModel

__all__ = ["TemperedSamples", "sample_at", "tempered"]

tfd = tfp.distributions


@dataclass(frozen=True)
class TemperedSamples:
    """New data of a model at a temperature.

    Attributes:
        z: `[N, *E]`.
        means: Observed node → the centre of p(x|z) `[N, *x_event]`.
    """

    z: np.ndarray
    means: dict[str, np.ndarray]


def sample_at(
    model: LatentVariableModel,
    num_samples: int,
    temperature: float,
    seed: Seed = None,
    *,
    context: Any = None,
) -> TemperedSamples:
    """Draws z from the prior with its scales times a temperature, and decodes it.

    Below one, samples are more alike and mostly cleaner; at one they are those of the model. In a
    hierarchy each level is drawn so, given those above it.

    Args:
        model: Any model with latents.
        num_samples: Number of draws, N.
        temperature: > 0; what scales of Gaussians are multiplied with, and logits of categories
            divided by.
        seed: Int or pair of ints; None advances the model's seed generator.
        context: As in `model.sample`: `[N, ...]`, or `[1, ...]` for all, for a model of p(x|c).

    Returns:
        `TemperedSamples`.

    Raises:
        TypeError: It is not known what the prior's family is at another temperature.
        ValueError: The model has no latents, a number is too small, or `context` does not fit.

    Example:
        >>> from tfvae.demo import vae
        >>> tfvae.latents.sample_at(vae, 4, 0.7, seed=0).means["x"].shape
        (4, 8, 8, 1)

    Reference: Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma and Dhariwal, 2018),
    section 6, https://arxiv.org/abs/1807.03039
    """
    check_latents(model)
    num_samples = check_count("num_samples", num_samples)
    check_amount("temperature", temperature, positive=True)
    seed = model.make_seed(seed)
    if context is not None:
        context = tf.convert_to_tensor(context)
        if context.shape.rank == 0 or context.shape[0] not in (1, num_samples):
            raise ValueError(
                "`context` must have one row per draw, or one row for all. Received: "
                f"num_samples={num_samples}, context of shape {list(context.shape)}"
            )
        context = tf.broadcast_to(context, [num_samples, *context.shape[1:]])
    # What else z depends on is drawn too, as it is, and checks that a context is there.
    drawn = model.generate(num_samples, fold_in(seed, 0), context)
    parts: dict[str, Any] = {name: drawn[name] for name in model.graph.observed}
    if context is not None:
        parts[CONTEXT] = context
    prior = model.graph.levels(model.prior_of(model.data.as_batch(parts)))
    whole = prior.batch_shape.rank > 0
    draws = prior.draw(1 if whole else num_samples, fold_in(seed, 1), _drawing(temperature))
    z = tf.concat([tf.reshape(draws.values[n], [num_samples, -1]) for n in prior.levels], axis=-1)
    z = tf.reshape(z, [num_samples, *model.latent_shape])
    return TemperedSamples(z.numpy(), decoded(model, z, {} if context is None else parts))


def _drawing(temperature: float) -> Any:
    def draw(distribution: Distribution, num_samples: Any, seed: Tensor) -> tuple[Tensor, Tensor]:
        z = tempered(distribution, temperature).sample(num_samples, seed=seed)
        return z, tf.zeros(tf.shape(z)[: z.shape.rank - len(distribution.event_shape)], z.dtype)

    return draw


@functools.singledispatch
def tempered(distribution: Distribution, temperature: float) -> Distribution:
    """Returns a distribution with scales times, or logits over, a temperature.

    Of mixtures the components are narrowed and the weights stay, of flows the base is. A family of
    your own takes part by `tempered.register`.

    Args:
        distribution: A prior, or the prior of one level.
        temperature: > 0.

    Raises:
        TypeError: The family is not known.

    Example:
        >>> from tfvae.latents import tempered
        >>> float(tempered(tfd.Normal(1.0, 2.0), 0.5).stddev())
        1.0
    """
    del temperature
    raise TypeError(
        f"It is not known what a {type(distribution).__name__} is at a temperature. Say so by "
        "`tfvae.latents.tempered.register(Family)`: a function of it and a number."
    )


@tempered.register(tfd.Normal)
def _(distribution: Distribution, temperature: float) -> Distribution:
    return tfd.Normal(distribution.loc, temperature * distribution.scale)


@tempered.register(tfd.MultivariateNormalDiag)
@tempered.register(tfd.MultivariateNormalTriL)
def _(distribution: Distribution, temperature: float) -> Distribution:
    factor = temperature * distribution.scale.to_dense()
    return tfd.MultivariateNormalTriL(distribution.mean(), factor)


@tempered.register(tfd.MultivariateNormalLinearOperator)
def _(distribution: Distribution, temperature: float) -> Distribution:
    # Of a scale R^T Q^T, Q orthogonal, the covariance is R^T R.
    _, upper = tf.linalg.qr(tf.linalg.matrix_transpose(distribution.scale.to_dense()))
    factor = temperature * tf.linalg.matrix_transpose(upper)
    return tfd.MultivariateNormalTriL(distribution.mean(), factor)


@tempered.register(tfd.MultivariateNormalDiagPlusLowRankCovariance)
def _(distribution: Distribution, temperature: float) -> Distribution:
    diagonal, factor = distribution.cov_diag_factor, distribution.cov_perturb_factor
    narrow = {
        "cov_diag_factor": temperature**2 * diagonal,
        "cov_perturb_factor": None if factor is None else temperature * factor,
    }
    return type(distribution)(distribution.loc, **narrow)


@tempered.register(NormalMixture)
def _(distribution: Distribution, temperature: float) -> Distribution:
    loc, scale = distribution.loc, temperature * distribution.scale
    return NormalMixture(distribution.logits, loc, scale)


@tempered.register(tfd.Categorical)
@tempered.register(tfd.OneHotCategorical)
@tempered.register(tfd.Bernoulli)
def _(distribution: Distribution, temperature: float) -> Distribution:
    logits = distribution.logits_parameter() / temperature
    return distribution.copy(logits=logits, **_without_probs(distribution))


def _without_probs(distribution: Distribution) -> dict[str, None]:
    return {"probs": None} if "probs" in distribution.parameters else {}


@tempered.register(Independent)
def _(distribution: Distribution, temperature: float) -> Distribution:
    inner = tempered(distribution.distribution, temperature)
    return tfd.Independent(inner, distribution.reinterpreted_batch_ndims)


@tempered.register(BatchBroadcast)
def _(distribution: Distribution, temperature: float) -> Distribution:
    inner = tempered(distribution.distribution, temperature)
    return tfd.BatchBroadcast(inner, distribution.batch_shape_tensor())


@tempered.register(MixtureSameFamily)
def _(distribution: Distribution, temperature: float) -> Distribution:
    components = tempered(distribution.components_distribution, temperature)
    return distribution.copy(components_distribution=components)


@tempered.register(tfd.TransformedDistribution)
def _(distribution: Distribution, temperature: float) -> Distribution:
    inner = tempered(distribution.distribution, temperature)
    return tfd.TransformedDistribution(inner, distribution.bijector)


@tempered.register(tfd.VonMisesFisher)
@tempered.register(tfd.PowerSpherical)
def _(distribution: Distribution, temperature: float) -> Distribution:
    # A concentration is an inverse variance.
    concentration = distribution.concentration / temperature**2
    return type(distribution)(distribution.mean_direction, concentration)


@tempered.register(tfd.SphericalUniform)
def _(distribution: Distribution, temperature: float) -> Distribution:
    del temperature
    return distribution
