"""Finite mixtures: exact responsibilities, trained by gradient or by EM."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae import layers
from tfvae._config import check_count
from tfvae._stored import made_again, objects_config
from tfvae._tracing import outputs_of
from tfvae._typing import Distribution, Tensor, register
from tfvae.graph.checks import check_distribution
from tfvae.graph.graph import Graph
from tfvae.graph.parts import Network, Root
from tfvae.graph.posteriors import Networks
from tfvae.models.one_prior import OnePriorModel, checked_prior
from tfvae.priors import OneHot, Prior

__all__ = ["EMResult", "FiniteMixture"]

tfd = tfp.distributions

# A component of less than this many points keeps its parameters: there is nothing to learn from.
_LEAST_COUNT = 1e-6
_LEAST_PROBABILITY = 1e-6


@dataclass(frozen=True)
class EMResult:
    """How expectation maximisation went.

    Attributes:
        log_likelihood: Mean log p(x) before each iteration and after the last, nats; never falls.
        converged: Whether it rose by less than the tolerance at the end.
    """

    log_likelihood: tuple[float, ...]
    converged: bool


@register
class FiniteMixture(OnePriorModel):
    """p(x) = sum_k p(k) p(x|k), its posterior the exact responsibilities.

        q(k|x) = p(k) p(x|k) / sum_j p(j) p(x|j)

    With them the ELBO is log p(x), and so is what `fit` maximises; `fit_em` alternates exact steps
    instead. For a mixture whose posterior is a network, which needs one pass for any number of
    components, give `tfvae.VAE` an encoder that ends in `OneHotCategorical`.

    Args:
        component: A distribution layer, each component having parameters of its own; or a Keras
            model from one-hot `[B, K]` to a distribution over one example of `x`.
        num_components: Number of components, K.
        prior: p(k), over one-hot vectors; by default `OneHot()`, learned.
        seed: See `LatentVariableModel`.
        **kwargs: See `LatentVariableModel`.

    Raises:
        ValueError: `num_components` is smaller than 1, or does not fit `component`, which takes no
            parameters; or the prior is none over one-hot vectors, or made of posteriors.
        TypeError: `component` is neither a layer nor a model.

    Example:
        >>> mixture = tfvae.FiniteMixture(tfvae.layers.IndependentBernoulli(8), 3, seed=0)
        >>> bits = np.random.default_rng(0).integers(0, 2, (50, 8)).astype("float32")
        >>> result = mixture.fit_em(bits, max_iterations=10)
        >>> result.log_likelihood[-1] >= result.log_likelihood[0]
        True
        >>> mixture.encode(bits).mean().shape  # responsibilities
        TensorShape([50, 3])

    Reference: Maximum Likelihood from Incomplete Data via the EM Algorithm (Dempster et al., 1977),
    https://doi.org/10.1111/j.2517-6161.1977.tb01600.x
    """

    def __init__(
        self,
        component: Any,
        num_components: int,
        prior: Prior | None = None,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        check_count("num_components", num_components)
        self.num_components = int(num_components)
        decoder = component
        if isinstance(component, layers.DistributionLayer):
            size = component._params_size()
            if not size:
                raise ValueError(
                    "`component` takes no parameters by which components could differ. Received: "
                    f"{type(component).__name__} of 0 parameters. Give an autoregressive layer a "
                    "`context_size`, which is then learned for each component."
                )
            start: Any = keras.initializers.RandomNormal(stddev=0.5, seed=seed)
            table = keras.layers.Dense(size, use_bias=False, kernel_initializer=start, name="table")
            decoder = keras.Sequential([keras.Input((self.num_components,)), table, component])
        super().__init__(seed=seed, **kwargs)
        prior = self._checked_prior(OneHot() if prior is None else prior)
        encoder = _Responsibilities(self._log_joint, self.num_components)
        self.encoder, self.decoder, self.prior = encoder, decoder, prior
        self._component = component
        p_x = Network(
            decoder, "component", ["z"], ["z"], "IndependentBernoulli", second_is_context=True
        )
        q = Network(encoder, "responsibilities", ["x"], ["x"])
        factors = {"x": p_x, "z": Root(prior, "prior")}
        graph = Graph(factors, Networks({"z": q}), max_states=self.num_components)
        spec = tf.TensorSpec([self.num_components] * 2, keras.config.floatx())
        shape = outputs_of(self._components, spec).shape
        self._set_graph(graph)
        if not self.built:
            self.build((None, *shape[1:]))

    def fit_em(
        self,
        x: Any,
        *,
        max_iterations: int = 100,
        tolerance: float = 1e-6,
        batch_size: int = 1000,
        gradient_steps: int = 20,
    ) -> EMResult:
        """Raises log p(x) by expectation maximisation; it never falls.

        The E step takes exact responsibilities of all points. The M step has a closed form for
        the weights of the mixture where they are those of `OneHot`, and for components that are a
        layer of one of the families Bernoulli, categorical, Poisson and diagonal Gaussian. Other
        components, and other priors, take gradient steps on the expected log-likelihood instead,
        undone and shortened where they went too far.

        Args:
            x: Array `[N, *x_event]`, all of which each iteration reads.
            max_iterations: Most iterations.
            tolerance: Ends where the mean log-likelihood rises by less, nats.
            batch_size: Rows at once; does not change the result.
            gradient_steps: Of each M step without a closed form.

        Returns:
            `EMResult`.

        Raises:
            ValueError: The data is not what the model is for, or `max_iterations` < 1.
        """
        check_count("max_iterations", max_iterations)
        self.check_data(x, "x")
        x = np.asarray(x, keras.config.floatx())
        maximise = _closed_form(self._component)
        components = [] if maximise is not None else self.decoder.trainable_weights
        # Those of `OneHot` have a closed form.
        weights = [] if isinstance(self.prior, OneHot) else self.prior.trainable_weights
        optimizer = keras.optimizers.Adam(0.05)
        expect = self.functions("expect", lambda: self._statistics)
        totals = _summed(expect, x, batch_size)
        history, converged = [float(totals["log_p_x"]) / len(x)], False
        for _ in range(max_iterations):
            before = self.get_weights()
            if maximise is not None:
                self._maximise_table(maximise, totals)
            if components or weights:
                optimizer.build([*components, *weights])
                ascents = []
                if components:
                    responsibilities = self._responsibilities(x, batch_size)
                    ascents.append(lambda r=responsibilities: self._slopes(x, r, batch_size))
                if weights:
                    share = totals["count"] / len(x)
                    ascents.append(lambda s=share: self._slopes_of_weights(s, weights))
                for _ in range(gradient_steps):
                    slopes = [slope for ascent in ascents for slope in ascent()]
                    optimizer.apply_gradients(zip(slopes, [*components, *weights], strict=True))
            self._maximise_weights(totals["count"])
            totals = _summed(expect, x, batch_size)
            rise = float(totals["log_p_x"]) / len(x) - history[-1]
            if rise < 0.0:
                # Rounding at the top, or a gradient step that went too far.
                self.set_weights(before)
                totals = _summed(expect, x, batch_size)
                if (components or weights) and float(optimizer.learning_rate) > 1e-6:
                    optimizer = keras.optimizers.Adam(float(optimizer.learning_rate) / 2)
                    continue
                rise = 0.0
            history.append(history[-1] + rise)
            if rise < tolerance:
                converged = True
                break
        return EMResult(tuple(history), converged)

    def with_prior(self, prior: Prior) -> FiniteMixture:
        """See `OnePriorModel.with_prior`."""
        return FiniteMixture(self.decoder, self.num_components, prior, seed=self.seed)

    @property
    def parts_beside_prior(self) -> tuple[keras.layers.Layer, ...]:
        """See `OnePriorModel.parts_beside_prior`."""
        return (self.decoder,)

    def replace_prior(self, prior: Prior) -> None:
        """Sets another prior as it is: the responsibilities follow it."""
        super().replace_prior(self._checked_prior(prior))

    def gain_of_prior(
        self, new: OnePriorModel, batch: dict[str, Tensor], num_samples: int, seed: Tensor
    ) -> Tensor:
        """Returns log p_new(x) - log p(x) `[B]`, nats: with the prior its posterior is another."""
        del num_samples, seed
        exact: Any = new.exact_log_p_x(**batch)
        return exact - self.exact_log_p_x(**batch)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain data."""
        return {
            **super().get_config(),
            **objects_config(component=self._component, prior=self.prior),
            "num_components": self.num_components,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> FiniteMixture:
        """Makes the model again from the output of `get_config`, without its weights."""
        return cls(**made_again(config, "component", "prior", custom_objects=custom_objects))

    def _checked_prior(self, prior: Any) -> Prior:
        """Returns a prior that responsibilities can be made of.

        Raises:
            TypeError: It is no prior.
            ValueError: It is made of the posteriors itself, reads a context, or is a density.
        """
        prior = checked_prior(prior)
        problem = None
        if prior.needs_model:
            problem = "one that is made of posteriors, which in a mixture are made of the prior"
        elif prior.takes_context:
            problem = "one that reads a context"
        else:
            prior.build((self.num_components,))
            kinds = tf.nest.flatten(prior.distribution().reparameterization_type)
            if all(kind == tfd.FULLY_REPARAMETERIZED for kind in kinds):
                problem = "one over a continuum"
        if problem is not None:
            raise ValueError(
                "The prior of a finite mixture gives the weights of its components: it is one over "
                f"one-hot vectors, such as `OneHot()`. Received: {type(prior).__name__}, {problem}."
            )
        return prior

    def _components(self, states: Tensor) -> Tensor:
        p_x = self.decoder(states)
        return check_distribution(
            p_x, "component", "one example of `x`", "IndependentBernoulli"
        ).sample(seed=[0, 0])

    def _log_joint(self, x: Tensor) -> Tensor:
        """Returns log p(k) + log p(x|k), `[B, K]`, nats."""
        log_p_k = self.prior.distribution().log_prob(tf.eye(self.num_components))
        return self._log_p_x_of_components(x) + log_p_k

    def _log_p_x_of_components(self, x: Tensor) -> Tensor:
        """Returns log p(x|k), `[B, K]`, nats."""
        p_x = self.decoder(tf.eye(self.num_components))
        return p_x.log_prob(tf.cast(x, p_x.dtype)[:, None])

    def _statistics(self, x: Tensor, valid: Tensor) -> dict[str, Tensor]:
        """Returns the sums over a chunk that EM needs, in float64."""
        log_joint = tf.cast(self._log_joint(x), tf.float64)
        log_p_x = tf.reduce_logsumexp(log_joint, axis=-1)
        r = tf.exp(log_joint - log_p_x[:, None]) * valid[:, None]  # [B, K]
        flat = tf.cast(tf.reshape(x, [tf.shape(x)[0], -1]), tf.float64)
        return {
            "log_p_x": tf.reduce_sum(log_p_x * valid),
            "count": tf.reduce_sum(r, axis=0),
            "sum": tf.matmul(r, flat, transpose_a=True),
            "square": tf.matmul(r, tf.square(flat), transpose_a=True),
            **self._level_counts(r, flat),
        }

    def _level_counts(self, r: Tensor, flat: Tensor) -> dict[str, Tensor]:
        if not isinstance(self._component, layers.IndependentCategorical):
            return {}
        one_hot = tf.one_hot(tf.cast(flat, tf.int32), self._component.levels, dtype=tf.float64)
        return {"levels": tf.einsum("bk,bdl->kdl", r, one_hot)}

    def _responsibilities(self, x: np.ndarray, batch_size: int) -> list[np.ndarray]:
        chunks = range(0, len(x), batch_size)
        return [self.encode(x[i : i + batch_size]).mean().numpy() for i in chunks]

    def _maximise_weights(self, count: np.ndarray) -> None:
        if isinstance(self.prior, OneHot) and self.prior.learn_weights:
            share = np.maximum(count / count.sum(), _LEAST_PROBABILITY)
            self.prior.logits.assign(np.log(share / share.sum()))

    def _maximise_table(self, maximise: Callable[..., np.ndarray], totals: Any) -> None:
        kernel = self.decoder.layers[0].kernel
        params = kernel.numpy()
        seen = totals["count"] > _LEAST_COUNT
        found = maximise(self._component, {k: v[seen] for k, v in totals.items() if k != "log_p_x"})
        params[seen] = found
        kernel.assign(params)

    def _slopes(
        self, x: np.ndarray, responsibilities: list[np.ndarray], batch_size: int
    ) -> list[Tensor]:
        """Returns the gradient of -E_r log p(x|k), a mean over points, in the components."""
        weights = self.decoder.trainable_weights

        def expected(x: Tensor, r: Tensor) -> list[Tensor]:
            with tf.GradientTape() as tape:
                loss = -tf.reduce_sum(r * self._log_p_x_of_components(x))
            return tape.gradient(loss, weights)

        compute = self.functions("expected gradient", lambda: expected)
        parts = [
            compute(tf.constant(x[i * batch_size : (i + 1) * batch_size]), tf.constant(r))
            for i, r in enumerate(responsibilities)
        ]
        return [tf.add_n(part) / len(x) for part in zip(*parts, strict=True)]

    def _slopes_of_weights(self, share: np.ndarray, weights: list[Any]) -> list[Tensor]:
        """Returns the gradient of -sum_k share_k log p(k) in the weights of the prior."""
        with tf.GradientTape() as tape:
            log_p = self.prior.distribution().log_prob(tf.eye(self.num_components))
            loss = -tf.reduce_sum(tf.cast(share, log_p.dtype) * log_p)
        return tape.gradient(loss, [weight.value for weight in weights])


class _Responsibilities(keras.layers.Layer):
    """Encoder q(k|x) of a finite mixture, made of its components."""

    def __init__(self, log_joint: Callable[[Tensor], Tensor], size: int) -> None:
        super().__init__(name="responsibilities")
        self._log_joint = log_joint
        self._one_hot = layers.OneHotCategorical(size)

    def call(self, x: Tensor) -> Distribution:
        return self._one_hot(self._log_joint(x))


def _summed(expect: Callable[..., Any], x: np.ndarray, batch_size: int) -> dict[str, Any]:
    totals: dict[str, Any] = {}
    size = min(batch_size, len(x))
    for start in range(0, len(x), size):
        rows = x[start : start + size]
        valid = np.arange(size) < len(rows)
        if len(rows) < size:
            rows = np.concatenate([rows, np.repeat(rows[:1], size - len(rows), axis=0)])
        part = expect(tf.constant(rows), tf.constant(valid, tf.float64))
        for name, value in part.items():
            totals[name] = totals.get(name, 0.0) + value.numpy()
    return {name: np.asarray(value) for name, value in totals.items()}


def _closed_form(component: Any) -> Callable[..., np.ndarray] | None:
    """Returns the maximiser of a family: from sums to parameters `[K, P]`; None without one."""
    return next((f for cls, f in _MAXIMISERS.items() if type(component) is cls), None)


def _bernoulli(component: Any, totals: dict[str, np.ndarray]) -> np.ndarray:
    mean = totals["sum"] / totals["count"][:, None]
    mean = np.clip(mean, _LEAST_PROBABILITY, 1.0 - _LEAST_PROBABILITY)
    return np.log(mean) - np.log1p(-mean)


def _poisson(component: Any, totals: dict[str, np.ndarray]) -> np.ndarray:
    mean = totals["sum"] / totals["count"][:, None]
    return np.log(np.maximum(mean, _LEAST_PROBABILITY))


def _normal(component: Any, totals: dict[str, np.ndarray]) -> np.ndarray:
    mean = totals["sum"] / totals["count"][:, None]
    variance = np.maximum(totals["square"] / totals["count"][:, None] - mean**2, 0.0)
    above = np.maximum(np.sqrt(variance) - component.min_scale, 1e-8)
    # The inverse of softplus, also where exp overflows.
    raw = above + np.log(-np.expm1(-above))
    return np.concatenate([mean, raw], axis=-1)


def _categorical(component: Any, totals: dict[str, np.ndarray]) -> np.ndarray:
    share = totals["levels"] / totals["count"][:, None, None]
    share = np.maximum(share, _LEAST_PROBABILITY)
    return np.log(share / share.sum(axis=-1, keepdims=True)).reshape(len(share), -1)


_MAXIMISERS: dict[type, Callable[..., np.ndarray]] = {
    layers.IndependentBernoulli: _bernoulli,
    layers.IndependentCategorical: _categorical,
    layers.IndependentNormal: _normal,
    layers.IndependentPoisson: _poisson,
    layers.MultivariateNormalDiag: _normal,
}
