"""Whether q(z|x) is as wide as it should be, on data of which z is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._config import check_count
from tfvae._random import fold_in, stateless_seed
from tfvae._typing import Seed, Tensor
from tfvae._words import some_of
from tfvae.data.spec import CONTEXT
from tfvae.evaluation.estimate import render_table
from tfvae.latents.codes import check_latents, latent_names
from tfvae.models import LatentVariableModel

__all__ = ["Calibration", "calibrate"]

_CHUNK = 250
_BINS = 16
# Of a test of each dimension, all together.
_LEVEL = 0.01


@dataclass(frozen=True)
class Calibration:
    """Ranks of true latents among draws of q(z|x): uniform where q is p(z|x).

    Attributes:
        ranks: How many of the draws of q(z|x) lie below the z that x was made from, for each of N
            points and each dimension `[N, K]`, from 0 to `num_draws`; ties are broken at random.
        num_draws: Draws per point, L.
        names: Of the dimensions, K.
    """

    ranks: np.ndarray
    num_draws: int
    names: list[str]

    @property
    def shares(self) -> np.ndarray:
        """The ranks as numbers from 0 to 1, `[N, K]`: (rank + 1/2) / (L + 1)."""
        return (self.ranks + 0.5) / (self.num_draws + 1)

    @property
    def p_values(self) -> np.ndarray:
        """Of a chi-squared test of uniform ranks for each dimension `[K]`, in up to 16 bins."""
        num_values = self.num_draws + 1
        bins = min(_BINS, num_values)
        # Bins of as equal sizes as whole numbers allow, each with its own expectation.
        counts = np.stack(
            [np.bincount(r * bins // num_values, minlength=bins) for r in self.ranks.T]
        )
        sizes = np.bincount(np.arange(num_values) * bins // num_values, minlength=bins)
        expected = len(self.ranks) * sizes / num_values
        statistic = np.sum((counts - expected) ** 2 / expected, axis=1)
        chi2 = tfp.distributions.Chi2(tf.constant(bins - 1.0, tf.float64))
        return chi2.survival_function(tf.constant(statistic)).numpy()

    @property
    def message(self) -> str | None:
        """Which dimensions are off and how, in one line; None where none is, at 1 % in all."""
        off = np.nonzero(self.p_values < _LEVEL / len(self.names))[0]
        if not len(off):
            return None
        shown = some_of((f"{self.names[k]} ({self._how(int(k))})" for k in off), most=8)
        return f"q(z|x) is not p(z|x) in {len(off)} of {len(self.names)} dimensions: {shown}."

    def _how(self, k: int) -> str:
        shares = self.shares[:, k]
        error = self._spread / np.sqrt(len(shares))
        if self.num_draws == 1 or abs(shares.mean() - 0.5) > 4.0 * error:
            return "too high" if shares.mean() < 0.5 else "too low"
        return "too narrow" if np.mean((shares - 0.5) ** 2) > self._spread**2 else "too wide"

    @property
    def _spread(self) -> float:
        """Standard deviation of `shares` of ranks that are all equally likely."""
        return float(np.sqrt((1.0 - (self.num_draws + 1.0) ** -2) / 12.0))

    def to_dict(self) -> dict[str, Any]:
        """Returns the p-values by dimension, and the numbers behind them."""
        return {
            "p_values": dict(zip(self.names, self.p_values.tolist(), strict=True)),
            "num_points": len(self.ranks),
            "num_draws": self.num_draws,
        }

    def to_arviz(self) -> Any:
        """Returns `shares` as ArviZ reads them, group `prior_sbc`, variable `z`.

        ArviZ 1.0 draws them by `plot_ecdf_pit(calibration.to_arviz(), group="prior_sbc")`, and
        `calibration.to_arviz().to_netcdf(path)` writes them.

        Returns:
            `xarray.DataTree`, before ArviZ 1.0 `arviz.InferenceData`.

        Raises:
            ImportError: ArviZ is not installed.
        """
        try:
            import arviz  # pyright: ignore[reportMissingImports]
            import xarray  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ImportError(
                "This is read by ArviZ, which cannot be imported. Run `pip install arviz`."
            ) from error
        found = xarray.Dataset(
            {"z": (("chain", "draw", "dimension"), self.shares[None])},
            {"chain": [0], "draw": np.arange(len(self.ranks)), "dimension": self.names},
        )
        if int(arviz.__version__.split(".")[0]) < 1:
            return arviz.InferenceData(prior_sbc=found)
        return xarray.DataTree.from_dict({"prior_sbc": found})

    def __str__(self) -> str:
        shares = self.shares
        rows = [
            [name, f"{p:.2g}", f"{s.mean():.3f}", f"{s.std() / self._spread:.3f}"]
            for name, p, s in zip(self.names, self.p_values, shares.T, strict=True)
        ]
        title = f"Ranks of true latents among {self.num_draws} draws, {len(shares)} points"
        columns = ["dimension", "p-value", "mean, 0.5", "spread, 1: above is too narrow"]
        table = render_table(title, columns, rows)
        return table if self.message is None else f"{table}\n{self.message}"


def calibrate(
    model: LatentVariableModel,
    num_points: int = 1000,
    *,
    num_draws: int = 63,
    context: Any = None,
    seed: Seed = 0,
) -> Calibration:
    """Ranks the z that data was made from among draws of q(z|x), on data of the model's own.

        z* ~ p(z),   x ~ p(x|z*),   z_1, ..., z_L ~ q(z|x),   rank = number of z_l below z*

    Where q(z|x) is p(z|x), z* is one more draw of it, and its rank is uniform over 0, ..., L. Where
    q is too narrow, ranks gather at both ends. What this says is of the model and its encoder; it
    asks nothing of real data.

    Args:
        model: Any model with latents.
        num_points: Points that are made, N.
        num_draws: Draws of q(z|x) for each, L; 63 leaves bins of equal size.
        context: `[num_points, ...]`, or `[1, ...]` for all, for a model of p(x|c).
        seed: Int or pair of ints.

    Returns:
        `Calibration`.

    Raises:
        ValueError: The model has no latents, a number is smaller than 1, or `context` does not fit.

    Example:
        >>> from tfvae.demo import vae
        >>> found = tfvae.latents.calibrate(vae, 200)
        >>> found.ranks.shape, bool(found.ranks.max() <= 63)
        ((200, 2), True)

    Reference: Validating Bayesian Inference Algorithms with Simulation-Based Calibration (Talts et
    al., 2018), https://arxiv.org/abs/1804.06788
    """
    check_latents(model)
    num_points, num_draws = (
        check_count("num_points", num_points),
        check_count("num_draws", num_draws),
    )
    seed = stateless_seed(0 if seed is None else seed)
    if context is not None:
        context = np.asarray(context)
        if context.ndim == 0 or len(context) not in (1, num_points):
            raise ValueError(
                "`context` must have one row per point, or one row for all. Received: "
                f"num_points={num_points}, context of shape {list(context.shape)}"
            )
        context = np.broadcast_to(context, (num_points, *context.shape[1:]))
    generator = np.random.default_rng(np.asarray(seed, np.int32).view(np.uint32))
    found = []
    for index, start in enumerate(range(0, num_points, _CHUNK)):
        size = min(_CHUNK, num_points - start)
        given = None if context is None else tf.convert_to_tensor(context[start : start + size])
        true, draws = _drawn(model, size, num_draws, given, fold_in(seed, index))
        below, equal = np.sum(draws < true, axis=0), np.sum(draws == true, axis=0)
        found.append(below + generator.integers(0, equal + 1))
    return Calibration(np.concatenate(found), num_draws, latent_names(model))


def _drawn(
    model: LatentVariableModel, size: int, num_draws: int, context: Tensor | None, seed: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Returns true latents `[B, K]`, and draws `[L, B, K]` of their posteriors."""
    graph = model.graph
    made = model.generate(size, fold_in(seed, 0), context)
    z = graph.join({n: made[n] for n in graph.latents}) if graph.tells_latents_apart else made["z"]
    parts: dict[str, Any] = {name: made[name] for name in graph.observed}
    if context is not None:
        parts[CONTEXT] = context
    batch: dict[str, Any] = {
        n: tf.convert_to_tensor(p) for n, p in model.data.as_batch(parts).items()
    }
    draws = model.encode(**batch).sample(num_draws, seed=fold_in(seed, 1))
    # In one type: a category drawn as a whole number is the same number.
    return np.float64(z).reshape(size, -1), np.float64(draws).reshape(num_draws, size, -1)
