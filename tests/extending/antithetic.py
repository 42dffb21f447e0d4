"""An estimator from outside: draws in mirrored pairs, of which noise cancels."""

from dataclasses import dataclass

import tensorflow as tf

from tfvae.distributions import as_diagonal_normal
from tfvae.objectives.gradients import GradientEstimator
from tfvae.terms import Draws


@dataclass(frozen=True)
class Antithetic(GradientEstimator):
    """Draws z = loc + scale * noise and loc - scale * noise, of diagonal Gaussians.

    Whatever of the gradient is odd in the noise has no variance.

    Reference: Antithetic and Monte Carlo kernel estimators (Wu et al., 2019), Differentiable
    Antithetic Sampling for Variance Reduction in Stochastic Variational Inference,
    https://arxiv.org/abs/1810.02555
    """

    def check(self, q_z):
        super().check(q_z)
        if as_diagonal_normal(q_z) is None:
            raise ValueError(f"Mirrored draws are of diagonal Gaussians. Received: {q_z}")

    def check_count(self, num_samples):
        if num_samples % 2:
            raise ValueError(f"Mirrored draws come in pairs. Received: num_samples={num_samples}")

    def _draw(self, q_z, num_samples, seed):
        normal = as_diagonal_normal(q_z)
        shape = tf.concat([[num_samples // 2], normal.batch_shape_tensor()], axis=0)
        noise = tf.random.stateless_normal(shape, seed, dtype=normal.dtype)
        z = normal.loc + normal.scale * tf.concat([noise, -noise], axis=0)
        return Draws(z, q_z.log_prob(z))
