"""Gradients through draws of zeros and ones, by that of something continuous in their place."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._config import NUMBERS
from tfvae._typing import Distribution, Tensor, register
from tfvae.distributions.factors import as_factors
from tfvae.objectives.draws import zeros_with_gradient
from tfvae.objectives.gradients import GradientEstimator, named
from tfvae.terms import Draws

__all__ = ["Relaxed", "StraightThrough"]

tfd = tfp.distributions


@register
@dataclass(frozen=True)
class StraightThrough(GradientEstimator):
    """Draws of Bernoulli or one-hot posteriors, with the gradient of their probabilities.

        z drawn from q(z|x),   dz / dphi := dE[z] / dphi

    Biased, unless p(x|z) is linear in z; little noise. The rate has to have a closed form.

    Example:
        >>> gradient = tfvae.objectives.StraightThrough()
        >>> tfvae.objectives.ELBO(gradient=gradient).num_samples
        1

    Reference: Estimating or Propagating Gradients Through Stochastic Neurons (Bengio et al.,
    2013), https://arxiv.org/abs/1308.3432
    """

    needs_closed_rate = True

    def check(self, q_z: Distribution) -> None:
        """Checks that the posterior is a Bernoulli or one-hot one.

        Raises:
            ValueError: It is another.
        """
        if _binary(q_z) is None and _one_hot(q_z) is None:
            raise ValueError(
                f"`gradient={type(self).__name__}()` is for posteriors over zeros and ones: "
                "`IndependentBernoulli` and `OneHotCategorical`. "
                f"Received: {named(q_z)}. Choose `Reparameterised()` or `LeaveOneOut()`."
            )

    def _draw(self, q_z: Distribution, num_samples: int, seed: Tensor) -> Draws:
        z = tf.cast(tf.stop_gradient(q_z.sample(num_samples, seed=seed)), _logits(q_z).dtype)
        z = z + zeros_with_gradient(1.0, tf.cast(q_z.mean(), z.dtype))
        return Draws(z, q_z.log_prob(z))


@register
@dataclass(frozen=True)
class Relaxed(StraightThrough):
    """Draws of Bernoulli or one-hot posteriors, with the gradient of a relaxed draw of same noise.

        z = one_hot(argmax(logits + noise)),   dz / dphi := d softmax((logits + noise) / t) / dphi

    Noise is standard Gumbel, or standard logistic for a sigmoid in place of the softmax. Biased,
    the less the lower the temperature, and the noisier. The rate has to have a closed form. For z
    that is relaxed itself, end the encoder with `layers.RelaxedOneHotCategorical`.

    Args:
        temperature: t, above zero.

    Raises:
        ValueError: `temperature` is not above zero.

    Example:
        >>> gradient = tfvae.objectives.Relaxed(temperature=0.3)
        >>> tfvae.objectives.ELBO(gradient=gradient).num_samples
        1

    References:
        Categorical Reparameterization with Gumbel-Softmax (Jang et al., 2017),
        https://arxiv.org/abs/1611.01144
        The Concrete Distribution (Maddison et al., 2017), https://arxiv.org/abs/1611.00712
    """

    temperature: float = 0.5

    def __post_init__(self) -> None:
        if not (isinstance(self.temperature, NUMBERS) and self.temperature > 0.0):
            raise ValueError(f"`temperature` must be > 0. Received: temperature={self.temperature}")

    def _draw(self, q_z: Distribution, num_samples: int, seed: Tensor) -> Draws:
        logits = _logits(q_z)
        if _one_hot(q_z) is None:
            noise = tfd.Logistic(tf.zeros_like(logits), 1.0).sample(num_samples, seed=seed)
            z = tf.cast(logits + noise > 0.0, logits.dtype)
            soft = tf.sigmoid((logits + noise) / self.temperature)
        else:
            noise = tfd.Gumbel(tf.zeros_like(logits), 1.0).sample(num_samples, seed=seed)
            z = tf.one_hot(tf.argmax(logits + noise, axis=-1), logits.shape[-1], dtype=logits.dtype)
            soft = tf.nn.softmax((logits + noise) / self.temperature)
        z = z + zeros_with_gradient(1.0, soft)
        return Draws(z, q_z.log_prob(z))


def _binary(q_z: Distribution) -> Distribution | None:
    factors = as_factors(q_z)
    return factors if isinstance(factors, tfd.Bernoulli) else None


def _one_hot(q_z: Distribution) -> Distribution | None:
    """Returns the one-hot distribution of `q_z`, or of its independent elements."""
    inner = q_z.distribution if isinstance(q_z, tfd.Independent) else q_z
    return inner if isinstance(inner, tfd.OneHotCategorical) else None


def _logits(q_z: Distribution) -> Tensor:
    found = _one_hot(q_z)
    found = _binary(q_z) if found is None else found
    return found.logits_parameter()  # type: ignore[union-attr]
