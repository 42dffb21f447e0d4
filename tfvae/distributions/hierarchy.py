"""Joint distributions of several levels, each of which may depend on others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._random import fold_in
from tfvae._shapes import joined, leading_shape, with_event
from tfvae._typing import Distribution, Shape, Tensor
from tfvae.distributions.finite import num_states, weighted_states
from tfvae.distributions.levels import Conditional, Factor, LevelDraws, split_levels
from tfvae.distributions.pairwise import pairwise_log_prob, pairwise_log_prob_fast
from tfvae.distributions.reparameterised import sample_and_log_prob
from tfvae.distributions.statistics import Composed, centre

__all__ = ["Hierarchy"]

tfd = tfp.distributions

# Told apart from the number that a caller folds into its seed for the draw of x.
_LEVELS = 2


class Hierarchy(tfd.Distribution, Composed):
    """Joint distribution of levels z_1, ..., z_L: a product of conditionals, in any order.

        q(z) = prod_l q(z_l | those levels that it reads)

    A draw is one vector with all levels, each flat, one after the other: a hierarchy goes wherever
    a distribution over vectors does. `split` takes a draw apart, and `join` makes one.

    Args:
        factors: One for each level, each after those that it depends on: the order of sampling.
        event_shapes: Level → shape of its event, in the order of the levels within a draw.
        given: What factors read beside levels, by name, each `[B, ...]`.
        reparameterised: Whether draws of the levels that depend on others carry gradients.
        dtype: Type of the draws.

    Example:
        >>> from tfvae.distributions import Hierarchy
        >>> from tfvae.distributions.levels import Factor
        >>> factors = [
        ...     Factor("z_2", (), lambda _: tfd.MultivariateNormalDiag(tf.zeros(1), tf.ones(1))),
        ...     Factor("z_1", ("z_2",), lambda z: tfd.MultivariateNormalDiag(z["z_2"], tf.ones(1)))]
        >>> p = Hierarchy(factors, {"z_1": (1,), "z_2": (1,)})
        >>> p.sample(5, seed=[0, 1]).shape, p.level_log_probs(tf.zeros([5, 2])).shape
        (TensorShape([5, 2]), TensorShape([5, 2]))

    Reference: Ladder Variational Autoencoders (Sonderby et al., 2016),
    https://arxiv.org/abs/1602.02282
    """

    def __init__(
        self,
        factors: Sequence[Factor],
        event_shapes: Mapping[str, Shape],
        given: Mapping[str, Tensor] | None = None,
        *,
        reparameterised: bool = True,
        dtype: Any = tf.float32,
    ) -> None:
        self._factors = {factor.name: factor for factor in factors}
        self._shapes = dict(event_shapes)
        self._given = dict(given or {})
        # What depends on no level is the same for all draws: made once, and not in loops.
        self._roots = {
            factor.name: Conditional(factor.make(self._given_to(factor)))
            for factor in factors
            if not self._parents(factor)
        }
        kinds = [root.distribution.reparameterization_type for root in self._roots.values()]
        reparameterised = reparameterised and all(k == tfd.FULLY_REPARAMETERIZED for k in kinds)
        super().__init__(
            dtype=dtype,
            reparameterization_type=(
                tfd.FULLY_REPARAMETERIZED if reparameterised else tfd.NOT_REPARAMETERIZED
            ),
            validate_args=False,
            allow_nan_stats=True,
            name="Hierarchy",
        )

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: int | None = None) -> dict[str, Any]:
        return {}

    @property
    def levels(self) -> tuple[str, ...]:
        """Names of the levels, in their order within a draw."""
        return tuple(self._shapes)

    @property
    def factorises(self) -> bool:
        """Whether no level depends on another."""
        return len(self._roots) == len(self._factors)

    def parents(self, name: str) -> list[str]:
        """Returns the levels that a level depends on."""
        return self._parents(self._factors[name])

    def descendants(self, name: str) -> set[str]:
        """Returns the levels that depend on a level, by way of others too."""
        found: set[str] = set()
        for other in self._factors:  # in the order of sampling
            if {name, *found} & set(self.parents(other)):
                found.add(other)
        return found

    def split(self, z: Tensor) -> dict[str, Tensor]:
        """Returns the levels `[..., *E_l]` of draws `[..., K]`, by name."""
        return split_levels(z, self._shapes)

    def join(self, values: Mapping[str, Tensor]) -> Tensor:
        """Returns `[..., K]` of levels `[..., *E_l]`: what `split` takes apart."""
        parts = [
            with_event(values[name], [math.prod(event)], axes=len(event))
            for name, event in self._shapes.items()
        ]
        parts = [tf.cast(part, self.dtype) for part in parts]
        return tf.concat(parts, axis=-1)

    def draw(
        self,
        num_samples: int | Tensor,
        seed: Tensor,
        draw: Callable[[Distribution, Any, Tensor], Any] = sample_and_log_prob,
        *,
        max_states: int = 0,
        slopes: bool = False,
    ) -> LevelDraws:
        """Draws level by level, each from its conditional at the levels drawn before.

        Levels that depend on no other and have few states may take all of them in place of draws:
        with N states in all there are `N * num_samples` rows, the draws of one state together.

        Args:
            num_samples: S.
            seed: Int32 pair `[2]`. The first level is drawn by `seed` itself, as it would be alone.
            draw: From a distribution, a number of draws and a seed to draws, log-densities and, for
                `LevelDraws.extra`, None or a tensor of one more leading axis.
            max_states: How many rows there may be of each draw; 0 draws all levels.
            slopes: Whether to work out `LevelDraws.slopes`.
        """
        values, log_probs, log_shares = self._all_states(num_samples, max_states)
        summed = tuple(values)
        conditionals = {name: self._roots[name] for name in summed}
        extras, found = [], dict[str, Tensor]()
        rows: Any = num_samples
        if log_shares is not None:
            rows = log_shares.shape[0] or tf.shape(log_shares)[0]
        leading = joined([rows], self.batch_shape_tensor())
        static = tf.TensorShape([tf.get_static_value(rows)]).concatenate(self.batch_shape)
        for index, (name, factor) in enumerate(self._factors.items()):
            if name in summed:
                continue
            level_seed = seed if index == 0 else fold_in(fold_in(seed, _LEVELS), index)
            event = self._shapes[name]
            parents = {parent: values[parent] for parent in self._parents(factor)}
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(parents if slopes else {})
                conditional = self._conditional(factor, values)
                count: Any = rows
                if conditional.leading is not None:
                    count = 1
                elif conditional.distribution.batch_shape.rank != self.batch_shape.rank:
                    count = tf.reduce_prod(leading)  # one distribution for a whole batch
                z, log_prob, *extra = draw(conditional.distribution, count, level_seed)
                z = tf.ensure_shape(
                    tf.reshape(z, joined(leading, event)), static.concatenate(event)
                )
                if slopes:
                    # At a point of its own: how it came about is no matter of the density.
                    fixed = tf.stop_gradient(z)
                    tape.watch(fixed)
                    log_prob = conditional.log_prob(fixed, event)
            if slopes:
                for read, slope in _slopes(tape, log_prob, {**parents, name: fixed}).items():
                    found[read] = found[read] + slope if read in found else slope
            extras += [tf.reshape(e, joined([-1], leading)) for e in extra if e is not None]
            values[name] = z
            log_probs[name] = tf.ensure_shape(tf.reshape(log_prob, leading), static)
            conditionals[name] = conditional
        extra = tf.add_n(extras) if extras else None
        return LevelDraws(values, log_probs, conditionals, extra, log_shares, summed, found)

    def root(self, name: str) -> Distribution:
        """Returns the distribution of a level that depends on no other."""
        return self._roots[name].distribution

    def finite_levels(self, max_states: int) -> list[str]:
        """Returns levels that depend on no other and have so few joint states."""
        found, total = [], 1
        for name, root in self._roots.items():
            states = num_states(root.distribution)
            of_all = root.distribution.batch_shape.rank == self.batch_shape.rank
            if of_all and states is not None and total * states <= max_states:
                found.append(name)
                total *= states
        return found

    def conditionals(self, values: Mapping[str, Tensor]) -> dict[str, Conditional]:
        """Returns the distribution of each level at given levels `[..., *E_l]`, by name."""
        return {name: self._conditional(f, values) for name, f in self._factors.items()}

    def level_log_probs(self, z: Tensor) -> Tensor:
        """Returns the log-densities `[..., L]` of each level given those that it depends on."""
        values = self.split(self._broadcast(tf.convert_to_tensor(z, self.dtype)))
        conditionals = self.conditionals(values)
        log_probs = [
            conditionals[name].log_prob(values[name], event) for name, event in self._shapes.items()
        ]
        return tf.stack([tf.cast(log_prob, self.dtype) for log_prob in log_probs], axis=-1)

    def pairwise_log_prob(
        self, z: Tensor, of_one: Callable[[Distribution, Tensor], Tensor]
    ) -> Tensor:
        """Returns log q(z[s, i] | given[j]) `[S, B, M]` of draws `[S, B, K]`, batch shape `[M]`.

        Conditionals are worked out for one j at a time, so that memory does not hold all pairs.

        Args:
            z: `[S, B, K]`.
            of_one: The same of a level that depends on no other.
        """
        levels = self.split(z)
        total = tf.zeros([], self.dtype)
        for name, root in self._roots.items():
            value = tf.cast(levels[name], root.distribution.dtype)
            total += tf.cast(of_one(root.distribution, value), self.dtype)
        dependent = [f for name, f in self._factors.items() if name not in self._roots]
        if not dependent:
            return total

        def under_one(given: dict[str, Tensor]) -> Tensor:
            log_probs = []
            for factor in dependent:
                alone = {name: value[None] for name, value in given.items()}
                conditional = self._conditional(factor, levels, alone)
                log_prob = conditional.log_prob(levels[factor.name], self._shapes[factor.name])
                log_probs.append(tf.cast(log_prob, self.dtype))
            return tf.add_n(log_probs)  # [S, B]

        given = {n: value for f in dependent for n, value in self._given_to(f).items()}
        if not given:  # the same for all j
            return total + under_one(given)[..., None]
        each = tf.map_fn(under_one, given, fn_output_signature=self.dtype)  # [M, S, B]
        return total + tf.transpose(each, [1, 2, 0])

    def centre(self) -> Tensor:
        """Returns `[..., K]`: of each level the mean, given those of the levels it depends on.

        It is the mean of all where no level depends on another, and wherever means of levels are
        affine in others.
        """
        values: dict[str, Tensor] = {}
        leading = self.batch_shape_tensor()
        for name, factor in self._factors.items():
            mean = centre(self._conditional(factor, values).distribution)
            shape = joined(leading, self._shapes[name])
            if not self._parents(factor):
                mean = tf.broadcast_to(mean, shape)
            static = self.batch_shape.concatenate(self._shapes[name])
            values[name] = tf.ensure_shape(tf.reshape(mean, shape), static)
        return self.join(values)

    def _all_states(
        self, num_samples: int | Tensor, max_states: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor | None]:
        """Returns levels that take all states `[S, B, *E_l]`, their log-densities, the shares."""
        names = self.finite_levels(max_states)
        if not names:
            return {}, {}, None
        found = {name: weighted_states(self._roots[name].distribution) for name in names}
        total = inner = math.prod(states.z.shape[0] for states in found.values())
        values, log_probs, log_shares = {}, {}, tf.zeros([], self.dtype)
        for name, states in found.items():
            size = states.z.shape[0]
            inner //= size

            def rows(tensor: Tensor, size: int = size, inner: int = inner) -> Tensor:
                # Later levels, and draws within them, go round faster.
                tensor = tf.repeat(tensor, inner * num_samples, axis=0)
                return tf.tile(tensor, [total // (size * inner), *[1] * (tensor.shape.rank - 1)])

            values[name], log_probs[name] = rows(states.z), rows(states.log_prob)
            log_shares += rows(states.log_share)
        return values, log_probs, log_shares - tf.math.log(tf.cast(num_samples, self.dtype))

    def _given_to(self, factor: Factor, given: Mapping[str, Tensor] | None = None) -> Any:
        given = self._given if given is None else given
        return {name: given[name] for name in factor.reads if name in given}

    def _parents(self, factor: Factor) -> list[str]:
        return [name for name in factor.reads if name in self._shapes]

    def _conditional(
        self,
        factor: Factor,
        values: Mapping[str, Tensor],
        given: Mapping[str, Tensor] | None = None,
    ) -> Conditional:
        parents = self._parents(factor)
        if not parents:
            return self._roots[factor.name]
        leading = leading_shape(values[parents[0]], len(self._shapes[parents[0]]))
        inputs = {name: tf.reshape(values[name], [-1, *self._shapes[name]]) for name in parents}
        for name, value in self._given_to(factor, given).items():
            shape = joined(leading, tf.shape(value)[1:])
            event = value.shape[1:]
            inputs[name] = tf.reshape(tf.broadcast_to(value, shape), [-1, *event])
        return Conditional(factor.make(inputs), leading)

    def _broadcast(self, z: Tensor) -> Tensor:
        if not self.batch_shape.rank:
            return z
        leading = tf.broadcast_dynamic_shape(tf.shape(z)[:-1], self.batch_shape_tensor())
        static = tf.broadcast_static_shape(z.shape[:-1], self.batch_shape)
        z = tf.broadcast_to(z, joined(leading, [self._size()]))
        return tf.ensure_shape(z, static.concatenate(self.event_shape))

    def _size(self) -> int:
        return sum(math.prod(event) for event in self._shapes.values())

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape([self._size()])

    def _event_shape_tensor(self) -> Tensor:
        return tf.constant([self._size()], tf.int32)

    def _batch_shape(self) -> tf.TensorShape:
        for value in self._given.values():
            return value.shape[:1]
        return tf.TensorShape([])

    def _batch_shape_tensor(self) -> Tensor:
        for value in self._given.values():
            return tf.shape(value)[:1]
        return tf.zeros([0], tf.int32)

    def _log_prob(self, value: Tensor) -> Tensor:
        return tf.reduce_sum(self.level_log_probs(value), axis=-1)

    def _sample_n(self, n: Any, seed: Any = None) -> Tensor:
        return self.join(self.draw(n, tfp.random.sanitize_seed(seed)).values)

    def _sample_and_log_prob(self, sample_shape: Tensor, seed: Any) -> tuple[Tensor, Tensor]:
        static = tf.get_static_value(sample_shape)
        num = tf.reduce_prod(sample_shape) if static is None else int(math.prod(static))
        draws = self.draw(num, tfp.random.sanitize_seed(seed))
        z = self.join(draws.values)
        log_prob = tf.add_n([tf.cast(part, self.dtype) for part in draws.log_probs.values()])
        if sample_shape.shape == (1,):
            return z, log_prob
        leading = joined(sample_shape, self.batch_shape_tensor())
        return tf.reshape(z, joined(leading, [self._size()])), tf.reshape(log_prob, leading)

    def _mean(self) -> Tensor:
        return self._independent("mean")

    def _stddev(self) -> Tensor:
        return self._independent("stddev")

    def _entropy(self) -> Tensor:
        self._check_factorises("entropy")
        entropy = sum(root.distribution.entropy() for root in self._roots.values())
        return tf.broadcast_to(entropy, self.batch_shape_tensor())

    def _independent(self, name: str) -> Tensor:
        self._check_factorises(name)
        batch = self.batch_shape_tensor()
        return self.join(
            {
                level: tf.broadcast_to(
                    getattr(root.distribution, name)(),
                    joined(batch, self._shapes[level]),
                )
                for level, root in self._roots.items()
            }
        )

    def _check_factorises(self, name: str) -> None:
        if not self.factorises:
            raise NotImplementedError(f"Levels that depend on each other have no known {name}.")


for _of_one in (pairwise_log_prob, pairwise_log_prob_fast):
    _of_one.register(Hierarchy, lambda q, z, of_one=_of_one: q.pairwise_log_prob(z, of_one))


def _slopes(
    tape: tf.GradientTape, log_prob: Tensor, levels: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Returns the gradient of a log-density in levels `[S, B, *E_l]`, as constants."""
    slopes = tape.gradient(log_prob, levels, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return {name: tf.stop_gradient(slope) for name, slope in slopes.items()}
