"""How the gradient of a bound in the parameters of q(z|x) is estimated; its value stays."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._config import Configured
from tfvae._typing import Distribution, Tensor, register
from tfvae.distributions.detached import detached_log_prob
from tfvae.objectives.draws import bound_with_paths, draw_for_paths, plain_draws
from tfvae.objectives.power_means import PowerMeans
from tfvae.terms import Draws, Terms

__all__ = [
    "DEFAULT_GRADIENT",
    "DoublyReparameterised",
    "GradientEstimator",
    "PathDerivative",
    "Reparameterised",
    "check_draws",
    "check_following_gradient",
    "check_gradient",
    "checked_rate",
    "named",
]

tfd = tfp.distributions


class GradientEstimator(Configured):
    """Abstract way from a bound to the gradient in the parameters of q(z|x).

    The gradients in the parameters of p(x|z) and p(z), and all values, are the same whatever the
    estimator. An objective takes it as its argument `gradient`.

    Attributes:
        follows_draws: Whether z itself carries a gradient that every reader of z may use.
        follows_paths: Whether log q(z|x) carries the gradient in z alone, and none in its own
            parameters.
        scales_draws: Whether draws are made so that one bound scales the gradient of each.
        needs_closed_rate: Whether the rate has to be in closed form.
        needs_sampled_rate: Whether the rate has to be read from the draws.
    """

    follows_draws: bool = True
    follows_paths: bool = False
    scales_draws: bool = False
    needs_closed_rate: bool = False
    needs_sampled_rate: bool = False

    @property
    def drawn_by(self) -> object:
        """Equal for estimators whose draws are the same, so that they can share them."""
        return self

    def check(self, q_z: Distribution) -> None:
        """Checks that this estimator can work with draws of a posterior.

        Raises:
            ValueError: It cannot.
        """
        # A joint distribution has one kind for each of its parts.
        kinds = tf.nest.flatten(q_z.reparameterization_type)
        if any(kind != tfd.FULLY_REPARAMETERIZED for kind in kinds):
            raise ValueError(
                f"`gradient={type(self).__name__}()` needs draws that carry a gradient to the "
                f"parameters of the posterior. Received: {named(q_z)}, whose draws carry none. "
                "Pass the objective another `gradient`: `LeaveOneOut()` with `num_samples` >= 2 "
                "for any posterior, or `StraightThrough()` or `Relaxed()` for Bernoulli and "
                "one-hot ones."
            )

    def check_count(self, num_samples: int) -> None:
        """Checks that this estimator can work with S draws.

        Raises:
            ValueError: It takes more.
        """

    def draw(self, q_z: Distribution, num_samples: int, seed: Tensor) -> Draws:
        """Returns draws from a posterior that carry gradients as this estimator wants them.

        Args:
            q_z: Batch shape `[B]`, event shape `E`.
            num_samples: Draws per data point, S.
            seed: Int32 pair `[2]`.

        Raises:
            ValueError: See `check`.
        """
        self.check(q_z)
        return self._draw(q_z, num_samples, seed)

    def bound(self, terms: Terms, rate_weight: Tensor | float, means: PowerMeans) -> Tensor:
        """Returns a bound that is a sum of power means of weights, with this gradient.

            log_w = log p(x|z) + rate_weight * (log p(z) - log q(z|x))

        Args:
            terms: Whose log weights `log_w_at(rate_weight)` are meant.
            rate_weight: Weight of the rate.
            means: The function of the log weights.

        Returns:
            `[B]`, nats.
        """
        return means(terms.log_w_at(rate_weight))

    def _draw(self, q_z: Distribution, num_samples: int, seed: Tensor) -> Draws:
        return plain_draws(q_z, num_samples, seed)


@register
@dataclass(frozen=True)
class Reparameterised(GradientEstimator):
    """The gradient through the draws, z a differentiable function of noise: the default.

    Unbiased, for every objective. Of the importance-weighted bound its signal-to-noise ratio for
    the encoder falls with the number of draws, as 1 / sqrt(S).

    Example:
        >>> tfvae.objectives.ELBO(gradient=tfvae.objectives.Reparameterised()).num_samples
        1

    References:
        Auto-Encoding Variational Bayes (Kingma and Welling, 2014), https://arxiv.org/abs/1312.6114
        Tighter Variational Bounds are Not Necessarily Better (Rainforth et al., 2018),
        https://arxiv.org/abs/1802.04537
    """


DEFAULT_GRADIENT = Reparameterised()


@register
@dataclass(frozen=True)
class PathDerivative(GradientEstimator):
    """The gradient through the draws alone, without that of log q(z|x) in its own parameters.

    For the ELBO unbiased, because what is left out has the mean zero; where q is the true
    posterior it is exactly zero for each draw, also where levels of z depend on each other: then
    log q(z_1|z_2) keeps its gradient in z_2, by way of the network. For bounds of several draws
    taken together, such as the importance-weighted one, it is biased: choose
    `DoublyReparameterised` there.

    Example:
        >>> gradient = tfvae.objectives.PathDerivative()
        >>> tfvae.objectives.ELBO(analytic_kl=False, gradient=gradient).num_samples
        1

    Reference: Sticking the Landing (Roeder et al., 2017), https://arxiv.org/abs/1703.09194
    """

    follows_paths = True
    needs_sampled_rate = True

    def _draw(self, q_z: Distribution, num_samples: int, seed: Tensor) -> Draws:
        z = super()._draw(q_z, num_samples, seed).z
        return Draws(z, detached_log_prob(q_z, z))


@register
@dataclass(frozen=True)
class DoublyReparameterised(GradientEstimator):
    """The gradient through the draws alone, weighted so that it is unbiased for many draws.

    What the path derivative leaves out is reparameterised once more:

        d bound / d phi = sum_s (c_s - dc_s / dlog_w_s) * (dlog_w_s / dz_s) * (dz_s / dphi)
        c_s = dbound / dlog_w_s

    For the importance-weighted bound the factor is the square of the normalised weight, and the
    signal-to-noise ratio of the encoder's gradient does not fall with the number of draws. For the
    ELBO it is the path derivative. Draws that are made for it serve one objective only.

    Example:
        >>> gradient = tfvae.objectives.DoublyReparameterised()
        >>> tfvae.objectives.ImportanceWeighted(50, gradient=gradient).num_samples
        50

    Reference: Doubly Reparameterized Gradient Estimators (Tucker et al., 2019),
    https://arxiv.org/abs/1810.04152
    """

    follows_draws = False
    follows_paths = True
    scales_draws = True
    needs_sampled_rate = True

    def bound(self, terms: Terms, rate_weight: Tensor | float, means: PowerMeans) -> Tensor:
        """See `GradientEstimator.bound`."""
        log_w = terms.log_w_at(rate_weight)
        weights = means.weights(log_w)
        return bound_with_paths(terms, log_w, means, weights - means.curvature(log_w))

    def _draw(self, q_z: Distribution, num_samples: int, seed: Tensor) -> Draws:
        return draw_for_paths(q_z, num_samples, seed)


def check_gradient(gradient: object, num_samples: int) -> None:
    """Checks the argument `gradient` of an objective with S draws.

    Raises:
        TypeError: It is no gradient estimator.
        ValueError: It takes more draws.
    """
    if not isinstance(gradient, GradientEstimator):
        raise TypeError(
            "`gradient` must be an object of `tfvae.objectives`, such as `PathDerivative()`. "
            f"Received: gradient={gradient!r}"
        )
    gradient.check_count(num_samples)


def check_draws(terms: Terms) -> None:
    """Checks that the scores are those of draws, for an objective that compares draws.

    Raises:
        ValueError: They are those of all states of z.
    """
    if terms.log_weights is not None:
        raise ValueError(
            "This objective compares draws with each other, and these are the scores of all "
            "states of z. Draw for the objective: "
            "`model.terms(x, num_samples, objective=objective)`."
        )


def check_following_gradient(gradient: object) -> None:
    """Checks the argument `gradient` of an objective that reads draws or rates as they come.

    Raises:
        TypeError: It is neither None nor a gradient estimator.
        ValueError: It acts on scores that this objective does not read.
    """
    if gradient is None:
        return
    if not isinstance(gradient, GradientEstimator):
        check_gradient(gradient, 1)
    elif not gradient.follows_draws or gradient.needs_sampled_rate:
        raise ValueError(
            "This objective follows the draws, by `Reparameterised()`, `StraightThrough()` or "
            f"`Relaxed()`. Received: gradient={gradient}"
        )


def checked_rate(terms: Terms, gradient: GradientEstimator | None) -> Tensor:
    """Returns `terms.rate` `[B]`, with a gradient that `gradient` can do with.

    Raises:
        ValueError: `gradient` needs the closed form, and there is none.
    """
    if terms.kl is None and gradient is not None and gradient.needs_closed_rate:
        if getattr(terms.p_z, "follows_draws", False):
            # The score of log q(z) at the draws is all noise: its mean is known.
            return -(terms.q_z.entropy() + terms.expect(terms.log_p_z))
        raise ValueError(
            f"`gradient={type(gradient).__name__}()` needs the closed form of the rate. "
            f"Received: a posterior {type(terms.q_z).__name__} and a prior "
            f"{type(terms.p_z).__name__}, between which none is known. Choose "
            "`ELBO(gradient=LeaveOneOut())`."
        )
    return terms.rate


def named(q_z: Distribution) -> str:
    """Returns the class of a posterior, for messages, with that of its elements."""
    inner = getattr(q_z, "distribution", None)
    named = isinstance(q_z, tfd.Independent) and inner is not None
    return f"{type(q_z).__name__}({type(inner).__name__})" if named else type(q_z).__name__
