"""Missing entries: data that is known in part, under the exact density of what is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability.python.distributions.distribution import (
    AutoCompositeTensorDistribution,
)

from tfvae._random import stateless_seed
from tfvae._typing import Distribution, Seed, Tensor
from tfvae.distributions.broadcast import over_batch
from tfvae.distributions.marginals import given_observed, marginals_of
from tfvae.distributions.statistics import Composed, centre
from tfvae.distributions.support import Support, support_of

__all__ = ["Masked", "check_marginals"]


class Masked(Composed, AutoCompositeTensorDistribution):
    """A distribution whose density takes NaN as *not observed*, and integrates over it.

        log p(x_observed) = log integral p(x_observed, x_missing) d x_missing

    Exact where the elements are independent, as they are, or within each component of a mixture.
    Gradients are finite, and nothing observed gives zero. Draws, mean and the like are those of
    the distribution itself.

    Args:
        distribution: One that `marginals_of` knows: of scalars, `tfd.Independent` elements,
            `MultivariateNormalDiag`, `Heterogeneous`, or a `tfd.MixtureSameFamily` of these.
        validate_args: See `tfd.Distribution`.
        allow_nan_stats: See `tfd.Distribution`.
        name: See `tfd.Distribution`.

    Raises:
        ValueError: The marginals of `distribution` are not known, or its draws are no floats.

    Example:
        >>> from tfvae.distributions import Masked
        >>> p = Masked(tfd.Independent(tfd.Normal([0.0, 5.0], [1.0, 2.0]), 1))
        >>> x = tf.constant([0.5, np.nan])
        >>> bool(p.log_prob(x) == tfd.Normal(0.0, 1.0).log_prob(0.5))
        True
        >>> p.impute(x).numpy()
        array([0.5, 5. ], dtype=float32)

    Reference: MIWAE (Mattei and Frellsen, 2019), https://arxiv.org/abs/1812.02633
    """

    def __init__(
        self,
        distribution: Distribution,
        validate_args: bool = False,
        allow_nan_stats: bool = True,
        name: str = "Masked",
    ) -> None:
        parameters = dict(locals())
        check_marginals(distribution)
        self._distribution = distribution
        super().__init__(
            dtype=tf.as_dtype(distribution.dtype),
            reparameterization_type=distribution.reparameterization_type,
            validate_args=validate_args,
            allow_nan_stats=allow_nan_stats,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: int | None = None) -> dict[str, Any]:
        return {"distribution": tfp.util.BatchedComponentProperties()}

    @property
    def distribution(self) -> Distribution:
        """The distribution of a whole event."""
        return self._distribution

    def impute(self, x: Tensor, seed: Seed = None) -> Tensor:
        """Fills the missing entries of `x` `[..., *E]` by p(x_missing | x_observed).

        Args:
            x: Events; NaN where an entry is missing.
            seed: Int or pair of ints, for draws, those of each event its own; None takes the mean,
                and the most probable of unordered categories.
        """
        dtype: Any = self.dtype
        x = tf.cast(tf.convert_to_tensor(x), dtype)
        given: Any = self.given_observed(x)
        if seed is None:
            filler = centre(given)
        else:
            event: Any = self.event_shape
            rank = x.shape.rank - event.rank
            static = tf.broadcast_static_shape(x.shape[:rank], self.batch_shape)
            shape = tf.broadcast_dynamic_shape(tf.shape(x)[:rank], self.batch_shape_tensor())
            filler = over_batch(given, static, shape).sample(seed=stateless_seed(seed))
        return tf.where(tf.math.is_nan(x), filler, x)

    def given_observed(self, x: Tensor) -> Distribution:
        """Returns the distribution itself given what is observed, as `given_observed` does."""
        dtype: Any = self.dtype
        return given_observed(self.distribution, tf.cast(x, dtype))

    def support(self) -> Support:
        """Returns the support of the distribution itself, with NaN for what was not observed."""
        return replace(support_of(self.distribution), missing=True)

    def centre(self) -> Tensor:
        """Returns the centre of the distribution itself, `[..., *E]`."""
        return centre(self.distribution)

    def _event_shape(self) -> tf.TensorShape:
        return self.distribution.event_shape

    def _event_shape_tensor(self) -> Tensor:
        return self.distribution.event_shape_tensor()

    def _sample_n(self, n: Tensor, seed: Any = None) -> Tensor:
        return self.distribution.sample(n, seed=seed)

    def _log_prob(self, x: Tensor) -> Tensor:
        dtype: Any = self.dtype
        return marginals_of(self.distribution)(tf.cast(x, dtype))

    def _entropy(self) -> Tensor:
        return self.distribution.entropy()

    def _mean(self) -> Tensor:
        return self.distribution.mean()

    def _mode(self) -> Tensor:
        return self.distribution.mode()

    def _variance(self) -> Tensor:
        return self.distribution.variance()

    def _stddev(self) -> Tensor:
        return self.distribution.stddev()

    def _default_event_space_bijector(self) -> Any:
        return self.distribution.experimental_default_event_space_bijector()


marginals_of.register(Masked, lambda distribution: distribution.log_prob)
given_observed.register(Masked, lambda distribution, x: distribution.given_observed(x))
support_of.register(Masked, lambda distribution: distribution.support())


def check_marginals(distribution: Distribution) -> None:
    """Checks that `Masked` knows the density of every part of an event.

    Raises:
        ValueError: It does not, or draws are no floats, which alone can be NaN.
    """
    marginals_of(distribution)
    if not tf.as_dtype(distribution.dtype).is_floating:
        raise ValueError(
            "Missing entries are NaN, which only floats can be. Received: a distribution over "
            f"{tf.as_dtype(distribution.dtype).name}. Leave out `sample_dtype`."
        )
