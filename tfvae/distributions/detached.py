"""Log-densities whose gradient is that in the point alone."""

from __future__ import annotations

import tensorflow as tf

from tfvae._typing import Distribution, Tensor

__all__ = ["detached_log_prob"]


def detached_log_prob(distribution: Distribution, z: Tensor) -> Tensor:
    """Returns log q(z), the parameters of q constants to every gradient.

    Args:
        distribution: q, a composite tensor, as nearly all tfp distributions are.
        z: Points `[..., *E]`.

    Raises:
        TypeError: The parameters cannot all be told from the distribution: it is no composite
            tensor, or reads weights while it scores, as one with a network inside may do.

    Example:
        >>> from tfvae.distributions.detached import detached_log_prob
        >>> loc = tf.Variable([1.0, 2.0])
        >>> with tf.GradientTape() as tape:
        ...     q = tfd.MultivariateNormalDiag(loc, [1.0, 1.0])
        ...     log_q = detached_log_prob(q, tf.zeros([2]))
        >>> print(tape.gradient(log_q, loc))
        None

    Reference: Sticking the Landing (Roeder et al., 2017), https://arxiv.org/abs/1703.09194
    """
    name, weights = type(distribution).__name__, []
    # A plain leaf would be turned into a tensor, that is, into a draw.
    is_composite = tf.nest.flatten(distribution, expand_composites=True)[0] is not distribution
    if is_composite:
        constant = tf.nest.map_structure(tf.stop_gradient, distribution, expand_composites=True)
        with tf.GradientTape() as tape:
            log_q = constant.log_prob(z)
        weights = tape.watched_variables()
    if not is_composite or weights:
        found = f"which reads {weights[0].name} as it scores" if weights else "no composite tensor"
        raise TypeError(
            "This gradient holds the parameters of the posterior constant, and has to know all of "
            f"them. Received: {name}, {found}. Choose a gradient without that need, such as "
            "`tfvae.objectives.Reparameterised()`."
        )
    return log_q
