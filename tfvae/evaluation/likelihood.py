"""The evidence log p(x) of data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from tqdm import tqdm

from tfvae._config import check_count
from tfvae._random import fold_in, stateless_seed
from tfvae._typing import Seed, Tensor
from tfvae._words import counted
from tfvae.evaluation.curve import Curve
from tfvae.evaluation.estimate import OfDraws
from tfvae.evaluation.pareto import NO_VARIANCE, largest_k
from tfvae.evaluation.proposals import Encoder, Proposal, check_proposal
from tfvae.evaluation.record import Record
from tfvae.evaluation.sampling import Batch, Sampler, as_arrays, as_sums
from tfvae.evaluation.sharding import Part, Shard
from tfvae.evaluation.streaming import Stream, progress
from tfvae.evaluation.units import Unit
from tfvae.graph.evidence import Sums
from tfvae.models import LatentVariableModel

__all__ = ["LogLikelihood", "log_likelihood"]

# Weights of too heavy a tail in a tenth of the points are not to be taken at their word.
_MANY_POINTS = 0.1
# Where half of them have no variance, the error of the mean is off by its own size: measured on
# posteriors that are known, see `docs/evidence.md`.
_HALF = 0.5
_ENCODER = Encoder()


@dataclass(frozen=True)
class LogLikelihood(OfDraws):
    """Importance-sampled log p(x): a lower bound in expectation, tighter with more samples.

    There is a `message` where the median effective sample size is below 10, or more than a tenth of
    the points have a `k_hat` above `largest_k`; and, of the errors alone, where more than half have
    one above 0.5, or `share_of_one_state` is more than a tenth.

    Attributes:
        per_point: log p(x) `[N]`, nats.
        mean: Mean over the points, nats.
        standard_error: Of the mean, nats, over the choice of the points and of the draws.
        per_point_standard_error: `[N]`, nats: of each estimate, over its draws alone. NaN with one
            draw, which says nothing of it; large, up to infinity, where one of several carries the
            estimate. Zero where log p(x) is known, or all weights are equal.
        ess: Effective sample size `[N]`, between 1 and `num_samples`. A value near 1 says that
            one draw carries the estimate, which is then likely too low.
        k_hat: Shape of the tail of the weights `[N]`, see `tfvae.evaluation.pareto.pareto_k`. Above
            0.5 their variance is infinite, and what the standard error says too little; above
            `largest_k` so is the estimate, likely. It sees what `ess` cannot: a posterior too
            narrow for draws to reach where p(x, z) lies. NaN where there are too few draws to tell;
            minus infinity where the largest are equal, or log p(x) is known.
        curve: The same bound from fewer draws: those of the first blocks that are scored at once,
            1, 2, 4, ... of them, 5,000 draws shared by the points of a batch, and all S.
        num_samples: Draws per point.
        num_dimensions: Entries of one example that were observed, D, as a mean over the points: all
            but those that are NaN.
        log_unit: Logarithm of the volume of a unit of the data as it was measured, nats, as a mean
            over the points: what `bits_per_dimension` has beside log p(x).
        is_known: Whether log p(x) is a sum over all states, or has a closed form: nothing of it is
            an estimate.
        share_of_one_state: Share of the points whose posterior is over finitely many states, and
            all of whose weights are equal, as those of one state drawn again and again: they say
            nothing of the others.
    """

    per_point_standard_error: np.ndarray
    ess: np.ndarray
    k_hat: np.ndarray
    curve: Curve
    num_samples: int
    num_dimensions: float
    log_unit: float = 0.0
    is_known: bool = False
    share_of_one_state: float = 0.0

    @classmethod
    def of(cls, values: Mapping[str, np.ndarray], num_samples: int) -> LogLikelihood:
        """Summarises what is known of each point.

        Args:
            values: `[N]` each, by name: those of `Sampler.judged` and of `Unit.of`.
            num_samples: Draws per point.
        """
        curve = {int(n.split()[1]): v for n, v in values.items() if n.startswith("curve ")}
        return cls(
            **cls._fields_of(values),
            k_hat=values["k_hat"],
            curve=Curve.of([curve]),
            num_samples=num_samples,
            share_of_one_state=float(np.mean(values["of_one_state"])),
        )

    @property
    def largest_k(self) -> float:
        """The most that a `k_hat` may be: min(1 - 1 / log10(S), 0.7)."""
        return largest_k(self.num_samples)

    @property
    def median_k_hat(self) -> float:
        """Median over the points for which there is one."""
        known = self.k_hat[~np.isnan(self.k_hat)]
        # A median between two infinities is none.
        with np.errstate(invalid="ignore"):
            return float(np.median(known)) if len(known) else float("nan")

    @property
    def share_of_large_k_hat(self) -> float:
        """Share above `largest_k` of the points for which there is one."""
        known = self.k_hat[~np.isnan(self.k_hat)]
        return float(np.mean(known > self.largest_k)) if len(known) else float("nan")

    @property
    def share_without_variance(self) -> float:
        """Share of these whose `k_hat` is above 0.5: their errors say too little."""
        known = self.k_hat[~np.isnan(self.k_hat)]
        return float(np.mean(known > NO_VARIANCE)) if len(known) else float("nan")

    def _doubts(self) -> list[str]:
        if not self.share_of_large_k_hat > _MANY_POINTS:
            return []
        share = f"{self.share_of_large_k_hat:.0%} of the points"
        return [f"{share} have weights with a k-hat above {self.largest_k:.2g}"]

    def _unsure(self) -> list[str]:
        if self.share_of_one_state > _MANY_POINTS:
            share = f"{self.share_of_one_state:.0%} of the points"
            return [f"all draws of {share} have one weight, as those of a single state"]
        if not self.share_without_variance > _HALF:
            return []
        share = f"{self.share_without_variance:.0%} of the points"
        return [f"{share} have weights with a k-hat above {NO_VARIANCE}, as without a variance"]

    def _remedy(self) -> str:
        return (
            "Take more draws, or others, by `proposal=` of `log_likelihood`: "
            "`tfvae.evaluation.Widened()`, `Defensive()`, or `Refined(...)` of what "
            "`tfvae.evaluation.refine` finds."
        )

    def _title(self) -> str:
        points, samples = counted(len(self.ess), "point"), counted(self.num_samples, "sample")
        return f"Log-likelihood of {points}, {samples} each"

    def _own_numbers(self) -> dict[str, float]:
        return {
            "median_k_hat": self.median_k_hat,
            "share_of_large_k_hat": self.share_of_large_k_hat,
            "share_without_variance": self.share_without_variance,
            "share_of_one_state": self.share_of_one_state,
            "largest_k": self.largest_k,
            "num_samples": self.num_samples,
        }

    def _own_rows(self) -> list[list[str]]:
        if not math.isfinite(self.median_k_hat):  # Of few draws, and of exact sums, there is none.
            return []
        shares = self.share_without_variance, self.share_of_large_k_hat
        above = sorted({NO_VARIANCE: shares[0], self.largest_k: shares[1]}.items())
        return [
            ["k-hat of the weights", f"{self.median_k_hat:.2f}", "", "median over points"],
            *(["", f"{share:.0%}", "", f"of points above {k:.2g}"] for k, share in above),
        ]


@overload
def log_likelihood(
    model: LatentVariableModel,
    data: Any,
    num_samples: int = ...,
    *,
    proposal: Proposal = ...,
    unit: Any = ...,
    batch_size: int = ...,
    memory_gib: float = ...,
    resume: Any = ...,
    shard: None = ...,
    seed: Seed = ...,
    verbose: bool = ...,
) -> LogLikelihood: ...


@overload
def log_likelihood(
    model: LatentVariableModel,
    data: Any,
    num_samples: int = ...,
    *,
    proposal: Proposal = ...,
    unit: Any = ...,
    batch_size: int = ...,
    memory_gib: float = ...,
    resume: Any = ...,
    shard: Shard,
    seed: Seed = ...,
    verbose: bool = ...,
) -> Part[LogLikelihood]: ...


def log_likelihood(
    model: LatentVariableModel,
    data: Any,
    num_samples: int = 1000,
    *,
    proposal: Proposal = _ENCODER,
    unit: Any = 1.0,
    batch_size: int = 100,
    memory_gib: float = 1.0,
    resume: Any = None,
    shard: Shard | None = None,
    seed: Seed = 0,
    verbose: bool = True,
) -> LogLikelihood | Part[LogLikelihood]:
    """Estimates log p(x) of each point by importance sampling.

        log p(x) ~ log (1/S) sum_s p(x|z_s) p(z_s) / q(z_s|x),   z_s ~ q(z|x)

    where q is the posterior of the encoder, or another `proposal`. How far the estimate can be
    trusted is told by `LogLikelihood.message`.

    Streams: memory depends neither on the number of points nor on `num_samples`, but for the
    per-point results. Encoder and prior run once per batch, and again about twice in a second where
    progress is shown or kept. Draws are scored in blocks, by one program for all numbers of draws:
    5,000 draws of the points of a batch together, or as many as `memory_gib` holds. What a draw
    takes is counted in the traced pass, as the sum of all intermediate results that grow with the
    draws, which is more than is held at once; weights, data and what TensorFlow needs within single
    operations come on top. Where one draw of each point is too much, a batch is taken in pieces.

    Args:
        model: A trained model.
        data: Array `[N, ...]`, `tf.data.Dataset` or `keras.utils.PyDataset`.
        num_samples: Draws per point, S.
        proposal: What the draws come from, such as `tfvae.evaluation.Defensive()`.
        unit: How large one unit of the data as it was measured is in `data`, for
            `bits_per_dimension` alone: 1 / 255 for levels of 8 bits that were scaled to [0, 1], and
            1 / 256 for (levels + uniform noise) / 256. A number, or numbers that broadcast to one
            example. Likelihoods of whole numbers or levels have no unit.
        batch_size: Points per batch, for arrays.
        memory_gib: The most memory that a block of draws may take, in units of 2**30 bytes.
        resume: Name of a file that keeps what is found, written every ten seconds and at the end.
            Where it exists, the evaluation goes on from it, with the numbers that it would have had
            without the interruption; a file of other data, weights or settings is refused.
        shard: The share of the data that this process evaluates, as one of several, such as
            `tfvae.evaluation.Shard(0, 4)`: what is returned is then a part, and the whole is what
            `tfvae.evaluation.merged` makes of all.
        seed: Int or pair of ints; the same seed, data, `batch_size` and `memory_gib` give the same
            numbers. A stream of the rows of an array is other data: XLA may draw other numbers.
        verbose: Shows a progress bar where it takes more than two seconds.

    Returns:
        `LogLikelihood`; with `shard`, a `tfvae.evaluation.Part` of one.

    Raises:
        TypeError: `proposal` or `shard` is none.
        ValueError: A number is out of its range, the data is not what the model is for, the
            proposal is not for this model or data, the likelihood has no `unit`, or `resume` is
            torn or of another evaluation.
        OSError: `resume` cannot be written.

    Example:
        >>> from tfvae.demo import vae, x
        >>> result = tfvae.log_likelihood(vae, x, num_samples=100)
        >>> result.per_point.shape == (len(x),), result.mean < 0.0
        (True, True)

    Reference: Importance Weighted Autoencoders (Burda et al., 2016),
    https://arxiv.org/abs/1509.00519
    """
    num_samples = check_count("num_samples", num_samples)
    seed = stateless_seed(0 if seed is None else seed)
    check_proposal("proposal", proposal)
    stream = Stream(model, data, batch_size)
    proposal.check_data(stream)
    sampler = Sampler(model, proposal, num_samples, memory_gib, stream.likely_points)
    units = Unit(model, unit)
    settings = {
        "task": "log_likelihood",
        "num_samples": num_samples,
        "proposal": proposal,
        "unit": np.asarray(unit).tolist(),
        "memory_gib": float(memory_gib),
        "seed": np.asarray(seed).tolist(),
    }
    record = Record(resume, model, settings, shard)
    points = stream.likely_points
    draws = None if points is None else points * num_samples
    with progress(draws, "log p(x)", verbose, unit="draws") as bar:
        for index, (batch, own, count) in enumerate(_pieces(stream, sampler, proposal)):
            piece = _Piece(batch, own, count, fold_in(seed, index))
            if record.needs_nothing(
                {**batch, **{f"own {name}": v for name, v in own.items()}}, count
            ):
                bar.update(count * num_samples)
            else:
                record.add(
                    {**piece.estimated(sampler, record, bar), **units.of_first(batch, count)}
                )
    record.close()
    return LogLikelihood.of(record.values, num_samples) if shard is None else record.part


def _pieces(
    stream: Stream, sampler: Sampler, proposal: Proposal
) -> Iterator[tuple[Batch, Batch, int]]:
    """Yields all data piece by piece, with what the proposal knows of its points."""
    start = 0
    for batch, count in stream:
        own = proposal.of_points(slice(start, start + count))
        yield from sampler.pieces(batch, count, own)
        start += count
    proposal.check_points(start)


@dataclass(frozen=True)
class _Piece:
    """Points that are scored together: `own` is what the proposal knows of them."""

    batch: Batch
    own: Batch
    count: int
    seed: Tensor

    def estimated(self, sampler: Sampler, record: Record, bar: tqdm) -> dict[str, np.ndarray]:
        """Returns what `Sampler.judged` says of the points, from where the record stands."""
        sums = as_sums(record.take_partial())
        block = sampler.block_of(self.batch, self.own)
        if sums is not None:
            bar.update(self.count * min(sampler.num_samples, int(sums.blocks) * block))

        def watch(sums: Sums, drawn: int) -> None:
            bar.update(self.count * drawn)
            record.note(lambda: as_arrays(sums))

        watched = watch if record.is_kept or not bar.disable else None
        evidence = sampler.evidence(self.batch, self.own, self.seed, sums, watched)
        found = sampler.judged(evidence, block, self.count)
        del found["elbo"]  # which only the ledger reads
        return found
