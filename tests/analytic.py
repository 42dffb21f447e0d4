"""Models whose every number is known, and draws that integrate exactly."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats

import tfvae

tfd = tfp.distributions


@dataclass(frozen=True)
class LinearGaussian:
    """z ~ N(0, I), x|z ~ N(W z + b, s2 I), with the encoder q(z|x) = N(A x + c, diag S).

    All closed forms are in float64; per point `[N]` in nats.
    """

    w: np.ndarray  # [D, K]
    b: np.ndarray  # [D]
    s2: float
    a: np.ndarray  # [K, D]
    c: np.ndarray  # [K]
    s: np.ndarray  # [K]

    @classmethod
    def random(cls, seed: int = 0, dims: int = 5, latents: int = 3) -> LinearGaussian:
        """A model with an encoder that is neither exact nor far off."""
        rng = np.random.default_rng(seed)
        w, b = rng.normal(size=(dims, latents)), rng.normal(size=dims)
        exact = cls(w, b, 0.5, np.zeros((latents, dims)), np.zeros(latents), np.ones(latents))
        a = exact.posterior_matrix + 0.05 * rng.normal(size=(latents, dims))
        s = np.diag(exact.posterior_covariance) * np.exp(0.2 * rng.normal(size=latents))
        return cls(w, b, 0.5, a, -a @ b + 0.1 * rng.normal(size=latents), s)

    @classmethod
    def with_exact_posterior(cls, seed: int = 0, dims: int = 5, latents: int = 3) -> LinearGaussian:
        """Orthogonal columns of W make the true posterior diagonal, and q equal to it."""
        rng = np.random.default_rng(seed)
        q, _ = np.linalg.qr(rng.normal(size=(dims, latents)))
        w, b, s2 = q * np.linspace(0.5, 2.0, latents), rng.normal(size=dims), 0.5
        m = np.diag(w.T @ w) + s2
        a = w.T / m[:, None]
        return cls(w, b, s2, a, -a @ b, s2 / m)

    @property
    def m(self) -> np.ndarray:
        return self.w.T @ self.w + self.s2 * np.eye(self.w.shape[1])

    @property
    def posterior_matrix(self) -> np.ndarray:
        return np.linalg.solve(self.m, self.w.T)

    @property
    def posterior_covariance(self) -> np.ndarray:
        return self.s2 * np.linalg.inv(self.m)

    @property
    def covariance(self) -> np.ndarray:
        return self.w @ self.w.T + self.s2 * np.eye(len(self.b))

    def draw(self, num: int, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return rng.multivariate_normal(self.b, self.covariance, num).astype("float32")

    def log_p_x(self, x: np.ndarray) -> np.ndarray:
        return stats.multivariate_normal(self.b, self.covariance).logpdf(x.astype("float64"))

    def loc(self, x: np.ndarray) -> np.ndarray:
        return x.astype("float64") @ self.a.T + self.c

    def rate(self, x: np.ndarray) -> np.ndarray:
        terms = self.s + self.loc(x) ** 2 - 1.0 - np.log(self.s)
        return 0.5 * terms.sum(axis=1)

    def distortion(self, x: np.ndarray) -> np.ndarray:
        residual = x - self.b - self.loc(x) @ self.w.T
        noise = (self.w**2 @ self.s).sum()
        square = ((residual**2).sum(axis=1) + noise) / self.s2
        return 0.5 * (len(self.b) * np.log(2 * np.pi * self.s2) + square)

    def gap(self, x: np.ndarray) -> np.ndarray:
        p = self.posterior_covariance
        difference = self.loc(x) - (x - self.b) @ self.posterior_matrix.T
        mahalanobis = np.einsum("nk,kl,nl->n", difference, np.linalg.inv(p), difference)
        trace = np.trace(np.linalg.solve(p, np.diag(self.s)))
        log_det = np.linalg.slogdet(p)[1] - np.log(self.s).sum()
        return 0.5 * (trace + mahalanobis - len(self.s) + log_det)

    def vae(self, posterior: type | None = None) -> tfvae.VAE:
        """The same model made of the public parts, with these weights."""
        dims, latents = self.w.shape
        head = posterior or tfvae.layers.MultivariateNormalDiag
        encoder = keras.Sequential(
            [keras.Input((dims,)), keras.layers.Dense(2 * latents), head(latents, min_scale=0.0)]
        )
        decoder = keras.Sequential(
            [
                keras.Input((latents,)),
                keras.layers.Dense(2 * dims),
                tfvae.layers.IndependentNormal(dims, min_scale=0.0),
            ]
        )
        raw = np.log(np.expm1(np.sqrt(self.s)))
        encoder.layers[0].set_weights(
            [np.hstack([self.a.T, np.zeros_like(self.a.T)]), np.hstack([self.c, raw])]
        )
        raw = np.full(dims, np.log(np.expm1(np.sqrt(self.s2))))
        decoder.layers[0].set_weights(
            [np.hstack([self.w.T, np.zeros_like(self.w.T)]), np.hstack([self.b, raw])]
        )
        return tfvae.VAE(encoder, decoder, seed=0)


class _FixedNoise(tfd.MultivariateNormalDiag):
    """A diagonal Gaussian whose "draws" are the same well-chosen points at every call."""

    def _noise(self, n: int) -> np.ndarray:
        raise NotImplementedError

    def _sample_and_log_prob(self, sample_shape, seed, **kwargs):
        del seed, kwargs
        dtype = self.dtype.as_numpy_dtype
        shape = tf.get_static_value(sample_shape)
        if shape is None:  # Known when it runs.
            noise = lambda shape: self._noise(int(shape[0])).astype(dtype)  # noqa: E731
            noise = tf.numpy_function(noise, [sample_shape], dtype)
        else:
            noise = tf.constant(self._noise(int(shape[0])), dtype)
        noise = tf.ensure_shape(noise, [None, *self.event_shape])  # [S, K]
        z = self.mean() + noise[:, None, :] * self.stddev()
        return z, self.log_prob(z)

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        return tfd.MultivariateNormalDiag._parameter_properties(dtype, num_classes)


class SigmaPoints(_FixedNoise):
    """2 K points with equal weights that integrate every quadratic exactly."""

    def _noise(self, n):
        size = int(self.event_shape[0])
        assert n >= 2 * size, "the rule has 2 K points"
        points = np.sqrt(size) * np.eye(size)
        return np.resize(np.concatenate([points, -points]), [n, size])


class Quantiles(_FixedNoise):
    """Midpoint rule in one dimension, scaled so that quadratics are exact too."""

    def _noise(self, n):
        assert self.event_shape[0] == 1, "the rule is for one dimension"
        points = stats.norm.ppf((np.arange(n) + 0.5) / n)
        return (points / points.std())[:, None]


class MarginalQuantiles(_FixedNoise):
    """The midpoint rule in each dimension: integrates what depends on one dimension at a time."""

    def _noise(self, n):
        points = stats.norm.ppf((np.arange(n) + 0.5) / n)
        return np.tile((points / points.std())[:, None], [1, int(self.event_shape[0])])


def _layer(distribution: type) -> type:
    class Layer(tfvae.layers.MultivariateNormalDiag):
        @staticmethod
        def new(params, event_size, validate_args=False, *, min_scale=0.0):
            q = tfvae.layers.MultivariateNormalDiag.new(params, event_size, min_scale=min_scale)
            return distribution(q.mean(), q.stddev())

    return Layer


SigmaPointLayer = _layer(SigmaPoints)
QuantileLayer = _layer(Quantiles)
MarginalQuantileLayer = _layer(MarginalQuantiles)
