"""Rows of a table: columns of several families side by side."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability.python.distributions.distribution import (
    AutoCompositeTensorDistribution,
)

from tfvae._random import split_seed
from tfvae._typing import Distribution, Tensor
from tfvae.distributions.broadcast import over_batch
from tfvae.distributions.marginals import given_observed, marginals_of
from tfvae.distributions.statistics import Composed, centre
from tfvae.distributions.support import Support, support_of

__all__ = ["Heterogeneous"]

tfd = tfp.distributions


class Heterogeneous(Composed, AutoCompositeTensorDistribution):
    """Independent distributions of scalars and vectors, joined to one vector.

        x = concatenate([x_1, x_2, ...], axis=-1)
        log p(x) = sum_j log p_j(x_j)

    Draws, mean, mode, variance and standard deviation are those of the parts, joined in the same
    way; where one part has none, the whole has none. The mean of categories is that of their
    numbers: `centre` has the most probable one in its place.

    Args:
        distributions: The parts, of event shapes `[]` or `[n_j]` and of batch shapes that
            broadcast against each other.
        names: A name of each part, for messages.
        dtype: Type of the vector; by default that of the first part with a floating type.
        validate_args: See `tfd.Distribution`.
        allow_nan_stats: See `tfd.Distribution`.
        name: See `tfd.Distribution`.

    Example:
        >>> from tfvae.distributions import Heterogeneous
        >>> p = Heterogeneous([tfd.Normal(170.0, 10.0), tfd.Poisson(2.0)], ["height", "children"])
        >>> p.mean().numpy()
        array([170.,   2.], dtype=float32)
        >>> p.log_prob([170.0, 2.0]).shape
        TensorShape([])

    Reference: Handling incomplete heterogeneous data using VAEs (Nazabal et al., 2020),
    https://arxiv.org/abs/1807.03653
    """

    def __init__(
        self,
        distributions: Sequence[Distribution],
        names: Sequence[str],
        dtype: Any = None,
        validate_args: bool = False,
        allow_nan_stats: bool = True,
        name: str = "Heterogeneous",
    ) -> None:
        parameters = dict(locals())
        self._distributions = list(distributions)
        self._names = tuple(names)
        floating = [kind for kind in map(_dtype, self._distributions) if kind.is_floating]
        drawn = {part.reparameterization_type for part in self._distributions}
        super().__init__(
            dtype=tf.as_dtype(dtype or (floating or [tf.float32])[0]),
            reparameterization_type=drawn.pop() if len(drawn) == 1 else tfd.NOT_REPARAMETERIZED,
            validate_args=validate_args,
            allow_nan_stats=allow_nan_stats,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: int | None = None) -> dict[str, Any]:
        return {
            "distributions": tfp.util.BatchedComponentProperties(
                event_ndims=lambda self: [0 for _ in self.distributions]
            )
        }

    @property
    def distributions(self) -> list[Distribution]:
        """The parts, in order."""
        return list(self._distributions)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parts."""
        return self._names

    @property
    def sizes(self) -> list[int]:
        """Number of columns of each part."""
        return [int(part.event_shape.num_elements()) for part in self._distributions]

    def split(self, x: Tensor) -> list[Tensor]:
        """Cuts `[..., D]` into what belongs to the parts, of shapes `[...]` and `[..., n_j]`."""
        columns = tf.split(x, self.sizes, axis=-1)
        return [
            piece if part.event_shape.rank else tf.squeeze(piece, -1)
            for part, piece in zip(self._distributions, columns, strict=True)
        ]

    def join(self, pieces: Sequence[Tensor]) -> Tensor:
        """Returns what `split` would cut into `pieces`, `[..., D]`."""
        dtype: Any = self.dtype
        columns = [
            tf.cast(piece if part.event_shape.rank else piece[..., None], dtype)
            for part, piece in zip(self._distributions, pieces, strict=True)
        ]
        leading = [column.shape[:-1] for column in columns]
        if any(shape != leading[0] for shape in leading):
            dynamic = functools.reduce(
                tf.broadcast_dynamic_shape, [tf.shape(column)[:-1] for column in columns]
            )
            columns = [
                tf.broadcast_to(column, tf.concat([dynamic, [size]], axis=0))
                for column, size in zip(columns, self.sizes, strict=True)
            ]
        return tf.concat(columns, axis=-1)

    def support(self) -> Support:
        """Returns the support of each part, as `Support.columns`."""
        supports = map(support_of, self._distributions)
        columns = zip(self.names, self.sizes, supports, strict=True)
        return Support("Heterogeneous", columns=tuple(columns))

    def marginals(self) -> Callable[[Tensor], Tensor]:
        """Returns the density of what is observed, as `marginals_of` does."""
        functions = [marginals_of(part) for part in self._distributions]

        def log_marginal(x: Tensor) -> Tensor:
            pieces = zip(functions, self.split(x), strict=True)
            return self._summed(function(own) for function, own in pieces)

        return log_marginal

    def given_observed(self, x: Tensor) -> Heterogeneous:
        """Returns the parts, each given its own observed entries, as `given_observed` does."""
        pieces = zip(self._distributions, self.split(x), strict=True)
        parts = [given_observed(part, own) for part, own in pieces]
        return Heterogeneous(parts, self.names, self.dtype)

    def centre(self) -> Tensor:
        """Returns the means, and of categories the most probable one, `[..., D]`."""
        return self.join([centre(part) for part in self._distributions])

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape([sum(self.sizes)])

    def _event_shape_tensor(self) -> Tensor:
        return tf.constant([sum(self.sizes)], tf.int32)

    def _sample_n(self, n: Tensor, seed: Any = None) -> Tensor:
        seeds = split_seed(seed, len(self._distributions))
        seeds = tf.unstack(seeds, len(self._distributions))
        static, shape = self.batch_shape, self.batch_shape_tensor()
        parts = [over_batch(part, static, shape) for part in self._distributions]
        pairs = zip(parts, seeds, strict=True)
        return self.join([part.sample(n, seed=own) for part, own in pairs])

    def _log_prob(self, x: Tensor) -> Tensor:
        dtype: Any = self.dtype
        pieces = zip(self._distributions, self.split(tf.cast(x, dtype)), strict=True)
        return self._summed(part.log_prob(own) for part, own in pieces)

    def _entropy(self) -> Tensor:
        return self._summed(part.entropy() for part in self._distributions)

    def _mean(self) -> Tensor:
        return self.join([part.mean() for part in self._distributions])

    def _mode(self) -> Tensor:
        return self.join([part.mode() for part in self._distributions])

    def _variance(self) -> Tensor:
        return self.join([part.variance() for part in self._distributions])

    def _stddev(self) -> Tensor:
        return self.join([part.stddev() for part in self._distributions])

    def _summed(self, values: Iterable[Tensor]) -> Tensor:
        """Returns the sum of what there is of each part, in the type of the vector."""
        dtype: Any = self.dtype
        return functools.reduce(tf.add, (tf.cast(value, dtype) for value in values))

    def _default_event_space_bijector(self) -> None:
        return None


support_of.register(Heterogeneous, lambda p: p.support())
marginals_of.register(Heterogeneous, lambda p: p.marginals())
given_observed.register(Heterogeneous, lambda p, x: p.given_observed(x))


def _dtype(distribution: Distribution) -> tf.DType:
    return tf.as_dtype(distribution.dtype)
