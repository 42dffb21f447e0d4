"""Families over open sets, whose draws and densities stay inside of the floats.

Floats reach ends that numbers do not: in float32 sigmoid(17) is 1 and exp(-104) is 0, where the
densities of these families are zero, infinite or unknown. Draws are held between two floats `low`
and `high` well inside. The mass beyond an end is spread evenly over what lies between it and the
end of the support, for which the end itself stands:

    p(low) = P(X <= low) / low,   p(high) = P(X >= high) / (1 - high)

So there is one density over all of the support, that of the draws as far as floats tell, and
bounds are bounds whatever density it is compared with. (To score an end by its mass alone would
say log q(z|x) too low beside a prior that has no mass there.) Of a support without an end the mass
is that of [high, 2 high]. Between the ends all is as in TFP.

A draw that is held has no slope, so that gradients that follow draws lack what moves onto an end.
Of the rate of a `RelaxedBernoulli` of logits 3 beside one of logits 0, both of one temperature, the
gradient is 0.774 at any temperature. In float32 draws give 0.774 at 0.5, where 1 of 100 is held,
0.745 at 0.3, 0.551 at 0.2 and 0.189 at 0.1, where 8 of 10 are; in float64 0.773 at 0.2 and 0.645 at
0.1. The rate is that of what is held: 1.31 nats at 0.3 and above, 1.03 in float32 at 0.1.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._random import split_seed
from tfvae._typing import Tensor

__all__ = ["OpenBeta", "OpenLogNormal", "OpenRelaxedBernoulli", "OpenRelaxedOneHot", "opened"]

tfd = tfp.distributions


def _least(dtype: Any) -> float:
    """Returns a positive number whose reciprocal, times some thousands, is still a float."""
    return float(np.finfo(tf.as_dtype(dtype).name).tiny) ** 0.8


class _Held:
    """Mixin of the families of scalars from 0 to `_end`: holds draws, and scores the ends.

    Attributes:
        dtype: Type of the draws.
        _end: Upper end of the support.
        _middle: A value with a density.
    """

    __init__: Any
    dtype: Any
    _end: ClassVar[float] = 1.0
    _middle: ClassVar[float] = 0.5

    def _limits(self) -> tuple[float, float]:
        # Beside 1 floats lie `eps / 2` apart; a few of them away the draws are still fine.
        least = _least(self.dtype)
        eps = float(np.finfo(tf.as_dtype(self.dtype).name).eps)
        return least, 1.0 - 2.0 * eps if self._end == 1.0 else 1.0 / least

    def _hold(self, x: Tensor) -> Tensor:
        low, high = self._limits()
        return tf.clip_by_value(x, tf.constant(low, x.dtype), tf.constant(high, x.dtype))

    def _log_prob(self, x: Tensor) -> Tensor:
        low, high = self._limits()
        # What lies outside of the support, NaN among it, is left to the family.
        under = (x >= 0.0) & (x <= tf.constant(low, x.dtype))
        over = (x <= tf.constant(self._end, x.dtype)) & (x >= tf.constant(high, x.dtype))
        inside = tf.where(under | over, tf.constant(self._middle, x.dtype), x)
        density = super()._log_prob(inside)  # type: ignore[misc]
        width = 1.0 - high if self._end == 1.0 else high
        ends = tf.where(
            under,
            self._log_mass_under(low) - math.log(low),
            self._log_mass_over(high) - math.log(width),
        )
        return tf.where(under | over, ends, density)

    def _log_mass_under(self, low: float) -> Tensor:
        raise NotImplementedError

    def _log_mass_over(self, high: float) -> Tensor:
        raise NotImplementedError


class OpenRelaxedBernoulli(_Held, tfd.RelaxedBernoulli):
    """`tfd.RelaxedBernoulli` whose draws stay between 0 and 1 and have finite densities.

    Args:
        temperature: See `tfd.RelaxedBernoulli`.
        **kwargs: See `tfd.RelaxedBernoulli`.

    Example:
        >>> from tfvae.distributions.open_support import OpenRelaxedBernoulli
        >>> p = OpenRelaxedBernoulli(0.01, logits=50.0)
        >>> bool(tf.math.is_finite(p.log_prob(p.sample(seed=[0, 1]))))
        True
    """

    def _sample_n(self, n: Tensor, seed: Any = None, **kwargs: Any) -> Tensor:
        logits = self._logits_parameter_no_checks()
        shape = tf.concat([[n], self._batch_shape_tensor()], axis=0)
        noise = tfd.Logistic(tf.zeros([], logits.dtype), 1.0).sample(shape, seed=seed)
        return self._hold(tf.sigmoid((logits + noise) / self.temperature))

    def _log_mass_under(self, low: float) -> Tensor:
        return tf.math.log_sigmoid(self._from_end(low))

    def _log_mass_over(self, high: float) -> Tensor:
        return tf.math.log_sigmoid(-self._from_end(high))

    def _from_end(self, x: float) -> Tensor:
        logit = math.log(x) - math.log1p(-x)
        return self.temperature * logit - self._logits_parameter_no_checks()


class OpenBeta(_Held, tfd.Beta):
    """`tfd.Beta` whose draws stay between 0 and 1 and have finite densities and gradients.

    A gamma variable of a small concentration is drawn as one of a larger:

        G(a) = G(a + 1) * U**(1 / a)

    Args:
        concentration1: See `tfd.Beta`.
        concentration0: See `tfd.Beta`.
        **kwargs: See `tfd.Beta`.

    Example:
        >>> from tfvae.distributions.open_support import OpenBeta
        >>> p = OpenBeta(1e-3, 1e-3)
        >>> bool(tf.reduce_all(tf.math.is_finite(p.log_prob(p.sample(100, seed=[0, 1])))))
        True

    Reference: A Simple Method for Generating Gamma Variables (Marsaglia and Tsang, 2000).
    """

    def _sample_n(self, n: Tensor, seed: Any = None) -> Tensor:
        shape = self._batch_shape_tensor()
        seeds = split_seed(seed, 4, salt="OpenBeta")
        logs = []
        parts = (self.concentration1, seeds[:2]), (self.concentration0, seeds[2:])
        for concentration, own in parts:
            concentration = tf.broadcast_to(concentration, shape)
            larger = tfd.ExpGamma(concentration + 1.0, log_rate=tf.zeros([], concentration.dtype))
            exponential = tfd.Exponential(tf.ones_like(concentration)).sample(n, seed=own[1])
            logs.append(larger.sample(n, seed=own[0]) - exponential / concentration)
        return self._hold(tf.sigmoid(logs[0] - logs[1]))

    def _log_mass_under(self, low: float) -> Tensor:
        return self._log_mass_near(low, self.concentration1, self.concentration0)

    def _log_mass_over(self, high: float) -> Tensor:
        return self._log_mass_near(1.0 - high, self.concentration0, self.concentration1)

    def _log_mass_near(self, x: float, near: Tensor, far: Tensor) -> Tensor:
        """Returns log I_x(near, far), the first terms of the series in powers of a small x."""
        term = total = tf.ones_like(near + far)
        for i in range(4):
            term *= x * (near + far + i) / (near + 1.0 + i)
            total += term
        power = near * math.log(x) + far * math.log1p(-x) - tf.math.log(near)
        log_mass = power - tfp.math.lbeta(near, far) + tf.math.log(total)
        return tf.minimum(log_mass, 0.0)


class OpenLogNormal(_Held, tfd.LogNormal):
    """`tfd.LogNormal` whose draws are neither 0 nor infinite.

    Args:
        loc: See `tfd.LogNormal`.
        scale: See `tfd.LogNormal`.
        **kwargs: See `tfd.LogNormal`.

    Example:
        >>> from tfvae.distributions.open_support import OpenLogNormal
        >>> p = OpenLogNormal(1000.0, 1.0)
        >>> bool(tf.math.is_finite(p.log_prob(p.sample(seed=[0, 1]))))
        True
    """

    _end = float("inf")
    _middle = 1.0

    def _call_sample_n(self, sample_shape: Any, seed: Any, **kwargs: Any) -> Tensor:
        most = -math.log(_least(self.dtype)) + 1.0
        log_x = self.distribution.sample(sample_shape, seed=seed)
        return self._hold(tf.exp(tf.clip_by_value(log_x, -most, most)))

    def _sample_and_log_prob(self, sample_shape: Any, seed: Any, **kwargs: Any) -> Any:
        x = self.sample(sample_shape, seed=seed)
        return x, self.log_prob(x)

    def _log_mass_under(self, low: float) -> Tensor:
        return self._log_tail(math.log(low) - self.loc)

    def _log_mass_over(self, high: float) -> Tensor:
        return self._log_tail(self.loc - math.log(high))

    def _log_tail(self, distance: Tensor) -> Tensor:
        # Of larger numbers the gradient of TFP's tails is NaN.
        distance = tf.clip_by_value(distance / self.scale, -1e9, 1e9)
        return tfd.Normal(tf.zeros([], distance.dtype), 1.0).log_cdf(distance)


class OpenRelaxedOneHot(tfd.RelaxedOneHotCategorical):
    """`tfd.RelaxedOneHotCategorical` whose draws stay inside of the simplex, with finite densities.

    Each element is at least `low`. Of a draw whose elements U are larger, the others have together
    the mass of all that is smaller, spread evenly over it:

        u_k = logits_k - temperature * log x_k
        log p(x) = log (|U| - 1)! + (|U| - 1) log temperature
                   + sum_{k in U} log softmax(u)_k - log x_k   - sum_{k not in U} log low

    With all elements in U this is TFP's density; with one it is the probability of a category, over
    the volume of the corner.

    Args:
        temperature: See `tfd.RelaxedOneHotCategorical`.
        **kwargs: See `tfd.RelaxedOneHotCategorical`.

    Example:
        >>> from tfvae.distributions.open_support import OpenRelaxedOneHot
        >>> p = OpenRelaxedOneHot(0.01, logits=[0.0, 50.0])
        >>> bool(tf.math.is_finite(p.log_prob(p.sample(seed=[0, 1]))))
        True
    """

    def _call_sample_n(self, sample_shape: Any, seed: Any, **kwargs: Any) -> Tensor:
        log_x = self.distribution.sample(sample_shape, seed=seed)
        return tf.maximum(tf.exp(log_x), tf.constant(_least(self.dtype), log_x.dtype))

    def _sample_and_log_prob(self, sample_shape: Any, seed: Any, **kwargs: Any) -> Any:
        x = self.sample(sample_shape, seed=seed)
        return x, self.log_prob(x)

    def _log_prob(self, x: Tensor) -> Tensor:
        low = tf.constant(_least(self.dtype), x.dtype)
        at_low = (x >= 0.0) & (x <= low)
        log_x = tf.math.log(tf.where(at_low, low, x))
        temperature = self.distribution.temperature[..., None]
        log_p = tf.math.log_softmax(self.distribution.logits_parameter() - temperature * log_x)
        larger = tf.cast(~at_low, x.dtype)
        # One less than there are larger elements, of which a point of the simplex has one.
        axes = tf.maximum(tf.reduce_sum(larger, axis=-1) - 1.0, 0.0)
        density = tf.reduce_sum(tf.where(at_low, -tf.math.log(low), log_p - log_x), axis=-1)
        return tf.math.lgamma(axes + 1.0) + axes * tf.math.log(temperature[..., 0]) + density


_OPEN = {
    tfd.Beta: OpenBeta,
    tfd.LogNormal: OpenLogNormal,
    tfd.RelaxedBernoulli: OpenRelaxedBernoulli,
    tfd.RelaxedOneHotCategorical: OpenRelaxedOneHot,
}


# Their density is made of those of their parts, at the same values or elements of them.
_MADE_OF_PARTS = (
    tfd.BatchBroadcast,
    tfd.BatchReshape,
    tfd.Blockwise,
    tfd.Independent,
    tfd.Mixture,
    tfd.MixtureSameFamily,
    tfd.Sample,
)


def opened(distribution: Any) -> Any:
    """Returns the distribution of the same parameters whose draws all have finite densities.

    Others than those of this module come back as they are, and so do those made of others alone,
    such as `tfd.Independent`, `tfd.Sample` and mixtures.

    Example:
        >>> from tfvae.distributions.open_support import opened
        >>> type(opened(tfd.Independent(tfd.Beta([1.0], [2.0]), 1)).distribution).__name__
        'OpenBeta'
    """
    kind = type(distribution)
    if kind in _MADE_OF_PARTS:
        parts = {name: _opened_part(part) for name, part in distribution.parameters.items()}
        new = {k: part for k, part in parts.items() if part is not distribution.parameters[k]}
        return distribution.copy(**new) if new else distribution
    if kind not in _OPEN:
        return distribution
    given = {k: v for k, v in distribution.parameters.items() if k != "force_probs_to_zero_outside"}
    return _OPEN[kind](**given)


def _opened_part(value: Any) -> Any:
    """Returns a parameter, or a sequence of parts, with all that needs it opened."""
    if isinstance(value, (list, tuple)) and any(isinstance(v, tfd.Distribution) for v in value):
        found = [_opened_part(part) for part in value]
        return value if all(a is b for a, b in zip(found, value, strict=True)) else found
    return opened(value) if isinstance(value, tfd.Distribution) else value
