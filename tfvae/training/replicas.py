"""A batch on several devices: which rows each scores, and how what it finds comes together."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import tensorflow as tf

from tfvae._protocols import Trained
from tfvae._tracing import outputs_of
from tfvae._typing import Distribution, Tensor
from tfvae.distributions.hierarchy import Hierarchy
from tfvae.layers.rows import UnknownRows, with_rows
from tfvae.objectives import Objective
from tfvae.objectives.base import call_objective, initial_state_of
from tfvae.objectives.gradients import DEFAULT_GRADIENT
from tfvae.terms import Draws, Terms
from tfvae.training.placement import strategy_of

__all__ = ["WHOLE", "Replicas", "Shard", "Whole", "check_rows"]

Result = TypeVar("Result")

# From the seed of one device to that of the next.
_APART = 1_000_003

# Which axis of each part of `Terms` holds the rows.
_AXES = {
    "log_p_x": 1,
    "log_p_z": 1,
    "log_q_z": 1,
    "kl": 0,
    "z": 1,
    "log_weights": 1,
    "gradient_scale": 2,
    "level_rates": 0,
    "log_q_labels": 0,
    "log_measure": 1,
}


# Collective operations, TensorFlow's own choice, are numbered anew by each strategy that a process
# makes, and fail where the numbers of two meet: models that are trained one after the other.
_ON_ONE = tf.distribute.ReductionToOneDevice()


class Whole:
    """All rows of a batch, scored at once: what a pass on one device has."""

    def own(self, rows: Tensor) -> Tensor:
        """Returns the rows `[b, ...]` that are scored here, of those of the batch `[B, ...]`."""
        return rows

    def drawing(self, objective: Objective) -> Objective:
        """Returns an objective that draws for the rows scored here as it would for the batch."""
        return objective

    def gathered(self, terms: Terms) -> Terms:
        """Returns the scores of the batch, of which those of the rows scored here are given."""
        return terms

    def part(self, of_batch: Tensor) -> Tensor:
        """Returns what is to be summed up over devices, of a number that all work out alike."""
        return of_batch

    def share(self, of_rows: Tensor) -> Tensor:
        """Returns the same of a mean over the rows scored here, of which the batch has a mean."""
        return of_rows

    def sum(self, values: list[Any]) -> list[Any]:
        """Returns tensors summed up over devices; None stays as it is."""
        return values


WHOLE = Whole()


class Shard(Whole):
    """The rows of one of n devices: those from B r / n to B (r + 1) / n, rounded down.

    Where the batch has fewer rows than there are devices, one without a row of its own scores that
    of another, and nothing of what it finds counts.

    Args:
        size: B, as an int where it is known.
        replica: r, from 0.
        num_replicas: n.
        all_reduce: Sums a list of tensors up over all devices.
    """

    def __init__(
        self,
        size: int | Tensor,
        replica: int,
        num_replicas: int,
        all_reduce: Callable[[list[Tensor]], list[Tensor]],
    ) -> None:
        self._size, self._num_replicas, self._all_reduce = size, num_replicas, all_reduce
        self._start = size * replica // num_replicas
        self._count = size * (replica + 1) // num_replicas - self._start
        is_known = not tf.is_tensor(self._count)
        self._scored: Any = max(self._count, 1) if is_known else tf.maximum(self._count, 1)

    def own(self, rows: Tensor) -> Tensor:
        """See `Whole.own`."""
        return rows[self._start : self._start + self._scored]

    def drawing(self, objective: Objective) -> Objective:
        """See `Whole.drawing`."""
        return _Drawing(objective, self)

    def draw(
        self, draw: Callable[..., Draws], q_z: Distribution, num_samples: Any, seed: Tensor
    ) -> Draws:
        """Returns the draws of the rows scored here, by the noise that they have in the batch.

        All rows are drawn, from posteriors of which those of others stand for themselves: that
        takes little time beside the networks.

        Args:
            draw: From a posterior, a number of draws and a seed to draws.
            q_z: Batch shape `[R * b]`, the rows of one of R draws of other nodes together; or `[]`.
            num_samples: Draws of each; of a posterior of batch shape `[]`, R * b.
            seed: Int32 pair `[2]`.
        """
        if not q_z.batch_shape.rank:
            repeats = num_samples // self._scored
            found = draw(q_z, repeats * self._size, seed)
            axes = (0, 0, 1)
        else:
            repeats = _first(q_z) // self._scored
            others = tf.clip_by_value(tf.range(self._size) - self._start, 0, self._scored - 1)
            rows = tf.reshape(tf.range(repeats)[:, None] * self._scored + others, [-1])
            found = draw(with_rows(q_z, lambda p: tf.gather(p, rows)), num_samples, seed)
            axes = (1, 1, 2)
        taken = [
            None if value is None else self._taken(value, axis, repeats)
            for value, axis in zip(found, axes, strict=True)
        ]
        return Draws(*taken)

    def gathered(self, terms: Terms) -> Terms:
        """See `Whole.gathered`."""
        found: dict[Any, Any] = {n: (getattr(terms, n), axis) for n, axis in _AXES.items()}
        for whose in ("log_p", "log_q"):
            for name, value in (getattr(terms, whose) or {}).items():
                found[whose, name] = value, value.shape.rank - 1
        there = {name: pair for name, pair in found.items() if pair[0] is not None}
        summed = self.sum([self._among_all(value, axis) for value, axis in there.values()])
        parts = dict(zip(there, summed, strict=True))
        several = {
            whose: {n: parts[whose, n] for n in getattr(terms, whose)}
            for whose in ("log_p", "log_q")
            if getattr(terms, whose) is not None
        }
        return terms._replace(
            **{name: parts[name] for name in _AXES if name in parts},
            **several,
            q_z=self._of_all(terms.q_z),
            p_z=self._of_all(terms.p_z),
            observed=None,
        )

    def part(self, of_batch: Tensor) -> Tensor:
        """See `Whole.part`."""
        return of_batch / self._num_replicas

    def share(self, of_rows: Tensor) -> Tensor:
        """See `Whole.share`."""
        return of_rows * tf.cast(self._count / self._size, of_rows.dtype)

    def sum(self, values: list[Any]) -> list[Any]:
        """See `Whole.sum`."""
        # Of no numbers there is no sum, and none that kernels would know.
        there = [i for i, v in enumerate(values) if v is not None and 0 not in tuple(v.shape)]
        summed = dict(enumerate(values))
        # One type at a time, and what is sparse by itself: that is how TensorFlow adds them up.
        for kind in dict.fromkeys(_kind(values[i]) for i in there):
            places = [i for i in there if _kind(values[i]) == kind]
            found = self._all_reduce([values[i] for i in places])
            summed |= dict(zip(places, found, strict=True))
        return list(summed.values())

    def _among_all(self, values: Tensor, axis: int) -> Tensor:
        """Returns what is known of own rows at their places in the batch, with zeros elsewhere."""
        values = values[(slice(None),) * axis + (slice(None, self._count),)]
        after = self._size - self._start - self._count
        shape = values.shape.as_list()
        pads = [[0, 0]] * axis + [[self._start, after]] + [[0, 0]] * (len(shape) - axis - 1)
        padded = tf.pad(values, pads)
        shape[axis] = None if tf.is_tensor(self._size) else self._size
        return tf.ensure_shape(padded, shape)

    def _taken(self, values: Tensor, axis: int, repeats: Any) -> Tensor:
        """Returns own rows of `[..., R * B, ...]`, as `[..., R * b, ...]`."""
        if not tf.is_tensor(repeats) and repeats == 1:
            return values[(slice(None),) * axis + (self._own_rows,)]
        shape = tf.shape(values)
        split = tf.concat([shape[:axis], [repeats, self._size], shape[axis + 1 :]], axis=0)
        values = tf.reshape(values, split)[(slice(None),) * (axis + 1) + (self._own_rows,)]
        joined = tf.concat([shape[:axis], [repeats * self._scored], shape[axis + 1 :]], axis=0)
        return tf.reshape(values, joined)

    @property
    def _own_rows(self) -> slice:
        return slice(self._start, self._start + self._scored)

    def _of_all(self, distribution: Distribution) -> Any:
        """Returns the distribution of the batch, of which that of own rows is given."""
        if not distribution.batch_shape.rank:
            return distribution
        try:
            return with_rows(distribution, lambda p: self.sum([self._among_all(p, 0)])[0])
        except UnknownRows as error:
            return _Unknown(str(error))


class Replicas:
    """The devices of a strategy, on which the rows of a batch are scored.

    Args:
        strategy: That in whose scope the model was made.
        seeds: Returns the states of seed generators that networks draw by, as dropout does.
    """

    def __init__(
        self, strategy: tf.distribute.Strategy, seeds: Callable[[], list[Any]] = list
    ) -> None:
        self._strategy, self._seeds = strategy, seeds

    def run(self, function: Callable[[Shard], Result], size: int | Tensor) -> Result:
        """Returns what a function returns on each device, the same on all.

        Args:
            function: From the rows of a device to a structure of tensors.
            size: How many rows there are, as an int where it is known.
        """

        def on_replica() -> Result:
            context: Any = tf.distribute.get_replica_context()
            replica: Any = tf.get_static_value(context.replica_id_in_sync_group)
            number = self._strategy.num_replicas_in_sync
            with _drawing_apart(self._seeds(), int(replica)):
                return function(Shard(size, int(replica), number, self._all_reduce))

        found = self._strategy.run(on_replica)
        return tf.nest.map_structure(self._first, found)

    def _all_reduce(self, values: list[Any]) -> list[Any]:
        """Returns tensors summed up over all devices, on each of them."""
        context: Any = tf.distribute.get_replica_context()
        if isinstance(self._strategy, tf.distribute.MultiWorkerMirroredStrategy):
            return context.all_reduce(tf.distribute.ReduceOp.SUM, values)

        def merge(_: Any, *each: Any) -> list[Any]:
            return _ON_ONE.batch_reduce(tf.distribute.ReduceOp.SUM, [(v, v) for v in each])

        def summed(*each: Any) -> tuple[Any, Callable[..., Any]]:
            return context.merge_call(merge, args=each), lambda *slopes: summed(*slopes)[0]

        if any(isinstance(value, tf.IndexedSlices) for value in values):
            return context.merge_call(merge, args=tuple(values))
        return list(tf.custom_gradient(summed)(*values))

    def _first(self, value: Any) -> Any:
        is_one_of_each = isinstance(value, tf.distribute.DistributedValues)
        return self._strategy.experimental_local_results(value)[0] if is_one_of_each else value


@contextlib.contextmanager
def _drawing_apart(seeds: list[Any], replica: int) -> Iterator[None]:
    """Has networks draw other noise on each device, and their generators go on alike."""
    before = [tf.identity(seed.value) for seed in seeds]
    for seed, value in zip(seeds, before, strict=True):
        seed.assign(value + tf.constant([replica * _APART, 0], value.dtype))
    yield
    for seed, value in zip(seeds, before, strict=True):
        seed.assign(tf.stack([value[0], seed.value[1]]))


def check_rows(model: Trained, objective: Objective) -> None:
    """Checks that the rows of a batch can be on several devices, where the model is on them.

    Raises:
        ValueError: They cannot, and why.
    """
    if strategy_of(model) is None:
        return

    def look(**batch: Tensor) -> None:
        rows = Shard(tf.shape(batch["x"])[0], 0, 2, lambda values: values)
        own = {name: rows.own(part) for name, part in batch.items()}
        gradient = objective.gradient or DEFAULT_GRADIENT
        q_z = model.encode(**own)
        together = gradient.follows_paths or objective.scales_draws
        if together and isinstance(q_z, Hierarchy) and not q_z.factorises:
            raise UnknownRows(
                "Levels that depend on each other are drawn all together by an objective that "
                f"follows paths alone, or scales them. Received: {objective}."
            )
        terms = model.terms(
            num_samples=objective.num_samples,
            seed=(0, 0),
            objective=rows.drawing(objective),
            **own,
        )
        call_objective(objective.of_points(2), rows.gathered(terms), 0, _initial(objective))

    try:
        outputs_of(look, **model.data.batch_specs())
    except UnknownRows as error:
        raise ValueError(
            "This model cannot be trained on several devices, on which each draws the noise of all "
            f"rows and scores its own. {error} Train it on one device."
        ) from error


def _initial(objective: Objective) -> dict[str, Tensor]:
    return {name: tf.constant(value) for name, value in initial_state_of(objective).items()}


class _Drawing(Objective):
    """An objective that draws for the rows of one device as it would for all.

    Args:
        objective: What is maximised.
        shard: The rows.
    """

    def __init__(self, objective: Objective, shard: Shard) -> None:
        self._objective, self._shard = objective, shard
        self.num_samples, self.gradient = objective.num_samples, objective.gradient
        self.takes_all_states = objective.takes_all_states
        self.needs_all_states = objective.needs_all_states

    @property
    def scales_draws(self) -> bool:
        """See `Objective.scales_draws`."""
        return self._objective.scales_draws

    def draw(self, q_z: Distribution, num_samples: int, seed: Tensor) -> Draws:
        """See `Objective.draw`."""
        return self._shard.draw(self._objective.draw, q_z, num_samples, seed)


class _Unknown:
    """In the place of a distribution of all rows that nobody can put together: says so.

    Args:
        reason: Why.
    """

    def __init__(self, reason: str) -> None:
        object.__setattr__(self, "_reason", reason)

    def __getattr__(self, name: str) -> Any:
        raise UnknownRows(
            "On several devices what compares the rows of a batch with each other needs the "
            f"distribution of all of them. {object.__getattribute__(self, '_reason')}"
        )


def _first(distribution: Distribution) -> Any:
    """Returns the first size of a batch shape, as an int where it is known."""
    size = distribution.batch_shape[0]
    return distribution.batch_shape_tensor()[0] if size is None else size


def _kind(value: Any) -> tuple[bool, Any]:
    return isinstance(value, tf.IndexedSlices), value.dtype
