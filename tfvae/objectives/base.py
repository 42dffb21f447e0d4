"""The base of all objectives, and their weighted sums."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tfvae._config import NUMBERS, Configured
from tfvae._typing import Distribution, Tensor, register
from tfvae.objectives.gradients import DEFAULT_GRADIENT, GradientEstimator, Reparameterised
from tfvae.objectives.schedules import Resolved, Schedule, value_at
from tfvae.terms import Draws, Terms

__all__ = ["Objective", "Sum"]

State = Mapping[str, Tensor]


class Objective(Configured):
    """Abstract function from the scores of one pass to a bound that training maximises.

    A new objective is one frozen dataclass with `__call__`: no variables, no model. Objectives add
    up, and numbers and schedules weigh them: `ELBO() + 10.0 * MMD(kernel)`.

    One that learns from step to step, such as a Lagrange multiplier, says how: `initial_state`
    names its numbers, `__call__` takes them as a third argument `state`, and `next_state` returns
    the next ones. The model holds them, in `model.objective_state`, and stores them with itself.
    It also holds those of schedules that learn, under the names of the fields: objectives see them
    as schedules like others.

    Attributes:
        num_samples: Draws of z per data point, S, that the model makes for this objective.
        gradient: How gradients come to the parameters of q(z|x); None for objectives that do with
            any `GradientEstimator` whose draws carry gradients.
        takes_more_samples: Whether more draws than `num_samples` change its noise alone, and not
            what it is an estimate of.
        takes_all_states: Whether the scores of all states of a z that has few will do in place of
            those of draws: true of what is made of `Terms.expect`, `distortion` and `rate`.
        needs_all_states: Whether nothing else will do.
        is_bound: Whether its expectation is at most log p(x); None where nobody has said.

    Call arguments:
        terms: `Terms` with S draws for B points.
        step: Number of updates made so far, for schedules.

    Returns:
        The bound `[B]`, nats.
    """

    num_samples: int = 1
    gradient: GradientEstimator | None = None
    takes_more_samples: bool = True
    takes_all_states: bool = False
    needs_all_states: bool = False
    is_bound: bool | None = None

    @property
    def scales_draws(self) -> bool:
        """Whether it scales the gradient of each draw, so that its draws serve nothing else."""
        return self.gradient is not None and self.gradient.scales_draws

    def __call__(self, terms: Terms, step: int | Tensor = 0) -> Tensor:
        raise NotImplementedError

    def check_posterior(self, q_z: Distribution) -> None:
        """Checks that gradients can come to the parameters of a posterior, by a draw on trial.

        Raises:
            ValueError: The gradient estimator cannot do with draws of this posterior.
            TypeError: It cannot tell the posterior's parameters.
        """
        self.draw(q_z, self.num_samples, tf.constant([0, 0]))

    def check_family(self, q_z: Distribution) -> None:
        """Refuses, by a `ValueError`, posteriors that it cannot score; most take any."""

    def check_prior(self, p_z: Distribution) -> None:
        """Refuses, by a `ValueError`, priors that it cannot score; most take any."""

    def draw(self, q_z: Distribution, num_samples: int, seed: Tensor) -> Draws:
        """Returns the draws of z that a model scores for this objective.

        Args:
            q_z: Batch shape `[B]`, event shape `E`.
            num_samples: Draws per data point, S.
            seed: Int32 pair `[2]`.
        """
        return (self.gradient or DEFAULT_GRADIENT).draw(q_z, num_samples, seed)

    def of_points(self, number: int) -> Objective:
        """Returns the objective for data of so many points, where it depends on that."""
        del number
        return self

    def initial_state(self) -> dict[str, float]:
        """Returns the numbers that this objective changes from step to step, as they begin."""
        return {}

    def next_state(self, state: State, terms: Terms, step: int | Tensor) -> dict[str, Tensor]:
        """Returns the numbers of `initial_state` after a step with the scores `terms`."""
        del terms, step
        return dict(state)

    def __add__(self, other: object) -> Sum:
        if not isinstance(other, Objective):
            return NotImplemented
        parts, weights = _flat(self)
        others, other_weights = _flat(other)
        return Sum(parts + others, weights + other_weights)

    def __mul__(self, weight: object) -> Sum:
        if isinstance(weight, (*NUMBERS, Schedule)):
            found: Any = weight
            return Sum((self,), (found,))
        return NotImplemented

    __rmul__ = __mul__


class Expectation(Objective):
    """Abstract objective made of expectations over q(z|x), which sums over all states are too."""

    @property
    def takes_all_states(self) -> bool:
        """Whether no estimator asks for draws: sums have no noise and their own gradient."""
        return self.gradient is None or isinstance(self.gradient, Reparameterised)


@register
@dataclass(frozen=True)
class Sum(Objective):
    """Weighted sum of objectives: what `2.0 * A() + B()` makes.

        bound = sum_i weights[i] * objectives[i]

    All read the same draws, as many as the one that asks for most.

    Args:
        objectives: The addends.
        weights: One number or `Schedule` for each.

    Raises:
        TypeError: An addend is no objective.
        ValueError: A weight is no finite number, addends want their draws to carry different
            gradients, or another number of draws than `num_samples` would change an addend.

    Example:
        >>> from tfvae.objectives import ELBO, ImportanceWeighted
        >>> (0.5 * ELBO() + 0.5 * ImportanceWeighted(8)).num_samples
        8

    Reference: Tighter Variational Bounds are Not Necessarily Better (Rainforth et al., 2018),
    https://arxiv.org/abs/1802.04537, whose CIWAE is the sum of the example.
    """

    objectives: tuple[Objective, ...]
    weights: tuple[float | Schedule, ...]

    def __post_init__(self) -> None:
        # Lists are what tuples are stored as by some.
        object.__setattr__(self, "objectives", tuple(self.objectives))
        object.__setattr__(self, "weights", tuple(self.weights))
        if not self.objectives or len(self.objectives) != len(self.weights):
            raise ValueError(
                "A sum takes objectives, and one weight for each. "
                f"Received: {len(self.objectives)} objectives, {len(self.weights)} weights"
            )
        for part in self.objectives:
            if not isinstance(part, Objective):
                raise TypeError(f"A sum is one of objectives. Received: {part!r}")
        for weight in self.weights:
            number = isinstance(weight, NUMBERS) and math.isfinite(weight)
            if not number and not isinstance(weight, Schedule):
                raise ValueError(
                    f"The weight of an objective is a finite number or a schedule. "
                    f"Received: {weight!r}"
                )
        self._check_draws()

    @property
    def num_samples(self) -> int:
        """The largest number of draws that an addend asks for."""
        return max(part.num_samples for part in self.objectives)

    @property
    def takes_more_samples(self) -> bool:
        """Whether more draws leave all addends what they are."""
        return all(part.takes_more_samples for part in self.objectives)

    @property
    def takes_all_states(self) -> bool:
        """Whether all addends do with all states in place of draws."""
        return all(part.takes_all_states for part in self.objectives)

    @property
    def needs_all_states(self) -> bool:
        """Whether an addend does."""
        return any(part.needs_all_states for part in self.objectives)

    @property
    def is_bound(self) -> bool | None:
        """Whether it is a mean of bounds by weights that are fixed; None where nobody knows."""
        weights = [float(w) for w in self.weights if isinstance(w, NUMBERS) and w >= 0.0]
        if any(part.is_bound is None for part in self.objectives):
            return None
        is_mean = len(weights) == len(self.objectives) and math.isclose(sum(weights), 1.0)
        return is_mean and all(part.is_bound for part in self.objectives)

    @property
    def gradient(self) -> GradientEstimator | None:
        """The gradient estimator that the addends have in common."""
        found = [part.gradient for part in self.objectives if part.gradient is not None]
        return found[0] if found else None

    def __call__(self, terms: Terms, step: int | Tensor = 0, state: State | None = None) -> Tensor:
        bounds = []
        for index, (part, weight) in enumerate(zip(self.objectives, self.weights, strict=True)):
            bound = call_objective(part, terms, step, _part_of(state, index))
            bounds.append(tf.cast(value_at(weight, step), bound.dtype) * bound)
        return tf.add_n(bounds)

    def of_points(self, number: int) -> Sum:
        """See `Objective.of_points`."""
        parts = tuple(part.of_points(number) for part in self.objectives)
        return self if parts == self.objectives else Sum(parts, self.weights)

    def check_family(self, q_z: Distribution) -> None:
        """See `Objective.check_family`."""
        for part in self.objectives:
            part.check_family(q_z)

    def check_prior(self, p_z: Distribution) -> None:
        """See `Objective.check_prior`."""
        for part in self.objectives:
            part.check_prior(p_z)

    @property
    def scales_draws(self) -> bool:
        """Whether an addend does, which is then the only one."""
        return any(part.scales_draws for part in self.objectives)

    def draw(self, q_z: Distribution, num_samples: int, seed: Tensor) -> Draws:
        """See `Objective.draw`."""
        return self._drawing_part.draw(q_z, num_samples, seed)

    def initial_state(self) -> dict[str, float]:
        """Returns the numbers of all addends, by their places in the sum."""
        return {
            f"{index}_{name}": value
            for index, part in enumerate(self.objectives)
            for name, value in initial_state_of(part).items()
        }

    def next_state(
        self, state: State, terms: Terms, step: int | Tensor, bound: Tensor | None = None
    ) -> dict[str, Tensor]:
        """See `Objective.next_state`; `bound` is the mean of the sum, where it is known."""
        if bound is None:
            bound = tf.reduce_mean(self(terms, step, state))
        return {
            f"{index}_{name}": value
            for index, part in enumerate(self.objectives)
            for name, value in next_state_of(
                part, _part_of(state, index), terms, step, bound
            ).items()
        }

    @property
    def _drawing_part(self) -> Objective:
        """The addend that says how z is drawn, or that it must not be."""
        refusing = [part for part in self.objectives if part.needs_all_states]
        named = [part for part in self.objectives if part.gradient]
        return next(iter(refusing + named), self.objectives[0])

    def _check_draws(self) -> None:
        drawing = [str(part) for part in self.objectives if not part.takes_all_states]
        if self.needs_all_states and drawing:
            raise ValueError(
                "All objectives of a sum read the same scores: one of them takes all states of z, "
                f"and others take draws. Received, of those: {', '.join(drawing)}. Leave them out, "
                "or use `ELBO` in place of `Enumerated`."
            )
        for part in self.objectives:
            if part.num_samples != self.num_samples and not part.takes_more_samples:
                raise ValueError(
                    "All objectives of a sum read the same draws, and another number of them "
                    f"would make {part} another bound. Expected: num_samples={self.num_samples} "
                    f"for all. Received: num_samples={part.num_samples}"
                )
        if len(self.objectives) == 1:
            return
        named = [part.gradient for part in self.objectives if part.gradient is not None]
        differ = len({gradient.drawn_by for gradient in named}) > 1
        followed = all(gradient.follows_draws for gradient in named)
        any_will_do = len(named) < len(self.objectives)
        if differ or self.scales_draws or (any_will_do and not followed):
            received = ", ".join(
                f"{type(part).__name__} with {part.gradient or 'any that follows draws'}"
                for part in self.objectives
            )
            raise ValueError(
                "All objectives of a sum read the same draws, which carry the gradient of one: "
                "the estimators must be equal, and such as others can share. "
                f"Received: {received}"
            )


def call_objective(
    objective: Objective, terms: Terms, step: int | Tensor, state: State | None
) -> Tensor:
    """Returns the bound `[B]` of an objective, with its state where it has one."""
    if not state:
        return objective(terms, step)
    call, own = _resolved(objective, step, state)
    return call(terms, step, own) if own else call(terms, step)


def initial_state_of(objective: Objective) -> dict[str, float]:
    """Returns the numbers that an objective and its schedules change from step to step."""
    of_schedules = {
        f"{field}_{name}": value
        for field, schedule in _learning_schedules(objective).items()
        for name, value in schedule.initial_state().items()
    }
    return {**objective.initial_state(), **of_schedules}


def next_state_of(
    objective: Objective, state: State, terms: Terms, step: int | Tensor, bound: Tensor
) -> dict[str, Tensor]:
    """Returns the numbers of `initial_state_of` after a step.

    Args:
        objective: Any objective.
        state: The numbers before the step.
        terms: The scores of the step.
        step: Number of updates before it.
        bound: Mean of all that was maximised, a scalar.
    """
    if not state:
        return {}
    call, own = _resolved(objective, step, state)
    following = {}
    if own and isinstance(objective, Sum):
        following = call.next_state(own, terms, step, bound)
    elif own:
        following = call.next_state(own, terms, step)
    for field, schedule in _learning_schedules(objective).items():
        part = schedule.next_state(_part_of(state, field), bound)
        following |= {f"{field}_{name}": value for name, value in part.items()}
    if terms.sample_weight is None:
        return following
    weighs = tf.reduce_any(terms.sample_weight > 0)  # Of a batch that does not, nothing is known.
    return {name: tf.where(weighs, value, state[name]) for name, value in following.items()}


def _resolved(objective: Objective, step: int | Tensor, state: State) -> tuple[Any, State]:
    """Returns an objective whose schedules need no state, and the state that is its own."""
    own = {name: state[name] for name in objective.initial_state()}
    found: dict[str, Any] = {}
    for field, schedule in _learning_schedules(objective).items():
        call: Any = schedule
        found[field] = Resolved(call(step, _part_of(state, field)))
    if found and isinstance(objective, Sum):
        weights = [
            found.get(f"weight_{index}", weight) for index, weight in enumerate(objective.weights)
        ]
        return Sum(objective.objectives, tuple(weights)), own
    parts: Any = objective
    return (dataclasses.replace(parts, **found) if found else objective), own


def _learning_schedules(objective: Objective) -> dict[str, Schedule]:
    """Returns the schedules with a state that an objective holds, by the names of the fields."""
    held: dict[str, Any] = {}
    if isinstance(objective, Sum):
        held = {f"weight_{index}": weight for index, weight in enumerate(objective.weights)}
    elif dataclasses.is_dataclass(objective):
        held = {f.name: getattr(objective, f.name) for f in dataclasses.fields(objective)}
    return {
        name: value
        for name, value in held.items()
        if isinstance(value, Schedule) and value.initial_state()
    }


def _flat(objective: Objective) -> tuple[tuple[Objective, ...], tuple[float | Schedule, ...]]:
    if isinstance(objective, Sum):
        return objective.objectives, objective.weights
    return (objective,), (1.0,)


def _part_of(state: State | None, index: int | str) -> dict[str, Tensor]:
    prefix = f"{index}_"
    found = (state or {}).items()
    return {name[len(prefix) :]: value for name, value in found if name.startswith(prefix)}
