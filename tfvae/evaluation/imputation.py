"""What missing entries may have been."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae._config import check_count
from tfvae._random import fold_in, stateless_seed
from tfvae._typing import Seed, Tensor
from tfvae._words import counted
from tfvae.evaluation.estimate import Shown, render_table
from tfvae.evaluation.streaming import Stream, progress
from tfvae.graph.imputation import Imputer, completed
from tfvae.models import DirectedModel, LatentVariableModel

__all__ = ["Imputation", "impute"]

# Draws scored at once: enough to fill the cores, little enough to stay in their caches.
_DRAWS_AT_ONCE = 5000


@dataclass(frozen=True)
class Imputation(Shown):
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
        points, samples = counted(len(self.x), "point"), counted(self.num_samples, "sample")
        title = f"Imputation of {points}, {samples} each"
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
    num_points = stream.likely_points
    passes = None if num_points is None else num_points * num_samples
    with progress(stream.num_points, "imputation", verbose) as bar:
        for index, (batch, count) in enumerate(stream):
            x, missing, ess, drawn = _filled(
                model, batch, num_samples, num_draws, fold_in(seed, index), passes
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
    passes: float | None,
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
    block = max(1, _DRAWS_AT_ONCE // len(x))
    make = functools.partial(_imputer, model, num_draws, block)
    estimate = model.functions(("imputation", num_draws, block), make, passes)
    mean, z, ess = estimate(batch, tf.constant(num_samples), fold_in(seed, 0))
    # Apart from the rest: not all families have draws that compile.
    drawn = completed(model, batch, z).sample(seed=fold_in(seed, 1))
    x, mean, drawn = x.numpy(), mean.numpy(), drawn.numpy().reshape(num_draws, *x.shape)
    missing = np.isnan(x)
    return np.where(missing, mean, x), missing, ess.numpy(), np.where(missing, drawn, x)


def _imputer(
    model: LatentVariableModel, num_draws: int, block: int
) -> Callable[[dict[str, Tensor], Tensor, Tensor], tuple[Tensor, ...]]:
    """Makes the pass over one chunk, of any number of draws."""

    def estimate(batch: dict[str, Tensor], num_samples: Tensor, seed: Tensor) -> tuple[Tensor, ...]:
        return Imputer(model, num_samples, num_draws, block)(batch, seed)

    return estimate
