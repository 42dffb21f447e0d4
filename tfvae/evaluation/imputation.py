"""What missing entries may have been."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._config import check_count
from tfvae._random import fold_in, stateless_seed
from tfvae._shapes import with_event
from tfvae._typing import Distribution, Seed, Tensor
from tfvae.distributions.heterogeneous import Heterogeneous
from tfvae.distributions.marginals import given_observed
from tfvae.distributions.statistics import probabilities, statistic
from tfvae.evaluation.estimate import render_table
from tfvae.evaluation.streaming import Stream, progress
from tfvae.graph.evidence import rescaled
from tfvae.models import DirectedModel, LatentVariableModel
from tfvae.terms import Terms

__all__ = ["Imputation", "impute"]

tfd = tfp.distributions

# Draws scored at once: enough to fill the cores, little enough to stay in their caches.
_DRAWS_AT_ONCE = 5000


@dataclass(frozen=True)
class Imputation:
    """Data with its missing entries filled, as it was where it was observed.

    Attributes:
        x: `[N, ...]`, missing entries replaced by E[x_missing | x_observed]; unordered categories
            by the most probable one.
        draws: `[M, N, ...]`, missing entries replaced by draws from p(x_missing | x_observed),
            those of one row together: their spread says how sure an entry is.
        missing: `[N, ...]`, true where an entry was missing.
        ess: Effective sample size `[N]`, between 1 and `num_samples`. A value near 1 says that one
            draw of z stands for all. Where z has few states, they are summed over, and `ess` is
            `num_samples`.
        num_samples: Draws of z per point.
    """

    x: np.ndarray
    draws: np.ndarray
    missing: np.ndarray
    ess: np.ndarray
    num_samples: int

    def to_dict(self) -> dict[str, float]:
        """Returns the summary as plain numbers."""
        return {
            "num_points": len(self.x),
            "num_missing": int(self.missing.sum()),
            "share_missing": float(self.missing.mean()),
            "median_ess": float(np.median(self.ess)),
            "least_ess": float(np.min(self.ess)),
            "num_samples": self.num_samples,
            "num_draws": len(self.draws),
        }

    def __str__(self) -> str:
        summary = self.to_dict()
        rows = [
            ["missing entries", f"{summary['num_missing']}", f"{self.missing.mean():.1%} of all"],
            ["effective samples", f"{summary['median_ess']:.1f}", "median over points"],
            ["", f"{summary['least_ess']:.1f}", "least"],
        ]
        title = f"Imputation of {len(self.x)} points, {self.num_samples} samples each"
        return render_table(title, ["quantity", "value", ""], rows)


def impute(
    model: LatentVariableModel,
    data: Any,
    num_samples: int = 1000,
    *,
    num_draws: int = 5,
    batch_size: int = 100,
    seed: Seed = 0,
    verbose: bool = True,
) -> Imputation:
    """Fills missing entries, NaN in the data, by importance sampling from the posterior.

        E[x_missing | x_observed] ~ sum_s w_s E[x_missing | x_observed, z_s] / sum_s w_s
        w_s = p(x_observed | z_s) p(z_s) / q(z_s | x_observed),   z_s ~ q(z | x_observed)

    Draws take a z_s with a probability proportional to its weight, then x_missing from
    p(x_missing | x_observed, z_s): where elements are independent given z, observed entries say
    nothing more. Streams: memory depends on `batch_size` and neither on the number of points nor on
    `num_samples`, but for the results.

    Args:
        model: A trained model with a `tfvae.layers.Masked` likelihood.
        data: Array `[N, ...]`, `tf.data.Dataset` or `keras.utils.PyDataset`; a dict of `x` and
            `context` for a model with one.
        num_samples: Draws of z per point, S.
        num_draws: Draws of the missing entries per point, M.
        batch_size: Points per batch, for arrays.
        seed: Int or pair of ints; the same seed, data and `batch_size` give the same numbers.
        verbose: Shows a progress bar where it takes more than two seconds.

    Returns:
        `Imputation`.

    Raises:
        ValueError: A number is smaller than 1, the likelihood takes no missing entries, or the
            data is not what the model is for.

    Example:
        >>> layer = tfvae.layers.Masked(tfvae.layers.IndependentNormal(2))
        >>> encoder = keras.Sequential([
        ...     keras.Input((2,)), tfvae.networks.FillMissing(),
        ...     keras.layers.Dense(2), tfvae.layers.MultivariateNormalDiag(1)])
        >>> decoder = keras.Sequential([keras.Input((1,)), keras.layers.Dense(4), layer])
        >>> result = tfvae.impute(tfvae.VAE(encoder, decoder), np.array([[1.0, np.nan]]), 100)
        >>> result.x.shape, result.draws.shape
        ((1, 2), (5, 1, 2))

    Reference: MIWAE (Mattei and Frellsen, 2019), https://arxiv.org/abs/1812.02633
    """
    num_samples = check_count("num_samples", num_samples)
    num_draws = check_count("num_draws", num_draws)
    seed = stateless_seed(0 if seed is None else seed)
    stream = Stream(model, data, batch_size)
    if isinstance(model, DirectedModel):
        raise ValueError(
            "`impute` does not know the nodes of a `DirectedModel`. For a latent node that is "
            "partly observed `predict` tells what is missing: `y_mean`, `y_probs`."
        )
    chunks: list[tuple[np.ndarray, ...]] = []
    with progress(stream.num_points, "imputation", verbose) as bar:
        for index, (batch, count) in enumerate(stream):
            x, missing, ess, drawn = _filled(
                model, batch, num_samples, num_draws, fold_in(seed, index)
            )
            chunks.append((x[:count], missing[:count], ess[:count], drawn[:, :count]))
            bar.update(count)
    x, missing, ess = (np.concatenate([chunk[k] for chunk in chunks]) for k in range(3))
    draws = np.concatenate([chunk[3] for chunk in chunks], axis=1)
    return Imputation(x, draws.astype(x.dtype), missing, ess, num_samples)


def _filled(
    model: LatentVariableModel,
    batch: dict[str, Tensor],
    num_samples: int,
    num_draws: int,
    seed: Tensor,
) -> tuple[np.ndarray, ...]:
    """Returns a chunk filled by means, what was missing, ESS `[B]`, and filled by draws `[M, B]`.

    Raises:
        ValueError: The likelihood takes no missing entries.
    """
    if not model.data.support.missing:
        raise ValueError(
            "`model` does not take missing entries. Wrap the likelihood at the end of its "
            "decoder: `tfvae.layers.Masked(...)`."
        )
    x = batch["x"]
    x = x if x.dtype.is_floating else tf.cast(x, keras.config.floatx())
    batch = {**batch, "x": x}
    block = min(num_samples, max(1, _DRAWS_AT_ONCE // len(x)))
    make = functools.partial(_Estimator, model, num_samples, num_draws, block)
    estimate = model.functions(("imputation", num_samples, num_draws, block), make)
    mean, z, ess = estimate(batch, fold_in(seed, 0))
    # Apart from the rest: not all families have draws that compile.
    drawn = _completed(model, batch, z).sample(seed=fold_in(seed, 1))
    x, mean, drawn = x.numpy(), mean.numpy(), drawn.numpy().reshape(num_draws, *x.shape)
    missing = np.isnan(x)
    return np.where(missing, mean, x), missing, ess.numpy(), np.where(missing, drawn, x)


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
class _Estimator:
    """The pass over one chunk: means `[B, ...]`, chosen z `[M, B, *E]`, ESS `[B]`."""

    model: LatentVariableModel
    num_samples: int
    num_draws: int
    block: int

    def __call__(self, batch: dict[str, Tensor], seed: Tensor) -> tuple[Tensor, ...]:
        model, size = self.model, tf.shape(batch["x"])[0]
        posterior = model.encode(**batch)
        prior = model.prior_distribution(batch.get("context"))
        latent = list(model.latent_shape)
        like = _completed(model, batch, tf.zeros([1, size, *latent], posterior.dtype))
        # Where z has few states, one block holds them all.
        exact = model.exact_log_p_x(**batch) is not None
        num_blocks = 1 if exact else (self.num_samples + self.block - 1) // self.block

        def add_block(index: Tensor, *so_far: Any) -> tuple[Any, ...]:
            own = fold_in(seed, index)
            terms = model.terms(
                num_samples=self.block,
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
        p_x, num_rows = _completed(self.model, batch, z), tf.size(w)
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
    uniform = tf.random.stateless_uniform(shape, seed, dtype=w.dtype)
    where = tf.searchsorted(within, uniform[0] * within[:, -1:], side="right")  # [B, M]
    where = tf.minimum(where, tf.shape(within)[1] - 1)
    by_point = tf.experimental.numpy.moveaxis(z, 0, 1)  # [B, S, *E]
    found = tf.gather(by_point, where, batch_dims=1)  # [B, M, *E]
    taken = uniform[1] * total[:, None] < within[:, -1:]
    return tf.ensure_shape(tf.where(_like(taken, found), found, before), before.shape)


def _completed(model: LatentVariableModel, batch: dict[str, Tensor], z: Tensor) -> Distribution:
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
