"""Missing entries: data that is known in part, under the exact density of what is known."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability.python.distributions.distribution import (
    AutoCompositeTensorDistribution,
)

from tfvae._random import stateless_seed
from tfvae._typing import Distribution, Seed, Tensor
from tfvae.distributions.heterogeneous import Heterogeneous
from tfvae.distributions.statistics import Composed, centre

__all__ = ["Masked", "check_marginals"]

tfd = tfp.distributions


class Masked(Composed, AutoCompositeTensorDistribution):
    """A distribution whose density takes NaN as *not observed*, and integrates over it.

        log p(x_observed) = log integral p(x_observed, x_missing) d x_missing

    Exact where the elements are independent, as they are, or within each component of a mixture.
    Gradients are finite, and nothing observed gives zero. Draws, mean and the like are those of
    the distribution itself.

    Args:
        distribution: Of scalars, `tfd.Independent` elements, `MultivariateNormalDiag`,
            `Heterogeneous`, or a `tfd.MixtureSameFamily` of these.
        validate_args: See `tfd.Distribution`.
        allow_nan_stats: See `tfd.Distribution`.
        name: See `tfd.Distribution`.

    Raises:
        ValueError: The marginals of `distribution` are not known, or its draws are no floats.

    Example:
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
        """Fills the missing entries of `x` `[..., *E]`.

        Args:
            x: Events; NaN where an entry is missing.
            seed: Int or pair of ints, for draws; None takes the mean, and the most probable of
                unordered categories.
        """
        dtype: Any = self.dtype
        x = tf.cast(tf.convert_to_tensor(x), dtype)
        if seed is None:
            filler = centre(self.distribution)
        else:
            filler = self.distribution.sample(seed=stateless_seed(seed))
        return tf.where(tf.math.is_nan(x), filler, x)

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
        return _log_marginal(self.distribution, tf.cast(x, dtype))

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


def check_marginals(distribution: Distribution) -> None:
    """Checks that `Masked` knows the density of every part of an event.

    Raises:
        ValueError: It does not, or draws are no floats, which alone can be NaN.
    """
    inner = _without_marginals(distribution)
    if inner is not None:
        raise ValueError(
            "Missing entries need the density of the observed ones alone, which is not known for "
            f"{type(inner).__name__}: its elements depend on each other. Choose a likelihood of "
            "independent elements, such as `IndependentNormal`, `IndependentCategorical` or "
            "`Heterogeneous`, or a mixture of such: given the latents, elements may be "
            "independent, and still depend on each other through them."
        )
    if not tf.as_dtype(distribution.dtype).is_floating:
        raise ValueError(
            "Missing entries are NaN, which only floats can be. Received: a distribution over "
            f"{tf.as_dtype(distribution.dtype).name}. Leave out `sample_dtype`."
        )


def _without_marginals(distribution: Distribution) -> Distribution | None:
    """Returns the part of `distribution` whose marginals are not known, None if all are."""
    if distribution.event_shape.rank == 0 or isinstance(distribution, tfd.MultivariateNormalDiag):
        return None
    if isinstance(distribution, Heterogeneous):
        found = [_without_marginals(part) for part in distribution.distributions]
        return next((part for part in found if part is not None), None)
    if isinstance(distribution, tfd.MixtureSameFamily):
        return _without_marginals(distribution.components_distribution)
    if isinstance(distribution, (tfd.Independent, Masked)):
        return _without_marginals(distribution.distribution)
    return distribution


def _log_marginal(distribution: Distribution, x: Tensor) -> Tensor:
    """Returns log p of what is observed of `x` `[..., *E]`."""
    if distribution.event_shape.rank == 0:
        return _log_scalar(distribution, x)
    if isinstance(distribution, Masked):
        return distribution.log_prob(x)
    if isinstance(distribution, Heterogeneous):
        return distribution.sum_over_parts(_log_marginal, x)
    if isinstance(distribution, tfd.Independent):
        each = _log_marginal(distribution.distribution, x)
        num_axes = distribution.event_shape.rank - distribution.distribution.event_shape.rank
        return tf.reduce_sum(each, axis=list(range(-num_axes, 0))) if num_axes else each
    if isinstance(distribution, tfd.MixtureSameFamily):
        x = tf.expand_dims(x, -1 - distribution.event_shape.rank)  # [..., 1, *E]
        each = _log_marginal(distribution.components_distribution, x)  # [..., C]
        log_weights = tf.math.log_softmax(distribution.mixture_distribution.logits_parameter())
        return tf.reduce_logsumexp(log_weights + each, axis=-1)
    normal = tfd.Normal(distribution.mean(), distribution.stddev())
    return tf.reduce_sum(_log_scalar(normal, x), axis=-1)


def _log_scalar(distribution: Distribution, x: Tensor) -> Tensor:
    missing = tf.math.is_nan(x)
    # Twice: NaN in the branch not taken would still make the gradient NaN.
    x = tf.where(missing, _any_value(distribution, x.dtype), x)
    log_prob = distribution.log_prob(x)
    return tf.where(missing, tf.zeros([], log_prob.dtype), log_prob)


def _any_value(distribution: Distribution, dtype: Any) -> Tensor:
    """Returns a value with a density above zero."""
    while isinstance(distribution, tfd.MixtureSameFamily):
        distribution = distribution.components_distribution
    zero = tf.zeros([], dtype)
    # Families of numbers that can be listed have no bijector, and zero among their values.
    bijector = distribution.experimental_default_event_space_bijector()
    return zero if bijector is None else tf.stop_gradient(bijector.forward(zero))
