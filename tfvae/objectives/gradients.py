"""How the gradient of a bound in the parameters of q(z|x) is estimated; its value stays."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._config import NUMBERS, Configured
from tfvae._shapes import with_event
from tfvae._typing import Distribution, Tensor, register
from tfvae.distributions.detached import detached_log_prob
from tfvae.distributions.factors import as_factors
from tfvae.distributions.reparameterised import sample_and_log_prob
from tfvae.objectives.power_means import PowerMeans
from tfvae.terms import Draws, Terms

__all__ = [
    "DoublyReparameterised",
    "GradientEstimator",
    "LeaveOneOut",
    "PathDerivative",
    "Relaxed",
    "Reparameterised",
    "ScoreFunction",
    "StraightThrough",
]

tfd = tfp.distributions

# Weights below this share of one are raised to it where a gradient is divided by them: far less
# than rounding moves the sum of weights, and far above what float32 cannot hold.
_SMALLEST_SHARE = 1e-10


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
                f"parameters of the posterior. Received: {_name(q_z)}, whose draws carry none. "
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

    def bound(
        self, terms: Terms, log_p: Tensor, rate_weight: Tensor | float, means: PowerMeans
    ) -> Tensor:
        """Returns a bound that is a sum of power means of weights, with this gradient.

            log_w = log_p - rate_weight * log q(z|x)

        Args:
            terms: Reads `log_q_z` `[S, B]`.
            log_p: What is scored beside the posterior `[S, B]`.
            rate_weight: Weight of log q(z|x).
            means: The function of the log weights.

        Returns:
            `[B]`, nats.
        """
        return means(log_p - rate_weight * terms.log_q_z)

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

    def bound(
        self, terms: Terms, log_p: Tensor, rate_weight: Tensor | float, means: PowerMeans
    ) -> Tensor:
        """See `GradientEstimator.bound`."""
        log_w = log_p - rate_weight * terms.log_q_z
        weights = means.weights(log_w)
        return bound_with_paths(terms, log_w, means, weights - means.curvature(log_w))

    def _draw(self, q_z: Distribution, num_samples: int, seed: Tensor) -> Draws:
        return draw_for_paths(q_z, num_samples, seed)


@register
@dataclass(frozen=True)
class ScoreFunction(GradientEstimator):
    """The bound times the gradient of log q(z|x): for any posterior, with much noise.

        d bound / d phi = sum_s (bound - c_s) * d log q(z_s|x) / dphi

    Unbiased; z carries no gradient. c_s, the gradient of the bound in log_w_s less its mean 1/S,
    is what the bound itself holds of q. With several draws `LeaveOneOut` has much less noise.

    Example:
        >>> gradient = tfvae.objectives.ScoreFunction()
        >>> tfvae.objectives.ELBO(gradient=gradient).num_samples
        1

    Reference: Simple Statistical Gradient-Following Algorithms (Williams, 1992),
    https://doi.org/10.1007/BF00992696
    """

    follows_draws = False

    @property
    def drawn_by(self) -> object:
        """See `GradientEstimator.drawn_by`."""
        return ScoreFunction

    def check(self, q_z: Distribution) -> None:
        """Every posterior will do."""

    def bound(
        self, terms: Terms, log_p: Tensor, rate_weight: Tensor | float, means: PowerMeans
    ) -> Tensor:
        """See `GradientEstimator.bound`."""
        log_w = log_p - rate_weight * tf.stop_gradient(terms.log_q_z)
        num_samples = tf.cast(tf.shape(log_w)[0], log_w.dtype)
        # Of the weights of log q in the bound a constant has the mean zero: it is left out, and
        # with it all noise of a bound that is linear in log q.
        excess = means.weights(log_w) - means.total / num_samples
        factor = tf.stop_gradient(self._signal(log_w, means) - rate_weight * excess)
        return means(log_w) + tf.reduce_sum(zeros_with_gradient(factor, terms.log_q_z), axis=0)

    def _signal(self, log_w: Tensor, means: PowerMeans) -> Tensor:
        return tf.broadcast_to(means(log_w), tf.shape(log_w))

    def _draw(self, q_z: Distribution, num_samples: int, seed: Tensor) -> Draws:
        return draw_constants(q_z, num_samples, seed)


@register
@dataclass(frozen=True)
class LeaveOneOut(ScoreFunction):
    """The score function, with what the other draws say of the bound as baseline of each.

        d bound / d phi = sum_s (bound - bound_without_s - c_s) * d log q(z_s|x) / dphi

    `bound_without_s` has the mean of the other log weights in the place of the s-th; see
    `ScoreFunction` for c_s. Of the importance-weighted bound this is VIMCO, of the ELBO it is
    REINFORCE leave-one-out. Unbiased for any posterior; takes at least two draws, and numbers of
    the order of S**2 for each point.

    Example:
        >>> gradient = tfvae.objectives.LeaveOneOut()
        >>> tfvae.objectives.ImportanceWeighted(5, gradient=gradient).num_samples
        5

    References:
        Variational Inference for Monte Carlo Objectives (Mnih and Rezende, 2016),
        https://arxiv.org/abs/1602.06725
        Buy 4 REINFORCE Samples, Get a Baseline for Free! (Kool et al., 2019),
        https://openreview.net/forum?id=r1lgTGL5DE
    """

    def check_count(self, num_samples: int) -> None:
        """Checks that there are other draws.

        Raises:
            ValueError: There is one draw only.
        """
        if num_samples < 2:
            raise ValueError(
                "`gradient=LeaveOneOut()` compares draws with each other and takes at least two. "
                f"Received: num_samples={num_samples}. Give the objective more, or choose "
                "`ScoreFunction()`."
            )

    def _signal(self, log_w: Tensor, means: PowerMeans) -> Tensor:
        num_samples = tf.shape(log_w)[0]
        left_out = tf.expand_dims(tf.eye(num_samples, dtype=tf.bool), -1)  # [S, S, 1]
        # Left out, not taken off the sum of all: a weight of zero has a logarithm of -infinity.
        others = tf.reduce_sum(tf.where(left_out, tf.zeros_like(log_w), log_w[None]), axis=1)
        # A draw that is scored alone has no others: its baseline is the bound of weights of one.
        others /= tf.cast(tf.maximum(num_samples - 1, 1), log_w.dtype)  # [S, B]
        replaced = tf.where(left_out, others[:, None], log_w[None])  # [left out, S, B]
        without = means(tf.transpose(replaced, [1, 0, 2]))  # [left out, B]
        return means(log_w) - without


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
                f"Received: {_name(q_z)}. Choose `Reparameterised()` or `LeaveOneOut()`."
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


def zeros_with_gradient(factor: Tensor | float, tensor: Tensor) -> Tensor:
    """Returns zeros of the shape of `tensor`, whose gradient is `factor` times its gradient."""
    # Infinity less itself would be no number.
    finite = tf.where(tf.math.is_finite(tensor), tensor, tf.zeros_like(tensor))
    return factor * (finite - tf.stop_gradient(finite))


def plain_draws(q_z: Distribution, num_samples: int, seed: Tensor) -> Draws:
    """Returns draws by the way of least work; they carry the gradient that the family gives."""
    return Draws(*sample_and_log_prob(q_z, num_samples, seed))


def draw_constants(q_z: Distribution, num_samples: int, seed: Tensor) -> Draws:
    """Returns draws that carry no gradient; log q(z|x) has that of its parameters."""
    z = tf.stop_gradient(q_z.sample(num_samples, seed=seed))
    return Draws(z, q_z.log_prob(z))


def draw_for_paths(q_z: Distribution, num_samples: int, seed: Tensor) -> Draws:
    """Returns draws for `bound_with_paths`; log q(z|x) has the gradient in z alone."""
    z, log_q_z = sample_and_log_prob(q_z, num_samples, seed)
    z, gradient_scale = scalable(z, tf.shape(log_q_z))
    return Draws(z, detached_log_prob(q_z, z), gradient_scale)


def bound_with_paths(terms: Terms, log_w: Tensor, means: PowerMeans, paths: Tensor) -> Tensor:
    """Returns `means(log_w)` with a gradient through draws of its own.

    Args:
        terms: Of draws whose gradient can be scaled.
        log_w: Log weights `[S, B]`; of their log q(z|x) the gradient is that in z alone, or none.
        means: Gives the value, and the gradient in the parameters of p(x|z) and p(z).
        paths: Factors `[S, B]` of dlog_w / dz in the gradient in the parameters of q(z|x).
    """
    weights = means.weights(log_w)
    weights = tf.stop_gradient(tf.maximum(weights, _SMALLEST_SHARE * tf.abs(paths)))
    linear = tf.reduce_sum(zeros_with_gradient(weights, log_w), axis=0)
    value = tf.stop_gradient(means(log_w))
    return terms.scale_gradient(value + linear, tf.math.divide_no_nan(paths, weights))


@tf.custom_gradient
def scalable(z: Tensor, scores: Tensor) -> tuple[tuple[Tensor, Tensor], object]:
    """Passes z on, with zeros `[2, S, B]` whose gradients say what its gradient is scaled by."""
    zeros = tf.zeros(tf.concat([[2], scores], axis=0), z.dtype)

    def backward(dz: Tensor, dscale: Tensor) -> tuple[Tensor, None]:
        scaled, unscaled = tf.unstack(dscale, num=2)
        # Without any gradient there is nothing to scale: z was read, but by no bound.
        used = unscaled != 0.0
        scale = tf.where(used, scaled / tf.where(used, unscaled, 1.0), 1.0)
        return dz * with_event(scale, [1] * (dz.shape.rank - scale.shape.rank), axes=0), None

    return (tf.identity(z), zeros), backward


def _name(q_z: Distribution) -> str:
    inner = getattr(q_z, "distribution", None)
    named = isinstance(q_z, tfd.Independent) and inner is not None
    return f"{type(q_z).__name__}({type(inner).__name__})" if named else type(q_z).__name__


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
