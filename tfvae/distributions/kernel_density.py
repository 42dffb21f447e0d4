"""The kernel density estimate, a baseline for every model of a density."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability.python.distributions.distribution import (
    AutoCompositeTensorDistribution,
)

from tfvae._random import split_seed
from tfvae._shapes import with_event
from tfvae._typing import Shape, Tensor
from tfvae.distributions.pairwise import aggregated_log_prob
from tfvae.distributions.squares import pairwise_squares

__all__ = ["KernelDensity"]

tfd = tfp.distributions

# Points whose distances to all kernels are held at once while a bandwidth is chosen.
_CHUNK = 200


class KernelDensity(AutoCompositeTensorDistribution):
    """Mean of N Gaussian kernels around the data: a density without any training.

        p(x) = 1 / (N h**d) sum_i K((x - x_i) / h),   K the standard normal density of d dimensions

    Distances come from one matrix product in float64.

    Args:
        points: The data `[N, *E]`.
        bandwidth: h > 0, one number in the unit of the data.
        validate_args: See `tfd.Distribution`.
        allow_nan_stats: See `tfd.Distribution`.
        name: See `tfd.Distribution`.

    Raises:
        ValueError: `bandwidth` is not one positive number, or `points` is empty.

    Example:
        >>> points = np.random.default_rng(0).normal(size=(300, 2)).astype("float32")
        >>> p = tfvae.distributions.KernelDensity.fit(points[:200], points[200:])
        >>> 0.1 < float(p.bandwidth) < 1.0, p.log_prob(points).shape
        (True, TensorShape([300]))

    Reference: On Estimation of a Probability Density Function and Mode (Parzen, 1962),
    https://doi.org/10.1214/aoms/1177704472
    """

    def __init__(
        self,
        points: Any,
        bandwidth: Any,
        validate_args: bool = False,
        allow_nan_stats: bool = True,
        name: str = "KernelDensity",
    ) -> None:
        parameters = dict(locals())
        self._points = tf.convert_to_tensor(points)
        if not self._points.dtype.is_floating:
            self._points = tf.cast(self._points, tf.float32)
        dtype = self._points.dtype
        self._bandwidth = tf.convert_to_tensor(bandwidth, dtype)
        known: Any = tf.get_static_value(self._bandwidth)
        if self._bandwidth.shape.rank or (known is not None and not known > 0.0):
            raise ValueError(
                "`bandwidth` must be one number > 0, the same for all points and dimensions. "
                f"Received: bandwidth={bandwidth}. Scale the dimensions of the data, where each "
                "has a spread of its own."
            )
        if self._points.shape.rank in (None, 0) or self._points.shape[0] == 0:
            raise ValueError(
                "`points` must be data [N, ...] with N >= 1. "
                f"Received: shape {list(self._points.shape)}"
            )
        super().__init__(
            dtype=dtype,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=validate_args,
            allow_nan_stats=allow_nan_stats,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def fit(
        cls, points: Any, validation: Any, bandwidths: Sequence[float] | None = None
    ) -> KernelDensity:
        """Returns the estimate whose bandwidth makes validation data most likely.

        Args:
            points: The data `[N, *E]`.
            validation: Other data `[M, *E]` of the same source.
            bandwidths: Candidates; by default 30 from 1 % to 300 % of the mean standard deviation
                of the data, at equal ratios.

        Raises:
            ValueError: `validation` is empty or of another shape.
        """
        points = np.asarray(points)
        if points.dtype not in (np.float32, np.float64):
            points = points.astype(np.float32)
        validation = np.asarray(validation, points.dtype)
        if len(validation) == 0 or validation.shape[1:] != points.shape[1:]:
            raise ValueError(
                "`validation` must hold at least one point like those of `points`. Expected: "
                f"[M, {', '.join(map(str, points.shape[1:]))}]. Received: {list(validation.shape)}"
            )
        if bandwidths is None:
            spread = float(np.sqrt(np.mean(np.var(points, axis=0)))) or 1.0
            bandwidths = list(spread * np.geomspace(0.01, 3.0, 30))
        estimate, totals = cls(points, 1.0), np.zeros(len(bandwidths))
        for start in range(0, len(validation), _CHUNK):
            squares = estimate._squared_distances(tf.constant(validation[start : start + _CHUNK]))
            for index, h in enumerate(bandwidths):
                totals[index] += float(tf.reduce_sum(estimate._from_squares(squares, h)))
        return cls(points, bandwidths[int(np.argmax(totals))])

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: int | None = None) -> dict[str, Any]:
        def all_axes(self: KernelDensity) -> int:
            return max(self.points.shape.rank, 1)

        return {
            "points": tfp.util.ParameterProperties(event_ndims=all_axes),
            "bandwidth": tfp.util.ParameterProperties(),
        }

    @property
    def points(self) -> Tensor:
        """The data `[N, *E]`."""
        return self._points

    @property
    def bandwidth(self) -> Tensor:
        """h, in the unit of the data."""
        return self._bandwidth

    def _event_shape(self) -> tf.TensorShape:
        return self._points.shape[1:]

    def _event_shape_tensor(self) -> Tensor:
        return tf.shape(self._points)[1:]

    def _log_prob(self, x: Tensor) -> Tensor:
        log_prob = self._from_squares(self._squared_distances(x), self._bandwidth)
        return tf.cast(log_prob, x.dtype)

    def _squared_distances(self, x: Tensor) -> Tensor:
        """Returns |x - x_i|**2 `[..., N]`, float64."""
        size = self._size()
        points = tf.reshape(tf.cast(self._points, tf.float64), [-1, size])
        squares = pairwise_squares(tf.reshape(tf.cast(x, tf.float64), [-1, size]), points)
        squares = tf.maximum(squares, 0.0)
        return with_event(squares, squares.shape[1:], axes=len(self._event()), like=x)

    def _from_squares(self, squares: Tensor, bandwidth: Any) -> Tensor:
        h = tf.cast(bandwidth, tf.float64)
        constant = self._size() * (tf.math.log(h) + 0.5 * math.log(2 * math.pi))
        return aggregated_log_prob(-0.5 * squares / tf.square(h)) - constant

    def _event(self) -> Shape:
        return tuple(self._points.shape[1:])  # pyright: ignore[reportReturnType]

    def _size(self) -> int:
        return math.prod(self._event())

    def _sample_n(self, n: Tensor, seed: Any = None) -> Tensor:
        which, noise = split_seed(seed, 2)
        count = tf.shape(self._points)[0]
        chosen = tf.random.stateless_uniform([n], which, maxval=count, dtype=tf.int32, alg="philox")
        kernel = tfd.Normal(tf.gather(self._points, chosen), self._bandwidth)
        return kernel.sample(seed=noise)

    def _mean(self) -> Tensor:
        return tf.reduce_mean(self._points, axis=0)

    def _variance(self) -> Tensor:
        return tf.math.reduce_variance(self._points, axis=0) + tf.square(self._bandwidth)
