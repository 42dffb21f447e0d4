"""The factors of p and q of a model: what each reads, and their distributions."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._random import fold_in
from tfvae._shapes import no_columns, of_each
from tfvae._tracing import outputs_of
from tfvae._typing import Distribution, Seed, Shape, Tensor, event_tuple
from tfvae.distributions.hierarchy import Hierarchy
from tfvae.distributions.labelled import Labelled
from tfvae.distributions.levels import Factor, split_levels
from tfvae.distributions.statistics import centre
from tfvae.distributions.support import Support, support_of
from tfvae.graph.checks import check_missing, check_same_kind
from tfvae.graph.nothing import nothing
from tfvae.graph.parts import CONTEXT, Part, Root, sampling_order
from tfvae.graph.posteriors import Networks

__all__ = ["Factors"]

tfd = tfp.distributions

Values = Mapping[str, Tensor]


class Factors:
    """A directed graph of observed and latent nodes: which factors there are, and what each reads.

        p(all nodes) = prod_j p(node_j | parents under p)
        q(latent nodes | observed ones) = prod_k q(node_k | parents under q)

    It holds no weights and no optimizer: networks and priors are those that the model gave it.
    `Graph` scores by it.

    Data is given by name, each `[B, ...]`: observed nodes, latent nodes that are `partly_observed`,
    and the context. One latent node keeps its own shape, several are one vector, in the order of
    the posterior.

    Args:
        generative: Node → its factor under p.
        posterior: The factors of q.
        partly_observed: Latent nodes whose values some examples give, whole or not at all.
        max_states: Up to how many joint states latents are summed over; 0 always draws.
        problem: What to say of nodes that depend on themselves.
        rate_names: What the rates of the latent nodes are logged as; none to log but their sum.
        tells_latents_apart: Whether draws and descriptions have each latent node by its name, in
            place of one `z`.

    Attributes:
        observed: Names of the nodes without a posterior.
        latents: Names of the nodes with one.
        shapes: Node → shape of one example, known after `build`.
        supports: Node → the values that its factor under p can produce.
    """

    def __init__(
        self,
        generative: Mapping[str, Part],
        posterior: Networks,
        *,
        partly_observed: Sequence[str] = (),
        max_states: int = 128,
        problem: str = "Nodes depend on each other in a circle: {}.",
        rate_names: Sequence[str] = (),
        tells_latents_apart: bool = False,
    ) -> None:
        self.generative, self.posterior = dict(generative), posterior
        self.latents = posterior.latents
        self.observed = tuple(name for name in generative if name not in self.latents)
        self.partly_observed, self.max_states = tuple(partly_observed), max_states
        self.rate_names, self.tells_latents_apart = tuple(rate_names), tells_latents_apart
        reads = {n: {r for r in part.reads if r in generative} for n, part in generative.items()}
        self._order = tuple(sampling_order(reads, problem))
        self.shapes: dict[str, Shape] = {}
        self.supports: dict[str, Support] = {}
        self.context_shape: Shape | None = None
        self._reparameterised = True

    # What it is.

    @property
    def reads_context(self) -> bool:
        """Whether any factor reads a context."""
        found = {name for part in self.generative.values() for name in part.reads}
        return CONTEXT in found | self.posterior.reads

    @property
    def conditions(self) -> tuple[str, ...]:
        """Names of the observed nodes, and of the context, that latent nodes depend on under p."""
        reads = {name for node in self.latents for name in self.generative[node].reads}
        return tuple(name for name in (*self.observed, CONTEXT) if name in reads)

    @property
    def compares_pairs(self) -> bool:
        """Whether the posteriors of all pairs of a batch can be compared within a step."""
        return self.posterior.factorises and not self.partly_observed and not self.conditions

    @property
    def posterior_weights(self) -> list[Any]:
        """The trainable weights of q; none where it is made of other parts of the model."""
        return _distinct(self.posterior.networks)

    @property
    def generative_weights(self) -> list[Any]:
        """The trainable weights of p."""
        return _distinct([part.network for part in self.generative.values()])

    @property
    def latent_shapes(self) -> dict[str, Shape]:
        """Shapes of the latent nodes, in their order within z."""
        return {name: self.shapes[name] for name in self.latents}

    @property
    def latent_shape(self) -> Shape:
        """Shape of one z, `E`: that of the one latent node, or of all as a vector."""
        if len(self.latents) == 1:
            return self.shapes[self.latents[0]]
        return (sum(math.prod(shape) for shape in self.latent_shapes.values()),)

    def known_shapes(self) -> dict[str, Shape]:
        """Returns the shapes of observed nodes, and of the context, that networks tell."""
        found: dict[str, Shape] = {}
        for name in (*self.observed, CONTEXT):
            own = self.generative[name].output_shape() if name in self.generative else None
            for shape in [*(spec.shape[1:] for spec in self._specs(name)), own]:
                if shape is not None and None not in shape:
                    found.setdefault(name, tuple(shape))
        return found

    def dtype_of(self, name: str, default: str) -> str:
        """Returns the type of the numbers in which networks take what is given."""
        return next((spec.dtype for spec in self._specs(name)), default)

    def with_root(self, name: str, root: Root) -> Any:
        """Returns the same built graph with another prior of one node, whose weights are made."""
        graph = copy.copy(self)
        graph.generative = {**self.generative, name: root}
        root.build(self.shapes[name], graph._encoder_of(name))
        return graph

    # Building.

    def build(self, shapes: Mapping[str, Shape], dtypes: Mapping[str, str]) -> None:
        """Makes all weights, and finds the shapes and supports of all nodes.

        Args:
            shapes: Those of the observed nodes, and of the context where one is read.
            dtypes: Types of the same.

        Raises:
            TypeError: A network makes no distribution.
            ValueError: Shapes do not fit each other.
        """
        self.shapes = {name: tuple(shapes[name]) for name in self.observed}
        given = [*self.observed, *([CONTEXT] if self.reads_context else [])]
        # A known batch size: TFP loses the static event shape of one-dimensional Gaussians without.
        specs = {n: tf.TensorSpec([2, *shapes[n]], dtypes[n]) for n in given}
        if self.reads_context:
            self.context_shape = tuple(shapes[CONTEXT])
        if tf.distribute.has_strategy():  # Which makes weights nowhere but outside of graphs.
            self._explore({name: tf.zeros(spec.shape, spec.dtype) for name, spec in specs.items()})
        else:
            # Tracing, and not calling, makes the weights without a pass through the networks.
            outputs_of(lambda values: self._explore(values), specs)
        # In the order of the factors of p.
        self.shapes = {name: self.shapes[name] for name in self.generative}

    def _explore(self, values: dict[str, Tensor]) -> None:
        factors, values = self.posterior.factors(dict(values), False)
        posteriors = {}
        for factor in factors:
            q = posteriors[factor.name] = factor.make({**values})
            self.shapes[factor.name] = event_tuple(q.event_shape)
            if q.reparameterization_type != tfd.FULLY_REPARAMETERIZED:
                self._reparameterised = False
            draw = tf.reshape(q.sample(seed=[0, 0]), [-1, *self.shapes[factor.name]])
            values[factor.name] = draw
        # Networks first: priors may want to know of the data.
        for name in sorted(self._order, key=lambda n: isinstance(self.generative[n], Root)):
            part = self.generative[name]
            if isinstance(part, Root):
                part.build(self.shapes[name], self._encoder_of(name))
            p = part.maker(self._event(name), False)({n: values[n] for n in part.reads})
            self._check_factor(name, p)
            if name in posteriors:
                check_same_kind(posteriors[name], p)
            missing, support = name in self.partly_observed, support_of(p)
            self.supports[name] = replace(support, missing=missing or support.missing)

    def check_missing(self) -> None:
        """Checks that posteriors read NaN as missing; see `tfvae.graph.checks.check_missing`."""
        name = self.observed[0]
        with tf.init_scope():
            # Four rows: two with one half of their entries missing, two with the other.
            given = {}
            if self.reads_context:
                given[CONTEXT] = tf.zeros([4, *(self.context_shape or ())])
            z = tf.random.stateless_normal([2, *self.latent_shape], (0, 0))
            two = {key: value[:2] for key, value in given.items()}
            x = self.likelihood(z, two).sample(seed=(0, 1))

            def parameters(x: Tensor) -> Any:
                q: Any = self.q({name: x, **given})
                if not isinstance(q, Hierarchy):
                    return q
                return {
                    k: c.distribution
                    for k, c in q.draw(1, tf.constant([0, 0])).conditionals.items()
                }

            weights = [w for network in self.posterior.networks for w in network.weights]
            check_missing(parameters, x, weights)

    def _check_factor(self, name: str, p: Distribution) -> None:
        part, shape = self.generative[name], self.shapes[name]
        other = "its posterior" if name in self.latents else "the data"
        if not p.event_shape.is_compatible_with(shape):
            raise ValueError(
                f"`{part.title}` must return a distribution over {self._event(name)}. "
                f"Expected: event_shape={shape}, that of {other}. "
                f"Received: event_shape={p.event_shape}. Change one to the shape of the other, or "
                "set `event_shape` on the last layer."
            )
        rows = [2] if isinstance(part, Root) and part.reads else []
        if isinstance(part, Root) and not p.batch_shape.is_compatible_with(rows):
            raise ValueError(
                f"`{part.title}` must return one distribution over {self._event(name)}, batch "
                "shape [], or [batch] where it takes a context. Received: "
                f"event_shape={p.event_shape}, batch_shape={p.batch_shape}."
            )

    def _encoder_of(self, name: str) -> tuple[Any, ...]:
        """Returns what a prior made of posteriors is shown: the posterior of its node as a function
        of the one observed node that it reads, the shape and the support of that; nothing where
        the posterior reads others.
        """
        if name not in self.latents:
            return ()
        found = self.posterior.of_data_alone(name)
        if found is None and CONTEXT in self.posterior.reads and len(self.observed) == 1:
            found = self.observed[0], None  # priors that need it say what stands in the way
        if found is None or found[0] not in self.supports:
            return ()
        source, encode = found
        return encode, self.shapes[source], self.supports[source]

    # Distributions.

    def q(self, data: Values, *, training: bool = False) -> Distribution:
        """Returns the posterior, batch shape `[B]`, event shape `E`."""
        if len(self.latents) == 0:
            return nothing(tf.shape(data[self.observed[0]])[:1])
        given = {name: data[name] for name in (*self.observed, CONTEXT) if name in data}
        factors, given = self.posterior.factors(given, training)
        for index, factor in enumerate(factors):
            if factor.name in self.partly_observed:
                label = f"{factor.name} label"
                given[label] = data[factor.name]
                factors[index] = _labelled(factor, label)
        q = Hierarchy(factors, self.latent_shapes, given, reparameterised=self._reparameterised)
        return q if len(self.latents) > 1 else q.root(self.latents[0])

    def p(self, data: Values, *, training: bool = False) -> Distribution:
        """Returns the prior, batch shape `[]`, or `[B]` where z depends on `conditions` under p."""
        if len(self.latents) == 0:
            return nothing(tf.constant([], tf.int32))
        given = {name: data[name] for name in self.conditions}
        p = Hierarchy(self._factors(self.latents, training), self.latent_shapes, given)
        return p if len(self.latents) > 1 else p.root(self.latents[0])

    def likelihood(self, z: Tensor, data: Values, *, training: bool = False) -> Distribution:
        """Returns the product of the conditionals of all observed nodes at `z` `[..., *E]`.

        Batch shape `[...]`. The one observed node keeps its own shape, several are one vector.
        """
        rank = z.shape.rank - len(self.latent_shape)
        leading = tf.shape(z)[:rank]
        rows = -1 if self.latents else tf.reduce_prod(leading)  # Of no numbers, -1 says nothing.
        folded = tf.reshape(z, [rows, *self.latent_shape])
        given = {"": no_columns(folded.shape, tf.shape(folded)), **self.split(folded)}
        if CONTEXT in data:
            given[CONTEXT] = of_each(data[CONTEXT], leading, self.context_shape or ())
        factors = self._factors(self.observed, training)
        p_x: Any = Hierarchy(factors, {name: self.shapes[name] for name in self.observed}, given)
        if len(self.observed) == 1:
            p_x = p_x.root(self.observed[0])
            if p_x.batch_shape.rank == 0:
                p_x = tfd.BatchBroadcast(p_x, tf.shape(folded)[:1])
        return p_x if rank == 1 else tfd.BatchReshape(p_x, leading)

    def split(self, z: Tensor) -> dict[str, Tensor]:
        """Returns the latent nodes `[..., *E_k]` of `z` `[..., *E]`, by name."""
        if len(self.latents) == 1:
            return {self.latents[0]: z}
        return split_levels(z, self.latent_shapes) if self.latents else {}

    def join(self, values: Values) -> Tensor:
        """Returns `z` `[N, *E]` of latent nodes `[N, *E_k]`: what `split` takes apart."""
        if len(self.latents) == 1:
            return values[self.latents[0]]
        shapes = self.latent_shapes.items()
        return tf.concat([tf.reshape(values[n], [-1, math.prod(e)]) for n, e in shapes], axis=-1)

    def levels(self, distribution: Distribution) -> Hierarchy:
        """Returns a distribution over z as one that knows the nodes."""
        if isinstance(distribution, Hierarchy):
            return distribution
        if len(self.latents) > 1:
            raise TypeError(
                "A posterior or prior of several latent nodes must be one that the model makes. "
                f"Received: {type(distribution).__name__}"
            )
        name, given = next(iter(self.latents)), {}
        if distribution.batch_shape.rank:
            given[""] = no_columns(distribution.batch_shape, distribution.batch_shape_tensor())
        factor = Factor(name, (), lambda _: distribution)
        # TFP draws categories as whole numbers; what is worked out of them are not.
        dtype = distribution.dtype if distribution.dtype.is_floating else tf.float32
        return Hierarchy([factor], {name: self.shapes[name]}, given, dtype=dtype)

    # Draws.

    def generate(
        self, num_samples: int | Tensor, seed: Tensor, data: Values
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Draws all nodes, each after its parents.

        Args:
            num_samples: Number of draws, N.
            seed: Int32 pair `[2]`.
            data: The context `[N, ...]`, where one is read.

        Returns:
            By node `[N, ...]`: the draws, and of observed nodes the centres given those.
        """
        observed = [name for name in self.conditions if name != CONTEXT]
        values: dict[str, Tensor] = {}
        if not observed:
            p_z = self.p(data)
            z = p_z.sample(() if p_z.batch_shape.rank else num_samples, seed=seed)
            values, seed = self.split(z), fold_in(seed, 1)
        given = {"": tf.zeros([num_samples, 0]), **values}
        if CONTEXT in data:
            given[CONTEXT] = data[CONTEXT]
        names = [name for name in self._order if name not in values]
        shapes = {name: self.shapes[name] for name in names}
        joint = Hierarchy(self._factors(names, False), shapes, given)
        draws, found, means = joint.draw(1, seed, _plain), dict(values), {}
        for name in names:
            found[name] = tf.reshape(draws.values[name], [-1, *self.shapes[name]])
            if name in self.observed:
                mean = centre(draws.conditionals[name].distribution, found[name])
                means[name] = tf.broadcast_to(mean, tf.shape(found[name]))
        return found, means

    # Private.

    def _specs(self, name: str) -> list[Any]:
        found = [part.spec(name) for part in self.generative.values()]
        return [*self.posterior.specs(name), *(spec for spec in found if spec is not None)]

    def _event(self, name: str) -> str:
        return f"one example of `{name}`" if name in self.observed else f"one latent `{name}`"

    def _factors(self, names: Sequence[str], training: bool) -> list[Factor]:
        """Returns the conditionals of these nodes under p, each after those it reads."""
        parts = [(name, self.generative[name]) for name in self._order if name in names]
        return [Factor(n, part.reads, part.maker(self._event(n), training)) for n, part in parts]


def _distinct(networks: Sequence[Any]) -> list[Any]:
    """Returns the trainable weights of networks once each, in order."""
    weights = (weight for network in networks for weight in network.trainable_weights)
    return list({id(weight): weight for weight in weights}.values())


def _plain(distribution: Distribution, num_samples: Any, seed: Seed) -> tuple[Tensor, Tensor]:
    x = distribution.sample(num_samples, seed=seed)
    return x, tf.zeros(tf.shape(x)[: x.shape.rank - len(distribution.event_shape)])


def _labelled(factor: Factor, label: str) -> Factor:
    def make(values: dict[str, Tensor]) -> Distribution:
        return Labelled(factor.make(values), values[label])

    return Factor(factor.name, (*factor.reads, label), make)
