"""Scores data for the ledger of the ELBO."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any, overload

import numpy as np
import tensorflow as tf

from tfvae._config import check_count
from tfvae._random import fold_in, stateless_seed
from tfvae._shapes import with_event
from tfvae._typing import Seed, Tensor
from tfvae.distributions.factors import as_factors
from tfvae.distributions.statistics import statistic
from tfvae.evaluation.activity import posterior_means
from tfvae.evaluation.aggregation import Aggregated, Kept
from tfvae.evaluation.dimensions import OfDimensions
from tfvae.evaluation.gaps import Gaps
from tfvae.evaluation.ledger import Decomposition, balanced
from tfvae.evaluation.proposals import Encoder, OfParameters, Proposal, check_proposal
from tfvae.evaluation.record import Record
from tfvae.evaluation.sampling import Sampler
from tfvae.evaluation.sharding import Part, Shard
from tfvae.evaluation.streaming import Stream, progress
from tfvae.graph.graph import Graph
from tfvae.learning.semi_amortised import refinable
from tfvae.models import LatentVariableModel

__all__ = ["decompose"]

_ENCODER = Encoder()


@overload
def decompose(
    model: LatentVariableModel,
    data: Any,
    *,
    num_samples: int = ...,
    evidence_samples: int = ...,
    refine_steps: int = ...,
    proposal: Proposal = ...,
    max_pairs: int = ...,
    batch_size: int = ...,
    memory_gib: float = ...,
    resume: Any = ...,
    shard: None = ...,
    seed: Seed = ...,
    verbose: bool = ...,
) -> Decomposition: ...


@overload
def decompose(
    model: LatentVariableModel,
    data: Any,
    *,
    num_samples: int = ...,
    evidence_samples: int = ...,
    refine_steps: int = ...,
    proposal: Proposal = ...,
    max_pairs: int = ...,
    batch_size: int = ...,
    memory_gib: float = ...,
    resume: Any = ...,
    shard: Shard,
    seed: Seed = ...,
    verbose: bool = ...,
) -> Part[Decomposition]: ...


def decompose(
    model: LatentVariableModel,
    data: Any,
    *,
    num_samples: int = 10,
    evidence_samples: int = 1000,
    refine_steps: int = 0,
    proposal: Proposal = _ENCODER,
    max_pairs: int = 250_000_000,
    batch_size: int = 250,
    memory_gib: float = 1.0,
    resume: Any = None,
    shard: Shard | None = None,
    seed: Seed = 0,
    verbose: bool = True,
) -> Decomposition | Part[Decomposition]:
    """Balances the ledger of the ELBO over all given points.

    The aggregated posterior is that of all N points: draws are scored under each posterior, chunk
    by chunk. All N S draws are where that makes no more than `max_pairs` pairs; of more data, fewer
    of each point, and then those of some points. From there on work grows with N, and nothing is
    held of size N but for results, S numbers and S K of each point that is compared: 20 to 30 bytes
    of each point without evidence, 40 more with it, and 16 where the prior depends on a condition.
    Of streams of any length that is all, since the posteriors are read again from the data.

    Args:
        model: A trained model.
        data: Array `[N, ...]`, `tf.data.Dataset` or `keras.utils.PyDataset`. It is read more than
            once and must give the same points each time.
        num_samples: Draws of z per point for all entries but the evidence.
        evidence_samples: Draws of z per point for log p(x); 0 leaves it out, and the gap with it.
        refine_steps: Splits the gap: the posterior of each point is refined by so many steps of
            `tfvae.evaluation.refine`, 300 for instance, and log p(x) drawn from that. 0 does not.
        proposal: What the draws for log p(x) come from, see `tfvae.log_likelihood`; all else is of
            the posterior of the encoder.
        max_pairs: The most pairs of a draw and a posterior that are scored for entries that
            compare points with each other, of some nanoseconds for each latent dimension; 0 leaves
            these out. What is sampled is told by `num_compared` and by the standard errors.
        batch_size: Points per batch, for arrays.
        memory_gib: The most memory that draws for log p(x) may take, see `tfvae.log_likelihood`.
        resume: Name of a file that keeps what is found batch by batch, and from which the
            evaluation goes on where it exists, see `tfvae.log_likelihood`. What it saves is the
            evidence: all else takes little, and is found again.
        shard: The share of the data that this process evaluates, see `tfvae.log_likelihood`. Of
            draws that are scored under all posteriors, each worker scores those of its own points.
        seed: Int or pair of ints; the same seed, data, `batch_size` and `memory_gib` give the same
            numbers.
        verbose: Shows a progress bar where it takes more than two seconds.

    Returns:
        `Decomposition`; with `shard`, a `tfvae.evaluation.Part` of one.

    Raises:
        TypeError: `proposal` or `shard` is none.
        ValueError: A number is too small, `refine_steps` are without `evidence_samples` or beside a
            `proposal`, the data is not what the model or the proposal is for, posteriors that
            are to be refined are not made by one layer of parameters, or `resume` is torn or of
            another evaluation.
        OSError: `resume` cannot be written.

    Example:
        >>> from tfvae.demo import vae, x
        >>> ledger = tfvae.decompose(vae, x, evidence_samples=100)
        >>> residual = ledger.residuals["rate = mutual_information + marginal_kl"]
        >>> abs(residual.mean) < 5 * residual.standard_error
        True

    References:
        ELBO surgery (Hoffman and Johnson, 2016)
        Isolating Sources of Disentanglement in VAEs (Chen et al., 2018),
        https://arxiv.org/abs/1802.04942
    """
    asked = _Asked.of(
        num_samples=num_samples,
        evidence_samples=evidence_samples,
        refine_steps=refine_steps,
        proposal=proposal,
        max_pairs=max_pairs,
        memory_gib=memory_gib,
        seed=seed,
    )
    stream = Stream(model, data, batch_size)
    reading = _Pass(model, stream, asked, resume, shard)
    with progress(stream.likely_points, "ELBO ledger", verbose) as bar:
        for batch, count in stream:
            reading.take(batch, count)
            bar.update(count)
    of_all = reading.closed(verbose)
    if shard is not None:
        return reading.record.part
    return balanced(
        reading.record.values,
        of_all,
        model.graph.rate_names,
        reading.of_each.found if model.graph.latents else None,
        num_samples=asked.num_samples,
        evidence_samples=asked.evidence_samples,
        refine_steps=asked.refine_steps,
        conditions=model.graph.conditions,
    )


@dataclasses.dataclass(frozen=True)
class _Asked:
    """What a ledger is to hold: the arguments of `decompose` of these names, checked."""

    num_samples: int
    evidence_samples: int
    refine_steps: int
    proposal: Proposal
    max_pairs: int
    memory_gib: float
    seed: Tensor

    @classmethod
    def of(cls, *, num_samples: Any, proposal: Any, seed: Any, **given: Any) -> _Asked:
        """Checks the arguments by themselves."""
        num_samples = check_count("num_samples", num_samples)
        for name in ("evidence_samples", "refine_steps", "max_pairs"):
            given[name] = 0 if given[name] == 0 else check_count(name, given[name])
        refine_steps = given["refine_steps"]
        if refine_steps and not given["evidence_samples"]:
            raise ValueError(
                "`refine_steps` splits the gap to log p(x), which takes `evidence_samples` of at "
                f"least 1. Received: refine_steps={refine_steps}, evidence_samples=0"
            )
        check_proposal("proposal", proposal)
        if refine_steps and proposal != _ENCODER:
            raise ValueError(
                "With `refine_steps` the draws for log p(x) come from the refined posteriors. "
                f"Received: refine_steps={refine_steps}, proposal={proposal}. Leave one of them "
                "out."
            )
        seed = stateless_seed(0 if seed is None else seed)
        return cls(num_samples=num_samples, proposal=proposal, seed=seed, **given)

    def gaps(self, model: LatentVariableModel, stream: Stream) -> Gaps | None:
        """Returns what finds the evidence, None where that is left out."""
        if not self.evidence_samples:
            return None
        self.proposal.check_data(stream)
        draw_from = OfParameters() if self.refine_steps else self.proposal
        sampler = Sampler(
            model, draw_from, self.evidence_samples, self.memory_gib, stream.likely_points
        )
        return Gaps(model, sampler, self.proposal, self.num_samples, self.refine_steps)

    def settings(self, graph: Graph) -> dict[str, Any]:
        """Returns all that another run has to have in common with one that it goes on with."""
        return {
            "task": "decompose",
            "num_samples": self.num_samples,
            "evidence_samples": self.evidence_samples,
            "refine_steps": self.refine_steps,
            "proposal": self.proposal,
            "max_pairs": self.max_pairs,
            "memory_gib": float(self.memory_gib),
            "seed": np.asarray(self.seed).tolist(),
            "rates": json.dumps(list(graph.rate_names)),
            "latents": json.dumps({name: graph.latent_shapes[name] for name in graph.latents}),
            "conditions": json.dumps(list(graph.conditions)),
        }


class _Pass:
    """Reads data once, and hands what is found of each batch to those who make entries of it.

    Args:
        model: The model.
        stream: The data.
        asked: What the ledger is to hold.
        resume: As for `decompose`.
        shard: As for `decompose`.

    Attributes:
        record: Of values of points.
        of_each: Of single dimensions.
    """

    def __init__(
        self,
        model: LatentVariableModel,
        stream: Stream,
        asked: _Asked,
        resume: Any,
        shard: Shard | None,
    ) -> None:
        if asked.refine_steps:
            refinable(model)
        num_points, seed = stream.likely_points, asked.seed
        passes = None if num_points is None else num_points * asked.num_samples
        self._asked = asked
        self._score = model.functions("ledger", lambda: _scorer(model), passes)
        self._gaps = asked.gaps(model, stream)
        self._kept = Kept(stream, asked.max_pairs, fold_in(seed, -1)) if asked.max_pairs else None
        self.record = Record(resume, model, asked.settings(model.graph), shard)
        self.of_each = OfDimensions(model.graph.latent_shapes, is_shared=self.record.travels)
        self._index = self._num_points = 0

    def take(self, batch: dict[str, Tensor], count: int) -> None:
        """Scores the next batch, of whose points the first `count` are data."""
        index, first = self._index, self._num_points
        self._index, self._num_points = index + 1, first + count
        rows, seed = slice(first, first + count), fold_in(self._asked.seed, index)
        known = self._asked.proposal.of_points(rows) if self._gaps is not None else {}
        named = {f"own {name}": value for name, value in known.items()}
        is_known = self.record.needs_nothing({**batch, **named}, count)
        scores, draws = {}, None
        is_own = self.record.shard.has(index)
        if is_own or index == 0:
            scores, draws = self._score(batch, tf.constant(self._asked.num_samples), seed)
        if is_own:
            self.of_each.add(scores, count)
        elif index == 0:
            self.of_each.begin(scores, count)
        if not is_known:
            values = {name: np.asarray(value)[:count] for name, value in scores.items()}
            if self._gaps is not None:
                values |= self._gaps.of(batch, rows, seed, values["elbo"])
            self.record.add(values)
        if self._kept is not None:
            self._kept.add(batch, count, draws if is_own else None)

    def closed(self, verbose: bool) -> Aggregated | None:
        """Returns what comes of comparing all points with each other, where that is asked for."""
        if self._gaps is not None:
            self._asked.proposal.check_points(self._num_points)
        of_all = None if self._kept is None else self._kept.scored(verbose)
        if self.record.travels:
            compared = {} if of_all is None else of_all.to_arrays()
            self.record.close({**self.of_each.to_arrays(), **compared})
        return of_all


def _scorer(
    model: LatentVariableModel,
) -> Callable[[dict[str, Tensor], Tensor, Tensor], tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Makes the pass over one chunk: values of points `[B, ...]`, draws and their densities."""
    axes, size = len(model.latent_shape), math.prod(model.latent_shape)

    def score(
        batch: dict[str, Tensor], num_samples: Tensor, seed: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        terms = model.terms(num_samples=num_samples, seed=fold_in(seed, 0), **batch)
        conditional = -terms.expect(terms.log_q_z)
        entropy = statistic(terms.q_z, "entropy")
        values = {
            "elbo": terms.elbo,
            "sampled_elbo": -terms.distortion - terms.sampled_rate,
            "distortion": terms.distortion,
            "rate": terms.rate,
            "entropy_z_given_x": conditional if entropy is None else entropy,
            "cross_entropy": -terms.expect(terms.log_p_z),
        }
        rates = [] if terms.level_rates is None else tf.unstack(terms.level_rates, axis=-1)
        values |= dict(zip(model.graph.rate_names, rates, strict=True))
        draws = {"z": terms.z, "log_q_z": terms.log_q_z, "log_p_z": terms.log_p_z}
        if terms.log_weights is not None:
            draws["log_weights"] = terms.log_weights
        for name, distribution in (("log_q_z_each", terms.q_z), ("log_p_z_each", terms.p_z)):
            factors = as_factors(distribution)
            if factors is not None:
                draws[name] = with_event(factors.log_prob(terms.z), [size], axes=axes)
        if model.graph.latents:
            one, other = posterior_means(terms.q_z, fold_in(seed, 4))
            values |= {"mean": one, "other_mean": other}
            if "log_q_z_each" in draws and "log_p_z_each" in draws:
                values["rates"] = with_event(terms.dimension_rates, [size], axes=axes)
            elif size == 1:
                values["rates"] = terms.rate[:, None]
        return values, draws

    return score
