"""The loop of importance sampling: as many draws at once as memory allows, some at a time."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfvae._typing import Tensor
from tfvae.data.chunks import filled
from tfvae.distributions.finite import num_states
from tfvae.evaluation.blocks import Blocks, bytes_per_draw, check_memory, specs_of_point
from tfvae.evaluation.pareto import pareto_k
from tfvae.evaluation.proposals import Proposal
from tfvae.graph.evidence import (
    Course,
    Evidence,
    Sums,
    evidence_of,
    known_evidence,
    no_draws,
    with_draws,
)
from tfvae.models import LatentVariableModel

__all__ = ["Batch", "Sampler", "as_arrays", "as_sums"]

# Weights kept per point, one number for all numbers of draws: the tail of 7,000, and what of the
# tail of more tells as much as 255 can.
_NUM_LARGEST = 256
# A call is to take about as long: between two of them the bar moves, and a file may be written.
_SECONDS = 0.5

Batch = dict[str, Tensor]


class _Needs(NamedTuple):
    """What is known of a draw: its bytes, the type of its weight, and whether it is a state."""

    bytes: int
    dtype: Any
    draws_states: bool


class Sampler:
    """Importance sampling of batches, by one program for all numbers of draws.

    Args:
        model: The model.
        proposal: What the draws come from.
        num_samples: Draws per point, S.
        memory_gib: The most memory that a pass may take, see `tfvae.evaluation.blocks`.
        num_points: Of all batches together, None where nobody knows.
    """

    def __init__(
        self,
        model: LatentVariableModel,
        proposal: Proposal,
        num_samples: int,
        memory_gib: float,
        num_points: int | None,
    ) -> None:
        check_memory(memory_gib)
        self.num_points = num_points
        self._passes = None if num_points is None else num_points * num_samples
        self._model, self._proposal, self.num_samples = model, proposal, num_samples
        self._memory_gib = memory_gib
        self._blocks_at_once, self._draws_states = 8, False

    def pieces(
        self, batch: Mapping[str, Tensor], count: int, own: Mapping[str, np.ndarray]
    ) -> Iterator[tuple[Batch, Batch, int]]:
        """Yields a batch in pieces of which one draw each fits into memory: mostly the whole.

        Args:
            batch: `x` `[B, ...]`, and `context` for a model with one.
            count: How many points of it are data, n.
            own: What the proposal knows of these, `[n, ...]` by name.

        Yields:
            batch, own and count of a piece.
        """
        rows = len(batch["x"])
        size = self._blocks(batch, own).points
        for start in range(0, count, size):
            here = slice(start, start + size)
            part = batch if size == rows else {n: filled(v[here], size) for n, v in batch.items()}
            known = {name: filled(value[here], size) for name, value in own.items()}
            yield dict(part), known, min(size, count - start)

    def evidence(
        self,
        batch: Batch,
        own: Batch,
        seed: Tensor,
        sums: Sums | None = None,
        watch: Callable[[Sums, int], None] | None = None,
    ) -> Evidence:
        """Returns estimates for one piece.

        Args:
            batch: The piece.
            own: What the proposal knows of its points.
            seed: Int32 pair `[2]`.
            sums: Those of draws that were made before, with the same seed.
            watch: Is told the sums and how many draws are new, about twice in a second; encoder and
                prior run once for each time, and once for all draws where nobody watches.
        """
        block = self.block_of(batch, own)
        model, proposal = self._model, self._proposal
        make = functools.partial(_advancer, model, proposal, block)
        advance = model.functions(("evidence", block, proposal), make, self._passes)
        start = sums or no_draws(len(batch["x"]), self._needs(batch, own).dtype, _NUM_LARGEST)
        count, num_blocks = tf.constant(self.num_samples), -(-self.num_samples // block)

        def with_blocks(until: int, sums: Sums) -> Evidence | Sums:
            return advance(batch, own, count, seed, tf.constant(until), sums)

        found = (
            with_blocks(num_blocks, start)
            if watch is None
            else self._watched(with_blocks, start, block, num_blocks, watch)
        )
        return found if isinstance(found, Evidence) else evidence_of(found, count)

    def _watched(
        self,
        with_blocks: Callable[[int, Sums], Evidence | Sums],
        sums: Sums,
        block: int,
        num_blocks: int,
        watch: Callable[[Sums, int], None],
    ) -> Evidence | Sums:
        done = int(sums.blocks)
        while done < num_blocks:
            until = min(num_blocks, done + self._blocks_at_once)
            start = time.perf_counter()
            found = with_blocks(until, sums)
            if isinstance(found, Evidence):
                watch(sums, self.num_samples)
                return found
            sums = found
            watch(sums, min(self.num_samples, until * block) - done * block)
            done = until
            self._pace(time.perf_counter() - start)
        return sums

    def block_of(self, batch: Mapping[str, Any], own: Mapping[str, Any]) -> int:
        """Returns how many draws of each point of a batch are scored at once."""
        return self._blocks(batch, own).draws

    def judged(self, evidence: Evidence, block: int, count: int) -> dict[str, np.ndarray]:
        """Returns what is said of the first points of a piece, `[count]` each, by name.

        That is all of `Evidence`, `k_hat`, whether all draws are likely of one state, and as
        `curve s` the log mean weight of the first s draws.
        """
        is_known = bool(evidence.is_known)
        names = ("log_p_x", "standard_error", "ess", "elbo")
        found = {name: getattr(evidence, name).numpy()[:count] for name in names}
        course: Any = evidence.course
        k_hat = pareto_k(course.largest.numpy()[:count], self.num_samples)
        found |= {"k_hat": np.where(is_known, -np.inf, k_hat), "is_known": np.full(count, is_known)}
        found["of_one_state"] = self._draws_states & (found["standard_error"] == 0.0)
        for index, values in enumerate(course.early.numpy()):
            if block << index < self.num_samples:
                # A view would keep all of the course, of which most is of no meaning.
                found[f"curve {block << index}"] = values[:count].copy()
        return {**found, f"curve {self.num_samples}": found["log_p_x"]}

    def _pace(self, seconds: float) -> None:
        """Has calls take about as long as they should; the first also traces and compiles."""
        if seconds < 0.5 * _SECONDS:
            self._blocks_at_once *= 2
        elif seconds > 2.0 * _SECONDS:
            self._blocks_at_once = max(1, self._blocks_at_once // 2)

    def _blocks(self, batch: Mapping[str, Any], own: Mapping[str, Any]) -> Blocks:
        needs = self._needs(batch, own)
        self._draws_states = needs.draws_states
        return Blocks.within(self._memory_gib, needs.bytes, len(batch["x"]))

    def _needs(self, batch: Mapping[str, Any], own: Mapping[str, Any]) -> _Needs:
        """Returns what is known of a draw before any is made."""
        model, proposal, of_states = self._model, self._proposal, []

        def score(num_samples: int, batch: Batch, own: Batch) -> Tensor:
            exact = model.exact_log_p_x(**batch)
            if exact is not None:
                return exact
            q, seed = proposal.distribution(model, batch, own), tf.constant([0, 0])
            of_states.append(num_states(q) is not None)
            terms = model.terms(num_samples=num_samples, seed=seed, posterior=q, **batch)
            return terms.log_w

        def find() -> _Needs:
            given = {"batch": specs_of_point(batch), "own": specs_of_point(own)}
            each, scores = bytes_per_draw(score, **given)
            return _Needs(each, scores.dtype, any(of_states))

        return model.functions.known(("bytes per draw", proposal), find)


def _advancer(
    model: LatentVariableModel, proposal: Proposal, block: int
) -> Callable[..., Evidence | Sums]:
    def advance(
        batch: Batch, own: Batch, count: Tensor, seed: Tensor, until: Tensor, sums: Sums
    ) -> Evidence | Sums:
        q = proposal.distribution(model, batch, own)
        exact = known_evidence(model, batch, count, seed, q, _NUM_LARGEST)
        if exact is not None:
            return exact
        return with_draws(model, batch, sums, until, count, seed, block, q)

    return advance


def as_arrays(sums: Sums) -> dict[str, np.ndarray]:
    """Returns sums as arrays by name."""
    named: dict[str, Any] = {**sums._asdict(), **sums.course._asdict()}  # pyright: ignore
    return {name: np.asarray(value) for name, value in named.items() if name != "course"}


def as_sums(arrays: Mapping[str, np.ndarray]) -> Sums | None:
    """Returns sums from what `as_arrays` has made of them; None from nothing."""
    if not arrays:
        return None
    tensors = {name: tf.constant(value) for name, value in arrays.items()}
    course = Course(tensors.pop("largest"), tensors.pop("early"))
    return Sums(**tensors, course=course)
