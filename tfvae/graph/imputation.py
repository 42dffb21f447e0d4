"""Importance-sampled completions of what is missing, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._random import fold_in, standard_uniform
from tfvae._shapes import with_event
from tfvae._typing import Distribution, Tensor
from tfvae.distributions.heterogeneous import Heterogeneous
from tfvae.distributions.marginals import given_observed
from tfvae.distributions.statistics import probabilities, statistic
from tfvae.graph.evidence import rescaled
from tfvae.terms import Terms

__all__ = ["Imputer", "completed"]

tfd = tfp.distributions


class _Sums(NamedTuple):
    """Sums over the draws so far, of weights divided by the largest.

    Attributes:
        peak: Logarithm of the largest weight `[B]`.
        total: Sum of the weights `[B]`.
        squares: Sum of their squares `[B]`.
        averages: Weighted sums of what tells the centre of each part of p(x|z), `[B, ...]`.
        chosen: Draws by their weights `[B, M, *E]`.
    """

    peak: Tensor
    total: Tensor
    squares: Tensor
    averages: list[Tensor]
    chosen: Tensor


@dataclass(frozen=True)
class Imputer:
    """A pass over a batch `x` `[B, ...]` with NaN for what is missing, and the context.

        E[x_missing | x_observed] ~ sum_s w_s E[x_missing | x_observed, z_s] / sum_s w_s
        w_s = p(x_observed | z_s) p(z_s) / q(z_s | x_observed),   z_s ~ q(z | x_observed)

    It returns the means `[B, ...]`, z chosen by their weights `[M, B, *E]`, and the effective
    sample size `[B]`; draws of x are those of `completed` at the chosen z.

    Attributes:
        model: A built model whose likelihood takes missing entries.
        num_samples: Draws of z per point, S, an int or an integer scalar.
        num_draws: How many of them are chosen, M.
        block: How many are scored at once: bounds memory.

    Reference: MIWAE (Mattei and Frellsen, 2019), https://arxiv.org/abs/1812.02633
    """

    model: Any
    num_samples: int | Tensor
    num_draws: int
    block: int

    def __call__(self, batch: dict[str, Tensor], seed: Tensor) -> tuple[Tensor, ...]:
        model, size = self.model, tf.shape(batch["x"])[0]
        posterior = model.encode(**batch)
        prior = model.prior_of(batch)
        latent = list(model.latent_shape)
        like = completed(model, batch, tf.zeros([1, size, *latent], posterior.dtype))
        # Where z has few states, one block holds them all.
        exact = model.exact_log_p_x(**batch) is not None
        num_blocks = 1 if exact else (self.num_samples + self.block - 1) // self.block

        def add_block(index: Tensor, *so_far: Any) -> tuple[Any, ...]:
            own = fold_in(seed, index)
            terms = model.terms(
                num_samples=1 if exact else self.block,  # no noise to average
                seed=fold_in(own, 0),
                posterior=posterior,
                prior=prior,
                **batch,
            )
            log_w = self._log_weights(terms, index, exact)
            return index + 1, *self._added(_Sums(*so_far), terms.z, log_w, batch, own)

        zeros = tf.zeros([size], posterior.dtype)
        start = _Sums(
            peak=zeros - float("inf"),
            total=zeros,
            squares=zeros,
            averages=[tf.zeros_like(value) for value in _averages(like, size, seed)],
            chosen=tf.zeros([size, self.num_draws, *latent], posterior.dtype),
        )
        _, *found = tf.while_loop(
            lambda index, *_: index < num_blocks,
            add_block,
            [tf.constant(0), *start],
            parallel_iterations=1,
        )
        sums = _Sums(*found)
        mean = _joined(like, [_times(1.0 / sums.total, value) for value in sums.averages])
        ess = tf.math.divide_no_nan(tf.square(sums.total), sums.squares)
        ess = tf.fill(tf.shape(ess), tf.cast(self.num_samples, ess.dtype)) if exact else ess
        return mean, tf.experimental.numpy.moveaxis(sums.chosen, 1, 0), ess

    def _log_weights(self, terms: Terms, index: Tensor, exact: bool) -> Tensor:
        """Returns those of a block `[S, B]`; nothing for draws beyond their number."""
        if exact:
            return terms.log_p_x + terms.log_p_z
        valid = index * self.block + tf.range(self.block) < self.num_samples  # [S]
        return tf.where(valid[:, None], terms.log_w, -float("inf"))

    def _added(
        self, sums: _Sums, z: Tensor, log_w: Tensor, batch: dict[str, Tensor], seed: Tensor
    ) -> _Sums:
        """Returns the sums with a block of draws `[S, B, *E]` of log weights `[S, B]`."""
        peak, kept, w = rescaled(sums.peak, log_w)
        total = sums.total * kept + tf.reduce_sum(w, axis=0)
        squares = sums.squares * tf.square(kept) + tf.reduce_sum(tf.square(w), axis=0)
        # The distributions of all draws and points stand in one axis.
        p_x, num_rows = completed(self.model, batch, z), tf.size(w)
        each = [
            tf.reshape(value, tf.concat([tf.shape(w), tf.shape(value)[1:]], axis=0))
            for value in _averages(p_x, num_rows, fold_in(seed, 1))
        ]
        averages = [
            _times(kept, before) + tf.reduce_sum(_times(w, value), axis=0)
            for before, value in zip(sums.averages, each, strict=True)
        ]
        chosen = _chosen(sums.chosen, z, w, total, fold_in(seed, 2))
        return _Sums(peak, total, squares, averages, chosen)


def _chosen(before: Tensor, z: Tensor, w: Tensor, total: Tensor, seed: Tensor) -> Tensor:
    """Returns draws `[B, M, *E]` by the weights of all blocks so far.

    One draw of this block by its weights takes the place of one of the blocks before with its
    share in all weights: a draw from all, whatever the number of blocks.

    Args:
        before: Those of the blocks before.
        z: Draws of this block `[S, B, *E]`.
        w: Their weights `[S, B]`.
        total: Sum of all weights `[B]`, those of this block included.
        seed: Int32 pair `[2]`.
    """
    within = tf.transpose(tf.cumsum(w))  # [B, S]
    shape = tf.stack([2, tf.shape(w)[1], before.shape[1]])
    uniform = standard_uniform(shape, seed, w.dtype)
    where = tf.searchsorted(within, uniform[0] * within[:, -1:], side="right")  # [B, M]
    # Where rounding leads beyond all weights: the last draw that has one.
    where = tf.minimum(where, tf.searchsorted(within, within[:, -1:], side="left"))
    by_point = tf.experimental.numpy.moveaxis(z, 0, 1)  # [B, S, *E]
    found = tf.gather(by_point, where, batch_dims=1)  # [B, M, *E]
    taken = uniform[1] * total[:, None] < within[:, -1:]
    return tf.ensure_shape(tf.where(_like(taken, found), found, before), before.shape)


def completed(model: Any, batch: dict[str, Tensor], z: Tensor) -> Distribution:
    """Returns p(x_missing | x_observed, z) at `z` `[S, B, *E]`, batch shape `[S * B]`."""
    num, size = tf.unstack(tf.shape(z)[:2])
    rows = tf.reshape(z, [num * size, *model.latent_shape])
    tiled = {name: _repeated(part, num) for name, part in batch.items()}
    return given_observed(model.decode(rows, tiled.get("context")), tiled["x"])


def _plain(p_x: Distribution) -> Distribution:
    """Returns the distribution of whole events; a model without latents has one for all rows."""
    while isinstance(p_x, tfd.BatchBroadcast):
        p_x = p_x.distribution
    return p_x


def _parts(p_x: Distribution) -> list[Distribution]:
    p_x = _plain(p_x)
    return p_x.distributions if isinstance(p_x, Heterogeneous) else [p_x]


def _averages(p_x: Distribution, num_rows: Tensor, seed: Tensor) -> list[Tensor]:
    """Returns, of each part of p(x|z), what averages over z tell its centre, `[num_rows, ...]`.

    That is the probability of each category, else the mean, and a draw where there is no mean.
    """
    values = []
    for index, part in enumerate(_parts(p_x)):
        own, shared = fold_in(seed, index), part.batch_shape.rank == 0
        value = probabilities(part)
        value = statistic(part, "mean") if value is None else value
        if value is None:
            value = part.sample(num_rows if shared else (), seed=own)
        elif shared:
            value = _repeated(value[None], num_rows)
        values.append(value)
    return values


def _joined(p_x: Distribution, averages: Sequence[Tensor]) -> Tensor:
    """Returns the centre `[B, ...]` of all parts from their averages."""
    p_x = _plain(p_x)
    values = [
        average if probabilities(part) is None else tf.cast(tf.argmax(average, -1), average.dtype)
        for part, average in zip(_parts(p_x), averages, strict=True)
    ]
    return p_x.join(values) if isinstance(p_x, Heterogeneous) else values[0]


def _repeated(value: Tensor, times: Tensor) -> Tensor:
    """Returns all rows of `value`, again and again."""
    return tf.tile(value, tf.concat([[times], [1] * (value.shape.rank - 1)], axis=0))


def _like(value: Tensor, other: Tensor) -> Tensor:
    """Returns `value` with axes of size one for those that `other` has behind it."""
    return with_event(value, [1] * (other.shape.rank - value.shape.rank), axes=0)


def _times(w: Tensor, value: Tensor) -> Tensor:
    return tf.cast(_like(w, value), value.dtype) * value
