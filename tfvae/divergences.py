"""Kullback-Leibler divergences: closed form where one exists, Monte Carlo by name elsewhere."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfvae._random import stateless_seed
from tfvae._typing import Distribution, Seed, Tensor
from tfvae.distributions.kl import closed_form_kl

__all__ = ["KL", "closed_form_kl", "kl_divergence", "monte_carlo_kl"]


class KL(NamedTuple):
    """A Kullback-Leibler divergence and how it was found.

    Attributes:
        value: KL(q || p) `[B]`, nats.
        standard_error: `[B]`, nats: zero for a closed form.
        num_samples: Draws behind a Monte Carlo estimate; None for a closed form.
    """

    value: Tensor
    standard_error: Tensor
    num_samples: int | None

    @property
    def is_exact(self) -> bool:
        """True for a closed form, False for a Monte Carlo estimate."""
        return self.num_samples is None


def monte_carlo_kl(
    q: Distribution, p: Distribution, num_samples: int = 1000, seed: Seed = None
) -> KL:
    """Estimates KL(q || p) as the mean of log q(z) - log p(z) over draws z ~ q.

    Args:
        q: Batch shape `[B]`.
        p: Batch shape that broadcasts with `[B]`.
        num_samples: Number of draws, at least 2.
        seed: Int or pair of ints; None draws from TensorFlow's global generator.

    Returns:
        `KL` with its standard error.

    Raises:
        ValueError: `num_samples` is smaller than 2.
    """
    if num_samples < 2:
        raise ValueError(
            f"A standard error needs `num_samples` >= 2. Received: num_samples={num_samples}"
        )
    seed = None if seed is None else stateless_seed(seed)
    z, log_q = q.experimental_sample_and_log_prob(num_samples, seed=seed)
    log_ratio = log_q - p.log_prob(z)  # [S, B]
    root = tf.sqrt(tf.cast(num_samples - 1, log_ratio.dtype))
    return KL(
        value=tf.reduce_mean(log_ratio, axis=0),
        standard_error=tf.math.reduce_std(log_ratio, axis=0) / root,
        num_samples=num_samples,
    )


def kl_divergence(
    q: Distribution, p: Distribution, *, num_samples: int = 1000, seed: Seed = None
) -> KL:
    """Returns KL(q || p): the closed form where one exists, else an estimate that says so.

    Args:
        q: Batch shape `[B]`, event shape `E`.
        p: Batch shape that broadcasts with `[B]`, event shape `E`.
        num_samples: Draws of the estimate, where one is needed.
        seed: Seed of the estimate, where one is needed.

    Returns:
        `KL`: `value` `[B]` in nats, `standard_error` `[B]`, and `is_exact`.

    Raises:
        ValueError: The event shapes differ.

    Example:
        >>> q = tfd.MultivariateNormalDiag([1.0, 0.0], [1.0, 1.0])
        >>> p = tfd.Independent(tfd.Normal([0.0, 0.0], 1.0), 1)
        >>> kl = tfvae.divergences.kl_divergence(q, p)
        >>> float(kl.value), kl.is_exact
        (0.5, True)

    Reference: Elements of Information Theory, 2nd ed. (Cover and Thomas, 2006), section 2.3.
    """
    value = closed_form_kl(q, p)
    if value is None:
        return monte_carlo_kl(q, p, num_samples, seed)
    return KL(value, tf.zeros_like(value), None)
