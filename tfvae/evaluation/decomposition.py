"""Scores data for the ledger of the ELBO."""

from __future__ import annotations

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
from tfvae.evaluation.aggregation import Kept
from tfvae.evaluation.dimensions import OfDimensions
from tfvae.evaluation.gaps import Gaps
from tfvae.evaluation.ledger import Decomposition, balanced
from tfvae.evaluation.proposals import Encoder, OfParameters, Proposal, check_proposal
from tfvae.evaluation.record import Record
from tfvae.evaluation.sampling import Sampler
from tfvae.evaluation.sharding import Part, Shard
from tfvae.evaluation.streaming import Stream, progress
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
    num_samples = check_count("num_samples", num_samples)
    evidence_samples, refine_steps, max_pairs = (
        0 if value == 0 else check_count(name, value)
        for name, value in (
            ("evidence_samples", evidence_samples),
            ("refine_steps", refine_steps),
            ("max_pairs", max_pairs),
        )
    )
    if refine_steps and not evidence_samples:
        raise ValueError(
            "`refine_steps` splits the gap to log p(x), which takes `evidence_samples` of at least "
            f"1. Received: refine_steps={refine_steps}, evidence_samples=0"
        )
    check_proposal("proposal", proposal)
    if refine_steps and proposal != _ENCODER:
        raise ValueError(
            "With `refine_steps` the draws for log p(x) come from the refined posteriors. "
            f"Received: refine_steps={refine_steps}, proposal={proposal}. Leave one of them out."
        )
    seed = stateless_seed(0 if seed is None else seed)
    stream = Stream(model, data, batch_size)
    if refine_steps:
        refinable(model)
    num_points = stream.likely_points
    passes = None if num_points is None else num_points * num_samples
    score = model.functions("ledger", lambda: _scorer(model), passes)
    gaps = None
    if evidence_samples:
        if stream.num_points is not None:
            proposal.check_points(stream.num_points)
        draw_from = OfParameters() if refine_steps else proposal
        sampler = Sampler(model, draw_from, evidence_samples, memory_gib, num_points)
        gaps = Gaps(model, sampler, proposal, num_samples, refine_steps)
    kept = Kept(stream, max_pairs, fold_in(seed, -1)) if max_pairs else None
    graph = model.graph
    settings = {
        "task": "decompose",
        "num_samples": num_samples,
        "evidence_samples": evidence_samples,
        "refine_steps": refine_steps,
        "proposal": proposal,
        "max_pairs": max_pairs,
        "memory_gib": float(memory_gib),
        "seed": np.asarray(seed).tolist(),
        "rates": json.dumps(list(graph.rate_names)),
        "latents": json.dumps({name: graph.latent_shapes[name] for name in graph.latents}),
        "conditions": json.dumps(list(graph.conditions)),
    }
    record = Record(resume, model, settings, shard)
    start = 0
    of_each = OfDimensions(graph.latent_shapes, is_shared=record.travels)
    with progress(stream.likely_points, "ELBO ledger", verbose) as bar:
        for index, (batch, count) in enumerate(stream):
            own, rows = fold_in(seed, index), slice(start, start + count)
            start += count
            known = proposal.of_points(rows) if evidence_samples else {}
            is_known = record.needs_nothing(
                {**batch, **{f"own {name}": v for name, v in known.items()}}, count
            )
            scores, draws = {}, None
            is_own = record.shard.has(index)
            if is_own or index == 0:
                scores, draws = score(batch, tf.constant(num_samples), own)
            if is_own:
                of_each.add(scores, count)
            elif index == 0:
                of_each.begin(scores, count)
            if not is_known:
                values = {name: np.asarray(value)[:count] for name, value in scores.items()}
                if gaps is not None:
                    values |= gaps.of(batch, rows, own, values["elbo"])
                record.add(values)
            if kept is not None:
                kept.add(batch, count, draws if is_own else None)
            bar.update(count)
    if gaps is not None:
        proposal.check_points(start)
    of_all = None if kept is None else kept.scored(verbose)
    if record.travels:
        compared = {} if of_all is None else of_all.to_arrays()
        record.close({**of_each.to_arrays(), **compared})
    if shard is not None:
        return record.part
    return balanced(
        record.values,
        of_all,
        graph.rate_names,
        of_each.found if graph.latents else None,
        num_samples=num_samples,
        evidence_samples=evidence_samples,
        refine_steps=refine_steps,
        conditions=graph.conditions,
    )


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
