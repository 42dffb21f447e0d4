"""The evidence log p(x) by annealed importance sampling, which needs no good encoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, overload

import numpy as np

from tfvae._random import fold_in, stateless_seed
from tfvae._typing import Seed, Tensor
from tfvae._words import counted
from tfvae.data.chunks import filled
from tfvae.evaluation.annealer import Annealer
from tfvae.evaluation.estimate import OfDraws
from tfvae.evaluation.proposals import Proposal
from tfvae.evaluation.record import Record
from tfvae.evaluation.sharding import Part, Shard
from tfvae.evaluation.streaming import Stream, progress
from tfvae.evaluation.units import Unit
from tfvae.models import LatentVariableModel

__all__ = ["AnnealedLogLikelihood", "annealed_log_likelihood"]

# A tenth of the points with moves that are mostly refused are not to be taken at their word.
_LOW_ACCEPTANCE, _MANY_POINTS = 0.3, 0.1


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
        is_known: Whether log p(x) is a sum over all states, or has a closed form: nothing of it is
            an estimate.
    """

    per_point_standard_error: np.ndarray
    ess: np.ndarray
    acceptance: np.ndarray
    num_temperatures: int
    num_chains: int
    num_dimensions: float
    log_unit: float = 0.0
    is_known: bool = False

    _DRAWS: ClassVar[str] = "chains"
    _FEW: ClassVar[float] = 3.0

    @classmethod
    def of(
        cls, values: Mapping[str, np.ndarray], num_temperatures: int, num_chains: int
    ) -> AnnealedLogLikelihood:
        """Summarises what is known of each point.

        Args:
            values: `[N]` each, by name: those of `Annealer.found` and of `Unit.of_first`.
            num_temperatures: T.
            num_chains: S.
        """
        return cls(
            **cls._fields_of(values),
            acceptance=values["acceptance"],
            num_temperatures=num_temperatures,
            num_chains=num_chains,
        )

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
        points, chains = counted(len(self.ess), "point"), counted(self.num_chains, "chain")
        return f"Annealed log-likelihood of {points}, {chains} each"

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


@overload
def annealed_log_likelihood(
    model: LatentVariableModel,
    data: Any,
    num_temperatures: int = ...,
    *,
    num_chains: int = ...,
    num_leapfrog_steps: int = ...,
    start: Proposal | None = ...,
    unit: Any = ...,
    batch_size: int = ...,
    memory_gib: float = ...,
    resume: Any = ...,
    shard: None = ...,
    seed: Seed = ...,
    verbose: bool = ...,
) -> AnnealedLogLikelihood: ...


@overload
def annealed_log_likelihood(
    model: LatentVariableModel,
    data: Any,
    num_temperatures: int = ...,
    *,
    num_chains: int = ...,
    num_leapfrog_steps: int = ...,
    start: Proposal | None = ...,
    unit: Any = ...,
    batch_size: int = ...,
    memory_gib: float = ...,
    resume: Any = ...,
    shard: Shard,
    seed: Seed = ...,
    verbose: bool = ...,
) -> Part[AnnealedLogLikelihood]: ...


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
    memory_gib: float = 1.0,
    resume: Any = None,
    shard: Shard | None = None,
    seed: Seed = 0,
    verbose: bool = True,
) -> AnnealedLogLikelihood | Part[AnnealedLogLikelihood]:
    """Estimates log p(x) of each point by annealed importance sampling.

        f_t(z) = start(z)**(1 - beta_t) p(x, z)**beta_t,   beta_0 = 0, ..., beta_T = 1
        log p(x) ~ log (1/S) sum_s prod_t f_t(z_(t-1,s)) / f_(t-1)(z_(t-1,s))

    where z_0 is drawn from the start, the prior by default, and z_t from z_(t-1) by a Hamiltonian
    move that keeps f_t. The mean weight is unbiased, however few the temperatures, and the better
    the more there are; one temperature is plain importance sampling. From the prior the encoder has
    no part in it. Work grows with T S (2 + num_leapfrog_steps), each of these about a step of
    training; sizes of the leapfrog steps are found by four chains of their own per point.

    Streams: memory depends neither on the number of points nor on `num_chains`, but for the
    per-point results and T numbers of each point of a batch. So many chains move at once as make
    5,000 of all points of a batch together, or as `memory_gib` holds: what a chain takes is counted
    as in `tfvae.log_likelihood`, for a gradient. What a chain draws is its own: with how many
    others it moves changes results by rounding alone, which many moves may amplify.

    Args:
        model: A trained model whose latents take every real value.
        data: Array `[N, ...]`, `tf.data.Dataset` or `keras.utils.PyDataset`.
        num_temperatures: Steps from the start to p(x, z), T.
        num_chains: Chains per point, S.
        num_leapfrog_steps: Leapfrog steps of a move.
        start: What the chains begin from, such as `tfvae.evaluation.Widened()`; None is the prior.
        unit: How large one unit of the data as it was measured is, see `tfvae.log_likelihood`.
        batch_size: Points per batch, for arrays.
        memory_gib: The most memory that a block of chains may take, in units of 2**30 bytes; the
            four that find the sizes of steps go together in any case.
        resume: Name of a file that keeps what is found batch by batch, and from which the
            evaluation goes on where it exists, see `tfvae.log_likelihood`.
        shard: The share of the data that this process evaluates, see `tfvae.log_likelihood`.
        seed: Int or pair of ints; the same seed, data and `batch_size` give the same numbers.
        verbose: Shows a progress bar where it takes more than two seconds.

    Returns:
        `AnnealedLogLikelihood`; of models whose log p(x) is known, with that. With `shard`, a
        `tfvae.evaluation.Part` of one.

    Raises:
        TypeError: `start` is no proposal, or `shard` none.
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
    stream, units = Stream(model, data, batch_size), Unit(model, unit)
    numbers = (num_temperatures, num_chains, num_leapfrog_steps)
    annealer = Annealer(model, *numbers, memory_gib, stream.likely_points, start)
    seed = stateless_seed(0 if seed is None else seed)
    if start is not None:
        start.check_data(stream)
    settings = {
        "task": "annealed_log_likelihood",
        "num_temperatures": annealer.num_temperatures,
        "num_chains": annealer.num_chains,
        "num_leapfrog_steps": annealer.num_leapfrog_steps,
        "start": start,
        "unit": np.asarray(unit).tolist(),
        "seed": np.asarray(seed).tolist(),
    }
    record = Record(resume, model, settings, shard)
    with progress(stream.likely_points, "annealed log p(x)", verbose) as bar:
        for index, (batch, own, count) in enumerate(_with_own(stream, start)):
            if not record.needs_nothing(
                {**batch, **{f"own {n}": v for n, v in own.items()}}, count
            ):
                values = annealer.found(batch, own, count, fold_in(seed, index))
                record.add({**values, **units.of_first(batch, count)})
            bar.update(count)
    record.close()
    if shard is not None:
        return record.part
    return AnnealedLogLikelihood.of(record.values, annealer.num_temperatures, annealer.num_chains)


def _with_own(
    stream: Stream, start: Proposal | None
) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor], int]]:
    """Yields all data batch by batch, with what the start knows of its points."""
    first = 0
    for batch, count in stream:
        own = {} if start is None else start.of_points(slice(first, first + count))
        yield batch, {name: filled(part, len(batch["x"])) for name, part in own.items()}, count
        first += count
    if start is not None:
        start.check_points(first)
