"""The evidence log p(x) by annealed importance sampling, which needs no good encoder."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from tfvae._config import check_count
from tfvae._random import fold_in, stateless_seed
from tfvae._typing import Seed, Tensor
from tfvae.evaluation.chains import adapted_steps, annealed
from tfvae.evaluation.estimate import OfDraws
from tfvae.evaluation.paths import check_free, path_of, temperatures
from tfvae.evaluation.proposals import Proposal
from tfvae.evaluation.record import Record
from tfvae.evaluation.streaming import Stream, filled, progress
from tfvae.evaluation.units import Unit
from tfvae.graph.evidence import summary_of_weights
from tfvae.models import LatentVariableModel

__all__ = ["AnnealedLogLikelihood", "annealed_log_likelihood"]

# A tenth of the points with moves that are mostly refused are not to be taken at their word.
_LOW_ACCEPTANCE, _MANY_POINTS = 0.3, 0.1

# What is found of each point.
_NAMES = ("log_p_x", "standard_error", "ess", "acceptance")

_Compute = Callable[[dict[str, Tensor], dict[str, Tensor], Tensor, Tensor], tuple[Tensor, ...]]


@dataclass(frozen=True)
class AnnealedLogLikelihood(OfDraws):
    """Annealed log p(x): a lower bound in expectation, tighter with more temperatures and chains.

    There is a `message` where the median effective number of chains is below 3, or more than a
    tenth of the points accepted less than 0.3 of their moves.

    Attributes:
        per_point: log p(x) `[N]`, nats.
        mean: Mean over the points, nats.
        standard_error: Of the mean, nats, over the choice of the points and of the chains.
        per_point_standard_error: `[N]`, nats: of each estimate, over its chains alone. NaN with one
            chain, which says nothing of it; zero where log p(x) is known.
        ess: Effective number of chains `[N]`, between 1 and `num_chains`.
        acceptance: Share of the moves that were accepted `[N]`, meant to be about 0.65; NaN where
            none was made: with one temperature, and where log p(x) is known.
        num_temperatures: Steps from the start to p(x, z), T.
        num_chains: Chains per point, S.
        num_dimensions: Entries of one example that were observed, D, as a mean over the points.
        log_unit: Logarithm of the volume of a unit of the data as it was measured, nats, as a mean
            over the points: what `bits_per_dimension` has beside log p(x).
    """

    per_point_standard_error: np.ndarray
    ess: np.ndarray
    acceptance: np.ndarray
    num_temperatures: int
    num_chains: int
    num_dimensions: float
    log_unit: float = 0.0

    _DRAWS: ClassVar[str] = "chains"
    _FEW: ClassVar[float] = 3.0

    def _doubts(self) -> list[str]:
        stuck = float(np.mean(self.acceptance < _LOW_ACCEPTANCE))
        if not stuck > _MANY_POINTS:
            return []
        return [f"{stuck:.0%} of the points accepted less than {_LOW_ACCEPTANCE} of moves"]

    def _remedy(self) -> str:
        return (
            "Take more temperatures, by `num_temperatures=`, and more chains, or begin closer to "
            "p(z|x), by `start=`."
        )

    def _title(self) -> str:
        return f"Annealed log-likelihood of {len(self.ess)} points, {self.num_chains} chains each"

    def _own_numbers(self) -> dict[str, float]:
        return {
            "median_acceptance": float(np.median(self.acceptance)),
            "num_temperatures": self.num_temperatures,
            "num_chains": self.num_chains,
        }

    def _own_rows(self) -> list[list[str]]:
        accepted = f"{np.median(self.acceptance):.2f}"
        return [
            ["moves accepted", accepted, "", "median over points"],
            ["temperatures", f"{self.num_temperatures}", "", ""],
        ]


def annealed_log_likelihood(
    model: LatentVariableModel,
    data: Any,
    num_temperatures: int = 1000,
    *,
    num_chains: int = 16,
    num_leapfrog_steps: int = 5,
    start: Proposal | None = None,
    unit: Any = 1.0,
    batch_size: int = 50,
    resume: Any = None,
    seed: Seed = 0,
    verbose: bool = True,
) -> AnnealedLogLikelihood:
    """Estimates log p(x) of each point by annealed importance sampling.

        f_t(z) = start(z)**(1 - beta_t) p(x, z)**beta_t,   beta_0 = 0, ..., beta_T = 1
        log p(x) ~ log (1/S) sum_s prod_t f_t(z_(t-1,s)) / f_(t-1)(z_(t-1,s))

    where z_0 is drawn from the start, the prior by default, and z_t from z_(t-1) by a Hamiltonian
    move that keeps f_t. The mean weight is unbiased, however few the temperatures, and the better
    the more there are; one temperature is plain importance sampling. From the prior the encoder has
    no part in it. Work grows with T S (2 + num_leapfrog_steps), each of these about a step of
    training; sizes of the leapfrog steps are found by four chains of their own per point.

    Streams: memory depends on `batch_size` and `num_chains`, and neither on the number of points
    nor on `num_temperatures`, but for the per-point results and T numbers of each point of a batch.

    Args:
        model: A trained model whose latents take every real value.
        data: Array `[N, ...]`, `tf.data.Dataset` or `keras.utils.PyDataset`.
        num_temperatures: Steps from the start to p(x, z), T.
        num_chains: Chains per point, S.
        num_leapfrog_steps: Leapfrog steps of a move.
        start: What the chains begin from, such as `tfvae.evaluation.Widened()`; None is the prior.
        unit: How large one unit of the data as it was measured is, see `tfvae.log_likelihood`.
        batch_size: Points per batch, for arrays.
        resume: Name of a file that keeps what is found batch by batch, and from which the
            evaluation goes on where it exists, see `tfvae.log_likelihood`.
        seed: Int or pair of ints; the same seed, data and `batch_size` give the same numbers.
        verbose: Shows a progress bar where it takes more than two seconds.

    Returns:
        `AnnealedLogLikelihood`; of models whose log p(x) is known, with that.

    Raises:
        TypeError: `start` is no proposal.
        ValueError: A number is out of its range, the data is not what the model is for, z is not
            free to take every real value, or `resume` is torn or of another evaluation.
        OSError: `resume` cannot be written.

    Example:
        >>> from tfvae.demo import vae, x
        >>> result = tfvae.annealed_log_likelihood(vae, x[:3], 20, num_chains=4)
        >>> result.per_point.shape, result.mean < 0.0
        ((3,), True)

    References:
        Annealed importance sampling (Neal, 2001), https://arxiv.org/abs/physics/9803008
        On the Quantitative Analysis of Decoder-Based Generative Models (Wu et al., 2017),
        https://arxiv.org/abs/1611.04273
    """
    num_chains = check_count("num_chains", num_chains)
    num_leapfrog_steps = check_count("num_leapfrog_steps", num_leapfrog_steps)
    betas = tf.constant(temperatures(check_count("num_temperatures", num_temperatures)))
    seed = stateless_seed(0 if seed is None else seed)
    if start is not None and not isinstance(start, Proposal):
        raise TypeError(
            "`start` must be a `tfvae.evaluation.Proposal`, such as `tfvae.evaluation.Widened()`, "
            f"or None for the prior. Received: {type(start).__name__}"
        )
    stream = Stream(model, data, batch_size)
    if start is not None and stream.num_points is not None:
        start.check_points(stream.num_points)
    compute = model.functions(
        ("annealed", num_chains, num_leapfrog_steps, start),
        functools.partial(_annealer, model, num_chains, num_leapfrog_steps, start),
    )
    units = Unit(model, unit)
    settings = {
        "task": "annealed_log_likelihood",
        "num_temperatures": int(num_temperatures),
        "num_chains": num_chains,
        "num_leapfrog_steps": num_leapfrog_steps,
        "start": start,
        "unit": np.asarray(unit).tolist(),
        "seed": np.asarray(seed).tolist(),
    }
    record = Record(resume, model, settings)
    first = 0
    with progress(stream.likely_points, "annealed log p(x)", verbose) as bar:
        for index, (batch, count) in enumerate(stream):
            own = {} if start is None else start.of_points(slice(first, first + count))
            own = {name: filled(part, len(batch["x"])) for name, part in own.items()}
            if not record.holds({**batch, **{f"own {n}": v for n, v in own.items()}}, count):
                found = compute(batch, own, betas, fold_in(seed, index))
                values = {n: v.numpy()[:count] for n, v in zip(_NAMES, found, strict=True)}
                record.add({**values, **units.of_first(batch, count)})
            bar.update(count)
            first += count
    if start is not None:
        start.check_points(first)
    record.close()
    values = record.values
    return AnnealedLogLikelihood(
        **AnnealedLogLikelihood._fields_of(values),
        acceptance=values["acceptance"],
        num_temperatures=int(num_temperatures),
        num_chains=num_chains,
    )


def _annealer(
    model: LatentVariableModel, num_chains: int, num_leapfrog_steps: int, start: Proposal | None
) -> _Compute:
    def compute(
        batch: dict[str, Tensor], own: dict[str, Tensor], betas: Tensor, seed: Tensor
    ) -> tuple[Tensor, ...]:
        exact = model.exact_log_p_x(**batch)
        if exact is not None:
            same = [tf.fill(tf.shape(exact), tf.cast(v, exact.dtype)) for v in (num_chains, np.nan)]
            return exact, tf.zeros_like(exact), *same
        check_free(model)
        path = path_of(model, batch, own, start)
        steps = adapted_steps(path, betas, num_leapfrog_steps, fold_in(seed, 0))
        z = path.draw(num_chains, fold_in(seed, 1))
        log_w, accepted = annealed(path, z, betas, steps, num_leapfrog_steps, fold_in(seed, 2))
        return *summary_of_weights(log_w), accepted

    return compute
