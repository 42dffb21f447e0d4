"""Annealed chains of batches: as many at once as memory allows, some at a time."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae._config import check_count
from tfvae._random import fold_in
from tfvae._typing import Tensor
from tfvae.evaluation.blocks import Blocks, bytes_per_draw, check_memory, specs_of_point
from tfvae.evaluation.chains import PILOTS, Chains, adapted_steps, annealed
from tfvae.evaluation.paths import Path, check_free, path_of, temperatures
from tfvae.evaluation.proposals import Proposal, check_proposal
from tfvae.graph.evidence import Evidence, Sums, evidence_of, no_draws, with_weights
from tfvae.models import LatentVariableModel

__all__ = ["ENDS", "Annealer"]

# By which name come draws of p(z|x), from which chains go the way back.
ENDS = "ends"

_Parts = Mapping[str, Any]
_Weigh = Callable[[Chains], tuple[Tensor, Tensor]]


class Annealer:
    """Annealed importance sampling of batches, by one program for all of them.

    Args:
        model: The model.
        num_temperatures: Steps from the start to p(x, z), T.
        num_chains: Chains per point, S.
        num_leapfrog_steps: Leapfrog steps of a move.
        memory_gib: The most memory that a pass may take, see `tfvae.evaluation.blocks`.
        num_points: Of all batches together, None where nobody knows.
        start: What the chains begin from; None is the prior.

    Raises:
        TypeError: `start` is no proposal.
        ValueError: A number is out of its range.
    """

    def __init__(
        self,
        model: LatentVariableModel,
        num_temperatures: int,
        num_chains: int,
        num_leapfrog_steps: int,
        memory_gib: float,
        num_points: int | None,
        start: Proposal | None = None,
    ) -> None:
        self.num_chains = check_count("num_chains", num_chains)
        self.num_leapfrog_steps = check_count("num_leapfrog_steps", num_leapfrog_steps)
        self.num_temperatures = check_count("num_temperatures", num_temperatures)
        check_memory(memory_gib)
        if start is not None:
            check_proposal("start", start)
        self.start = start
        self._passes = None
        if num_points is not None:
            each = self.num_temperatures * (2 + self.num_leapfrog_steps)
            self._passes = float(num_points * self.num_chains * each)
        self._model, self._memory_gib = model, memory_gib
        self._betas = tf.constant(temperatures(self.num_temperatures))

    def found(self, batch: _Parts, own: _Parts, count: int, seed: Tensor) -> dict[str, np.ndarray]:
        """Returns what is found of the first points of a batch, `[count]` each, by name.

        That is `log_p_x`, its `standard_error` and `ess`, the `acceptance` of moves, and where
        `own` has `ENDS` the bound from above, `upper`.

        Args:
            batch: `x` `[B, ...]`, and `context` for a model with one.
            own: What the start knows of the points, by name `[B, ...]`.
            count: How many points of the batch are data.
            seed: Int32 pair `[2]`.
        """
        size, block = self.blocks(batch, own)
        make = functools.partial(_program, self._model, self.start, self.num_leapfrog_steps)
        compute = self._model.functions(
            ("annealed", size, block, self.num_leapfrog_steps, self.start, ENDS in own),
            functools.partial(make, size, block),
            self._passes,
        )
        chains, parts = tf.constant(self.num_chains), []
        for first in range(0, count, size):
            values = compute(batch, own, self._betas, chains, tf.constant(first), seed)
            kept = min(size, count - first)
            parts.append({name: value.numpy()[:kept] for name, value in values.items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def blocks(self, batch: _Parts, own: _Parts) -> Blocks:
        """Returns how many points of a batch go together, and how many chains of each of them.

        Chains are shared out evenly, so that few are moved in vain.
        """
        own = {name: value for name, value in own.items() if name != ENDS}
        find = functools.partial(_bytes_per_chain, self._model, self.start, batch, own)
        each = self._model.functions.known(("bytes per chain", self.start), find)
        most = Blocks.within(self._memory_gib, each, len(batch["x"]), PILOTS)
        passes = math.ceil(self.num_chains / most.draws)
        return Blocks(most.points, math.ceil(self.num_chains / passes))


def _bytes_per_chain(
    model: LatentVariableModel, start: Proposal | None, batch: _Parts, own: _Parts
) -> int:
    """Returns what a gradient takes, of one chain of one point: of more than one none is held."""

    def score(num_chains: int, batch: dict[str, Tensor], own: dict[str, Tensor]) -> Any:
        exact = model.exact_log_p_x(**batch)
        if exact is not None:
            return exact
        check_free(model)
        path = path_of(model, batch, own, start)
        z = tf.zeros([num_chains, 1, *path.start.event_shape], path.start.dtype)
        return path.value_and_slope(z, tf.constant(0.5, z.dtype))

    return bytes_per_draw(score, batch=specs_of_point(batch), own=specs_of_point(own))[0]


def _program(
    model: LatentVariableModel,
    start: Proposal | None,
    num_leapfrog_steps: int,
    size: int,
    block: int,
) -> Callable[..., dict[str, Tensor]]:
    """Makes the pass over `size` points of a batch, `block` chains of each at a time."""

    def compute(
        batch: dict[str, Tensor],
        own: dict[str, Tensor],
        betas: Tensor,
        num_chains: Tensor,
        first: Tensor,
        seed: Tensor,
    ) -> dict[str, Tensor]:
        points = tf.minimum(first + tf.range(size), tf.shape(batch["x"])[0] - 1)
        ends = own.get(ENDS)
        own = {name: value for name, value in own.items() if name != ENDS}
        exact = model.exact_log_p_x(**{name: tf.gather(v, points) for name, v in batch.items()})
        if exact is not None:
            return _known(exact, num_chains, both_ways=ends is not None)
        check_free(model)
        path = path_of(model, batch, own, start, points)
        betas = tf.cast(betas, path.start.dtype)
        pilots = Chains(tf.range(PILOTS), points, fold_in(seed, 0))
        steps = adapted_steps(path, pilots, betas, num_leapfrog_steps)
        way = (betas, steps, num_leapfrog_steps)

        def there(chains: Chains) -> tuple[Tensor, Tensor]:
            return annealed(path, chains, chains.at_start(path), *way)

        def back(chains: Chains) -> tuple[Tensor, Tensor]:
            z = tf.repeat(tf.gather(ends, points)[None], block, axis=0)
            log_w, accepted = annealed(path, chains, z, *way, backwards=True)
            return -log_w, accepted

        crew = Chains(tf.range(block), points, fold_in(seed, 1))
        lower, accepted = _weighed(there, crew, num_chains, path)
        found = {"log_p_x": lower.log_p_x, "standard_error": lower.standard_error, "ess": lower.ess}
        found["is_known"] = tf.zeros_like(points, tf.bool)
        if ends is None:
            return {**found, "acceptance": accepted}
        upper, also = _weighed(back, crew._replace(seed=fold_in(seed, 2)), num_chains, path)
        return {**found, "acceptance": 0.5 * (accepted + also), "upper": -upper.log_p_x}

    return compute


def _known(exact: Tensor, num_chains: Tensor, *, both_ways: bool) -> dict[str, Tensor]:
    """Returns what is found of points whose log p(x) `[P]` is known."""
    found = {
        "log_p_x": exact,
        "standard_error": tf.zeros_like(exact),
        "is_known": tf.ones_like(exact, tf.bool),
        "ess": tf.fill(tf.shape(exact), tf.cast(num_chains, exact.dtype)),
        "acceptance": tf.fill(tf.shape(exact), tf.constant(math.nan, exact.dtype)),
    }
    return {**found, "upper": exact} if both_ways else found


def _weighed(
    weigh: _Weigh, chains: Chains, num_chains: Tensor, path: Path
) -> tuple[Evidence, Tensor]:
    """Returns the mean weight of all chains, and their mean acceptance `[P]`.

    Args:
        weigh: From chains to their log weights and acceptances, `[C, P]` each.
        chains: The first C: the others follow, as many at a time.
        num_chains: S, an int32 scalar.
        path: Which they go along.
    """
    block = tf.size(chains.numbers)

    def add_block(sums: Sums, accepted: Tensor) -> tuple[Sums, Tensor]:
        here = chains._replace(numbers=sums.blocks * block + chains.numbers)
        valid = (here.numbers < num_chains)[:, None]
        log_w, acceptance = weigh(here)
        log_w = tf.where(valid, log_w, -math.inf)
        logs = tf.reduce_sum(tf.where(valid, log_w, 0.0), axis=0)
        accepted += tf.reduce_sum(tf.where(valid, acceptance, 0.0), axis=0)
        return with_weights(sums, log_w, logs), accepted

    none = no_draws(tf.size(chains.points), path.start.dtype)
    sums, accepted = tf.while_loop(
        lambda sums, _: sums.blocks * block < num_chains,
        add_block,
        [none, tf.zeros_like(none.peak)],
        parallel_iterations=1,
    )
    return evidence_of(sums, num_chains), accepted / tf.cast(num_chains, accepted.dtype)
