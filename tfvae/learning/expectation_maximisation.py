"""Expectation maximisation of finite mixtures: exact responsibilities, and what they make best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae._protocols import Mixed
from tfvae._typing import Tensor
from tfvae.learning.closed_forms import LEAST_PROBABILITY, maximiser_of, sufficient_statistics
from tfvae.priors import OneHot

__all__ = ["EMResult", "expectation_maximisation"]

# A component of less than this many points keeps its parameters: there is nothing to learn from.
_LEAST_COUNT = 1e-6
_LEAST_RATE = 1e-6


@dataclass(frozen=True)
class EMResult:
    """How expectation maximisation went.

    Attributes:
        log_likelihood: Mean log p(x) before each iteration and after the last, nats; never falls.
        converged: Whether it rose by less than the tolerance at the end.
    """

    log_likelihood: tuple[float, ...]
    converged: bool


def expectation_maximisation(
    mixture: Mixed,
    x: np.ndarray,
    *,
    max_iterations: int,
    tolerance: float,
    batch_size: int,
    gradient_steps: int,
    functions: Callable[[str, Callable[[], Any]], Any],
) -> EMResult:
    """Raises log p(x) by alternating exact E steps and M steps; see `FiniteMixture.fit_em`.

    Args:
        mixture: What is fitted.
        x: `[N, *x_event]`.
        max_iterations: Most iterations.
        tolerance: Ends where the mean log-likelihood rises by less, nats.
        batch_size: Rows at once.
        gradient_steps: Of each M step without a closed form.
        functions: Compiles what it is given under a name, once.
    """
    steps = _Steps(mixture, x, batch_size, gradient_steps, functions)
    totals = steps.expect()
    history = [float(totals["log_p_x"]) / len(x)]
    for _ in range(max_iterations):
        before = mixture.decoder.get_weights(), mixture.prior.get_weights()
        steps.maximise(totals)
        totals = steps.expect()
        rise = float(totals["log_p_x"]) / len(x) - history[-1]
        if rise < 0.0:
            # Rounding at the top, or a gradient step that went too far.
            mixture.decoder.set_weights(before[0])
            mixture.prior.set_weights(before[1])
            totals = steps.expect()
            if steps.shorten():
                continue
            rise = 0.0
        history.append(history[-1] + rise)
        if rise < tolerance:
            return EMResult(tuple(history), True)
    return EMResult(tuple(history), False)


class _Steps:
    """E and M steps over all points, chunk by chunk.

    Attributes:
        maximise_family: The closed form of the components, None without one.
        closed_prior: The prior, where it learns and its weights have a closed form; else None.
        components: The weights of components that take gradient steps.
        weights: Those of p(k) that do.
    """

    def __init__(
        self,
        mixture: Mixed,
        x: np.ndarray,
        batch_size: int,
        gradient_steps: int,
        functions: Callable[[str, Callable[[], Any]], Any],
    ) -> None:
        self.mixture, self.x, self.batch_size = mixture, x, batch_size
        self.gradient_steps, self.functions = gradient_steps, functions
        components, weights = mixture.decoder.trainable_weights, mixture.prior.trainable_weights
        if not components and not weights:
            raise ValueError(
                "This mixture has nothing that expectation maximisation can learn: its components "
                "and its prior are frozen, or have no weights. Set `trainable = True` on what is "
                "to learn."
            )
        self.maximise_family = maximiser_of(mixture.component) if components else None
        self.components = [] if self.maximise_family is not None else components
        self.closed_prior: Any = None
        if weights and isinstance(mixture.prior, OneHot):
            self.closed_prior = mixture.prior
        self.weights = [] if self.closed_prior is not None else weights
        self.optimizer = keras.optimizers.Adam(0.05)

    def expect(self) -> dict[str, np.ndarray]:
        """Returns the sums over all points that the M step reads, and of log p(x)."""
        compute = self.functions("expect", lambda: _statistics_of(self.mixture))
        totals: dict[str, Any] = {}
        size = min(self.batch_size, len(self.x))
        for start in range(0, len(self.x), size):
            rows = self.x[start : start + size]
            valid = np.arange(size) < len(rows)
            if len(rows) < size:
                rows = np.concatenate([rows, np.repeat(rows[:1], size - len(rows), axis=0)])
            part = compute(tf.constant(rows), tf.constant(valid, tf.float64))
            for name, value in part.items():
                totals[name] = totals.get(name, 0.0) + value.numpy()
        return {name: np.asarray(value) for name, value in totals.items()}

    def maximise(self, totals: dict[str, np.ndarray]) -> None:
        """Sets the parameters to the best given the responsibilities, or closer to them."""
        if self.maximise_family is not None:
            self._set_table(self.maximise_family, totals)
        if self.components or self.weights:
            self._climb(totals["count"] / len(self.x))
        if self.closed_prior is not None:
            share = np.maximum(totals["count"] / totals["count"].sum(), LEAST_PROBABILITY)
            self.closed_prior.logits.assign(np.log(share / share.sum()))

    def shorten(self) -> bool:
        """Halves gradient steps that went too far; whether there were any that could."""
        rate = float(self.optimizer.learning_rate)
        if not (self.components or self.weights) or rate <= _LEAST_RATE:
            return False
        self.optimizer = keras.optimizers.Adam(rate / 2)
        return True

    def _set_table(self, maximise: Callable[..., np.ndarray], totals: dict[str, Any]) -> None:
        params = self.mixture.table.numpy()
        seen = totals["count"] > _LEAST_COUNT
        found = {name: total[seen] for name, total in totals.items() if name != "log_p_x"}
        params[seen] = maximise(self.mixture.component, found)
        self.mixture.table.assign(params)

    def _climb(self, share: np.ndarray) -> None:
        """Takes gradient steps on the expected log-likelihood where there is no closed form."""
        climbed = [*self.components, *self.weights]
        self.optimizer.build(climbed)
        chunks = self._responsibilities() if self.components else []
        for _ in range(self.gradient_steps):
            slopes = self._slopes(chunks) if self.components else []
            slopes += self._slopes_of_weights(share) if self.weights else []
            self.optimizer.apply_gradients(zip(slopes, climbed, strict=True))

    def _responsibilities(self) -> list[tuple[Tensor, Tensor]]:
        """Returns chunks of points with their responsibilities `[B, K]`."""
        starts = range(0, len(self.x), self.batch_size)
        chunks = [tf.constant(self.x[start : start + self.batch_size]) for start in starts]
        return [(x, tf.nn.softmax(self.mixture.log_joint(x))) for x in chunks]

    def _slopes(self, chunks: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """Returns the gradient of -E_r log p(x|k), a mean over points, in the components."""
        compute = self.functions("expected gradient", lambda: _slopes_of(self.mixture))
        parts = [compute(x, r) for x, r in chunks]
        return [tf.add_n(part) / len(self.x) for part in zip(*parts, strict=True)]

    def _slopes_of_weights(self, share: np.ndarray) -> list[Tensor]:
        """Returns the gradient of -sum_k share_k log p(k) in the weights of the prior."""
        with tf.GradientTape() as tape:
            log_p = self.mixture.log_p_k()
            loss = -tf.reduce_sum(tf.cast(share, log_p.dtype) * log_p)
        return tape.gradient(loss, [weight.value for weight in self.weights])


def _statistics_of(mixture: Mixed) -> Callable[[Tensor, Tensor], dict[str, Tensor]]:
    def statistics(x: Tensor, valid: Tensor) -> dict[str, Tensor]:
        """Returns the sums over the valid points of a chunk, in float64."""
        log_joint = tf.cast(mixture.log_joint(x), tf.float64)
        log_p_x = tf.reduce_logsumexp(log_joint, axis=-1)
        r = tf.exp(log_joint - log_p_x[:, None]) * valid[:, None]  # [B, K]
        found = sufficient_statistics(mixture.component, r, x)
        return {"log_p_x": tf.reduce_sum(log_p_x * valid), **found}

    return statistics


def _slopes_of(mixture: Mixed) -> Callable[[Tensor, Tensor], list[Tensor]]:
    weights = mixture.decoder.trainable_weights

    def slopes(x: Tensor, r: Tensor) -> list[Tensor]:
        with tf.GradientTape() as tape:
            loss = -tf.reduce_sum(r * mixture.log_p_x(x))
        return tape.gradient(loss, weights)

    return slopes
