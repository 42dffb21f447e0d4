"""Scores data for the ledger of the ELBO."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae._config import check_count
from tfvae._random import fold_in, stateless_seed
from tfvae._shapes import with_event
from tfvae._typing import Seed, Tensor
from tfvae.distributions.factors import as_factors
from tfvae.distributions.statistics import statistic
from tfvae.evaluation.activity import Moments, posterior_means
from tfvae.evaluation.aggregation import Aggregated, Kept
from tfvae.evaluation.dimensions import Dimensions
from tfvae.evaluation.ledger import Decomposition, balanced
from tfvae.evaluation.proposals import Encoder, OfParameters, Proposal, check_proposal
from tfvae.evaluation.refinement import refined_posterior
from tfvae.evaluation.sampling import Sampler
from tfvae.evaluation.streaming import Stream, progress
from tfvae.evaluation.units import Unit
from tfvae.learning.semi_amortised import checked_origin, refinable
from tfvae.models import LatentVariableModel

__all__ = ["decompose"]

_ENCODER = Encoder()


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
    seed: Seed = 0,
    verbose: bool = True,
) -> Decomposition:
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
        seed: Int or pair of ints; the same seed, data, `batch_size` and `memory_gib` give the same
            numbers.
        verbose: Shows a progress bar where it takes more than two seconds.

    Returns:
        `Decomposition`.

    Raises:
        TypeError: `proposal` is none.
        ValueError: A number is too small, `refine_steps` are without `evidence_samples` or beside a
            `proposal`, the data is not what the model or the proposal is for, or posteriors that
            are to be refined are not made by one layer of parameters.

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
        gaps = _Gaps(model, sampler, proposal, num_samples, refine_steps)
    kept = Kept(stream, max_pairs, fold_in(seed, -1)) if max_pairs else None
    points: dict[str, list[np.ndarray]] = {}
    start = 0
    of_each = _OfDimensions(model)
    with progress(stream.likely_points, "ELBO ledger", verbose) as bar:
        for index, (batch, count) in enumerate(stream):
            own = fold_in(seed, index)
            scores, draws = score(batch, tf.constant(num_samples), own)
            of_each.add(scores, count)
            values = {name: np.asarray(value)[:count] for name, value in scores.items()}
            if gaps is not None:
                values |= gaps.of(batch, slice(start, start + count), own, values["elbo"])
            start += count
            for name, value in values.items():
                points.setdefault(name, []).append(value)
            if kept is not None:
                kept.add(batch, count, draws)
            bar.update(count)
    if gaps is not None:
        proposal.check_points(start)
    # Batches of other sizes have other numbers of draws on their curves.
    names = [name for name, parts in points.items() if len(parts) == len(points["elbo"])]
    whole = {name: np.concatenate(points.pop(name)) for name in names}
    return balanced(
        whole,
        None if kept is None else kept.scored(verbose),
        model.graph.rate_names,
        of_each.found if model.graph.latents else None,
        num_samples=num_samples,
        evidence_samples=evidence_samples,
        refine_steps=refine_steps,
        conditions=model.graph.conditions,
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


class _OfDimensions:
    """Rates and posterior means, dimension by dimension: sums over the points alone are held.

    Args:
        model: The model.
    """

    def __init__(self, model: LatentVariableModel) -> None:
        self._shapes = model.graph.latent_shapes
        self._means, self._rates = Moments(), Moments()
        self._has_rates = False

    def add(self, scores: dict[str, Tensor], count: int) -> None:
        """Takes the scores of dimensions out of those of a chunk, of which `count` are data."""
        one, other, rates = (scores.pop(name, None) for name in ("mean", "other_mean", "rates"))
        if one is not None and other is not None:
            self._means.add(np.asarray(one)[:count], np.asarray(other)[:count])
        if rates is not None:
            self._rates.add(np.asarray(rates)[:count])
            self._has_rates = True

    def found(self, of_all: Aggregated | None) -> Dimensions:
        """Returns what is known of each dimension, with that of the aggregated posterior."""
        rate = self._rates.mean if self._has_rates else None
        return Dimensions.of(self._shapes, self._means.covariance, rate, of_all)


class _Gaps:
    """The evidence, and what is missing of it in the ELBO.

    Args:
        model: The model.
        sampler: Of the draws behind the evidence.
        proposal: What these come from, where no posterior is refined.
        num_samples: Draws behind the ELBO.
        refine_steps: Steps that refine the posteriors which the draws come from, 0 for none.
    """

    def __init__(
        self,
        model: LatentVariableModel,
        sampler: Sampler,
        proposal: Proposal,
        num_samples: int,
        refine_steps: int,
    ) -> None:
        self._model, self._sampler, self._proposal = model, sampler, proposal
        self._refines = refine_steps > 0
        self._unit = Unit(model)
        self._steps = (refine_steps, num_samples)
        # Draws of one pass over all points.
        self._draws = None if sampler.num_points is None else sampler.num_points * num_samples

    def of(
        self, batch: dict[str, Tensor], rows: slice, seed: Tensor, elbo: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Returns the values of the first points of a batch `[count]`, the data's `rows`, by name.

        Those of the evidence are named as `Sampler.judged` and `Unit.of_first` do.
        """
        count = rows.stop - rows.start
        own, found = self._proposal.of_points(rows), {}
        if self._refines:
            make = functools.partial(_refiner, self._model, *self._steps)
            passes = None if self._draws is None else self._draws * self._steps[0]
            refine = self._model.functions(("refined ledger", *self._steps), make, passes)
            found = {name: value.numpy()[:count] for name, value in refine(batch, seed).items()}
            own = {"params": found.pop("params")}
        values = self._evidence(batch, count, own, fold_in(seed, 1))
        with np.errstate(invalid="ignore"):  # infinite scores
            left = values["log_p_x"] - values.pop("elbo")
            if not self._refines and self._proposal != _ENCODER:
                # The weights of other draws know nothing of the encoder's bound.
                left = values["log_p_x"] - self._other_elbo(batch, seed)[:count]
            if not self._refines:
                return {**values, "gap": left}
            return {
                **values,
                "gap": values["log_p_x"] - found["others"],
                "amortisation_gap": found["refined"] - elbo,
                "approximation_gap": left,
            }

    def _other_elbo(self, batch: dict[str, Tensor], seed: Tensor) -> np.ndarray:
        """Returns the ELBO of the encoder, from other draws than those of the ledger."""
        num_samples = self._steps[1]

        def elbo(batch: dict[str, Tensor], seed: Tensor) -> Tensor:
            return self._model.terms(num_samples=num_samples, seed=seed, **batch).elbo

        compute = self._model.functions(("other ELBO", num_samples), lambda: elbo, self._draws)
        return compute(batch, fold_in(seed, 3)).numpy()

    def _evidence(
        self, batch: dict[str, Tensor], count: int, own: dict[str, np.ndarray], seed: Tensor
    ) -> dict[str, np.ndarray]:
        parts = []
        for index, (piece, params, num) in enumerate(self._sampler.pieces(batch, count, own)):
            draw = fold_in(seed, index) if index else seed
            evidence = self._sampler.evidence(piece, params, draw)
            judged = self._sampler.judged(evidence, self._sampler.block_of(piece, params), num)
            parts.append({**judged, **self._unit.of_first(piece, num)})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _refiner(
    model: LatentVariableModel, refine_steps: int, num_samples: int
) -> Callable[[dict[str, Tensor], Tensor], dict[str, Tensor]]:
    """Makes the pass that refines the posteriors of one chunk."""

    def refined(batch: dict[str, Tensor], seed: Tensor) -> dict[str, Tensor]:
        start, draw = model.encode(**batch), fold_in(seed, 2)
        best = refined_posterior(model, batch, start, refine_steps, draw, num_samples)
        # Differences of ELBOs at the same noise; other draws behind the gap itself.
        after, others = (
            model.terms(num_samples=num_samples, seed=draw, posterior=q, **batch).elbo
            for q, draw in ((best, fold_in(seed, 0)), (None, fold_in(seed, 3)))
        )
        return {
            "params": checked_origin(model, best).params,
            "refined": after,
            "others": others,
        }

    return refined
