"""Variational autoencoders with several levels of latents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._stored import made_again, objects_config
from tfvae._typing import Distribution, Seed, Shape, Tensor, event_tuple, register
from tfvae.distributions.gaussian import as_diagonal_normal
from tfvae.distributions.hierarchy import (
    Factor,
    Hierarchy,
    level_rates,
    precision_weighted,
    split_levels,
)
from tfvae.distributions.support import Support
from tfvae.models.pieces import CONTEXT, Piece, sampling_order
from tfvae.models.vae import VAE, checked_prior
from tfvae.objectives import Objective
from tfvae.objectives.levels import draw_levels, rates_have_gradients
from tfvae.priors import Prior, StandardNormal
from tfvae.terms import Terms

__all__ = ["HierarchicalVAE"]

tfd = tfp.distributions

_DEPENDS = (
    "No level of the posterior can depend on itself, by way of others either. Received: {}. Let "
    "those below read what lies above, or the other way round."
)


@register
class HierarchicalVAE(VAE):
    """VAE with levels z_1, ..., z_L of latents, z_1 nearest to the data, of any families.

        p(x, z) = p(x|z_1, ...) p(z_1|z_2, ...) ... p(z_L)
        log p(x) >= E_q[log p(x|z)] - sum_l rate_l
        rate_l = E_q[log q(z_l|...) - log p(z_l|z_l+1, ...)]

    What a network reads is told by the names of its inputs: `x`, `z_1`, `z_2`, ..., and `context`.
    The posterior follows from that, as long as no level depends on itself:

        q(z_2|x) q(z_1|x, z_2)      top-down: posteriors[0] reads x and z_2
        q(z_1|x) q(z_2|z_1)         bottom-up: posteriors[1] reads z_1
        q(z_1|x) q(z_2|x)           each level by itself

    Inputs without such names are, in order, x and the levels above for a posterior, and the levels
    above for a decoder: networks of one input are a chain of decoders, and posteriors that read
    nothing but x. With `precision_weighted`, the posterior shares the way down with p(z): what
    posteriors say of a level is weighed with p(z_l|z_l+1, ...), by the precision of each.

    A latent is one vector of all levels, z_1 first, so that objectives, evaluations and exports are
    those of any model; `split` takes it apart. Each `rate_l` is logged: where no level above
    depends on z_l in the posterior, by the closed form of its KL at the draws of the others. Where
    levels of the posterior depend on others the mutual information is not logged, because it takes
    all pairs of a batch through the networks; `tfvae.decompose` reports it.

    Args:
        posteriors: Keras models to q(z_1|...), ..., q(z_L|...).
        decoders: Keras models to p(x|z_1, ...), p(z_1|z_2, ...), ..., p(z_L-1|z_L): as many.
        prior: A `tfvae.priors.Prior` of z_L; by default `StandardNormal()`.
        features: Keras model from x to what posteriors read in its place: one tensor for all, or a
            list of one for each level. Worked out once for all levels and draws.
        precision_weighted: Weighs each posterior below the top with p(z_l|z_l+1, ...). All these
            are then diagonal Gaussians, and the posteriors read no levels.
        seed: See `LatentVariableModel`.
        **kwargs: See `LatentVariableModel`.

    Attributes:
        levels: Names of the levels, `("z_1", ..., "z_L")`.

    Raises:
        TypeError: A network returns no distribution, or `prior` is no prior.
        ValueError: The numbers of networks, or event or batch shapes, do not fit each other, or a
            level depends on itself.

    Example:
        >>> normal = tfvae.layers.MultivariateNormalDiag(2)
        >>> bernoulli = tfvae.layers.IndependentBernoulli(8)
        >>> def network(inputs, size, head):
        ...     hidden = keras.layers.Concatenate()(inputs) if len(inputs) > 1 else inputs[0]
        ...     return keras.Model(inputs, head(keras.layers.Dense(size)(hidden)))
        >>> x = keras.Input((8,), name="x")
        >>> z_1, z_2 = keras.Input((2,), name="z_1"), keras.Input((2,), name="z_2")
        >>> vae = tfvae.HierarchicalVAE(
        ...     posteriors=[network([x, z_2], 4, normal), network([x], 4, normal)],
        ...     decoders=[network([z_1, z_2], 8, bernoulli), network([z_2], 4, normal)],
        ...     prior=tfvae.priors.VampPrior(5))
        >>> z = vae.encode(tf.zeros([3, 8])).sample(seed=[0, 1])
        >>> z.shape, vae.split(z)["z_2"].shape
        (TensorShape([3, 4]), TensorShape([3, 2]))

    References:
        Ladder Variational Autoencoders (Sonderby et al., 2016), https://arxiv.org/abs/1602.02282
        VAE with a VampPrior (Tomczak and Welling, 2018), https://arxiv.org/abs/1705.07120
    """

    def __init__(
        self,
        posteriors: Sequence[keras.Model],
        decoders: Sequence[keras.Model],
        prior: Prior | None = None,
        *,
        features: keras.Model | None = None,
        precision_weighted: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        posteriors, decoders = _listed(posteriors, "posteriors"), _listed(decoders, "decoders")
        if len(posteriors) != len(decoders) or not posteriors:
            raise ValueError(
                "A hierarchy of L levels takes L `posteriors`, of z_1 to z_L, and L `decoders`, of "
                f"x and of z_1 to z_(L-1). Received: {len(posteriors)} posteriors and "
                f"{len(decoders)} decoders"
            )
        top = checked_prior(StandardNormal(name="prior") if prior is None else prior)
        levels = tuple(f"z_{level}" for level in range(1, len(posteriors) + 1))
        shapes = _Shapes()
        joint = _JointPrior(top, decoders[1:], levels, shapes)
        encoder = _JointEncoder(posteriors, features, levels, shapes, joint, precision_weighted)
        decoder = _JointDecoder(decoders[0], levels, shapes)
        # No layer: Keras would store and count its weights twice.
        joint.encode_top = encoder.encode_top if encoder.top_reads_x_alone else None
        # Before the metrics are made, which these name.
        self.rate_names = tuple(f"rate_{level}" for level in range(1, len(levels) + 1))
        self._compares_pairs = encoder.factorises
        super().__init__(encoder, decoder, joint, seed=seed, **kwargs)

    @property
    def levels(self) -> tuple[str, ...]:
        """Names of the levels, from the data up."""
        return self.encoder.levels

    def split(self, z: Tensor) -> dict[str, Tensor]:
        """Returns the levels `[..., *E_l]` of latents `[..., K]`, by name."""
        _ = self.latent_shape  # known only after building
        return split_levels(tf.convert_to_tensor(z), self.encoder.shapes.events)

    def terms(
        self,
        x: Tensor,
        num_samples: int = 1,
        seed: Seed = None,
        *,
        context: Tensor | None = None,
        posterior: Distribution | None = None,
        prior: Distribution | None = None,
        objective: Objective | None = None,
        training: bool = False,
    ) -> Terms:
        """See `LatentVariableModel.terms`. Posteriors that are no hierarchy are scored as any."""
        self._refuse_surplus(context)
        q_z = self.encode(x, context, training=training) if posterior is None else posterior
        p_z = self._joint_prior(context, training) if prior is None else prior
        if not isinstance(q_z, Hierarchy) or not isinstance(p_z, Hierarchy):
            return super().terms(
                x,
                num_samples,
                seed,
                context=context,
                posterior=q_z,
                prior=p_z,
                objective=objective,
                training=training,
            )
        draws = draw_levels(q_z, num_samples, self.make_seed(seed), objective)
        scores = level_rates(q_z, p_z, draws)
        rates = scores.rates
        closed = scores.closed and rates_have_gradients(scores, draws, objective)
        z = q_z.join(draws.values)
        return Terms(
            log_p_x=self.log_p_x_given_z(x, z, context, training=training),
            log_p_z=tf.add_n(list(scores.log_p.values())),
            log_q_z=tf.add_n(list(draws.log_probs.values())),
            kl=tf.add_n(list(rates.values())) if closed else None,
            z=z,
            q_z=q_z,
            p_z=p_z,
            gradient_scale=draws.extra,
            level_rates=tf.stack([rates[name] for name in self.levels], axis=-1),
        )

    def with_prior(self, prior: Prior) -> HierarchicalVAE:
        """Returns a new model of the same networks, not copies, with another prior of z_L."""
        return HierarchicalVAE(
            list(self.encoder.networks),
            [self.decoder.network, *self.prior.networks],
            prior,
            features=self.encoder.features,
            precision_weighted=self.encoder.precision_weighted,
            seed=self.seed,
        )

    @property
    def parts_beside_prior(self) -> tuple[keras.layers.Layer, ...]:
        """All networks, those of p(z_l|z_l+1, ...) included, but the prior of z_L."""
        return self.encoder, self.decoder, *self.prior.networks

    def replace_prior(self, prior: Prior) -> None:
        """Sets another prior of z_L, as it is."""
        super().replace_prior(self.prior.with_top(checked_prior(prior)))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain data."""
        encoder = self.encoder
        return {
            **super(VAE, self).get_config(),
            **objects_config(
                posteriors=list(encoder.networks),
                decoders=[self.decoder.network, *self.prior.networks],
                prior=self.prior.top,
                features=encoder.features,
            ),
            "precision_weighted": encoder.precision_weighted,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> HierarchicalVAE:
        """Makes the model again from the output of `get_config`, without its weights."""
        names = ("posteriors", "decoders", "prior", "features")
        return cls(**made_again(config, *names, custom_objects=custom_objects))

    def _joint_prior(self, context: Tensor | None, training: bool) -> Distribution:
        if not self.prior.takes_context:
            return self.prior.distribution(training=training)
        return self.prior.distribution(self._required(context), training=training)

    def _try_draws(self, objective: Objective, q_z: Any) -> None:
        draw_levels(q_z, objective.num_samples, tf.constant([0, 0]), objective)

    def _parameters(self, x: Tensor, context: Tensor | None) -> Any:
        q_z: Any = self._posterior(x, context)
        return q_z.draw(1, tf.constant([0, 0])).conditionals

    def _build_parts(self, x: Tensor, context: Tensor | None = None) -> None:
        self.encoder.explore(x, context)
        super()._build_parts(x, context)


class _Shapes:
    """The shapes of the levels, once they are known, for all parts that cut latents by them."""

    def __init__(self) -> None:
        self.events: dict[str, Shape] = {}


class _JointEncoder(keras.layers.Layer):
    """q(z|x) of all levels, from the networks of each."""

    def __init__(
        self,
        networks: list[Any],
        features: Any,
        levels: tuple[str, ...],
        shapes: _Shapes,
        prior: _JointPrior,
        weighted: bool,
    ) -> None:
        super().__init__(name="posteriors", autocast=False)
        self.built = True  # all weights are those of the networks
        self.levels, self.shapes, self.precision_weighted = levels, shapes, weighted
        self._features = None
        if features is not None:
            self._features = Piece(features, "features", ["x"], ["x"])
        self._pieces = tuple(
            Piece(
                network,
                f"posteriors[{index}]",
                ["x", *levels[index + 1 :]],
                ["x", *(name for name in levels if name != levels[index])],
            )
            for index, network in enumerate(networks)
        )
        self.networks, self.features = list(networks), features
        self._generative = prior.factors  # no layer, for the same reason
        self.reparameterised = True
        for piece in self._pieces:
            found = [name for name in piece.reads if name in levels]
            if weighted and found:
                raise ValueError(
                    "With `precision_weighted` posteriors read no levels: what lies above comes "
                    f"in by p(z). Received: `{piece.title}` reads {', '.join(found)}"
                )
        reads = {name: set(self._reads(index)) for index, name in enumerate(levels)}
        self._order = sampling_order(reads, _DEPENDS)
        self.factorises = not weighted or len(levels) == 1
        self.factorises = self.factorises and not any(reads[name] for name in levels)

    @property
    def takes_context(self) -> bool:
        """Whether any network reads a context, or a level of p(z) that is weighed in."""
        reads = [part.reads for part in (*self._pieces, self._features) if part is not None]
        if self.precision_weighted:
            reads += [factor.reads for factor in self._generative()]
        return any(CONTEXT in names for names in reads)

    @property
    def top_reads_x_alone(self) -> bool:
        """Whether the top posterior needs no context."""
        parts = [part for part in (self._pieces[-1], self._features) if part is not None]
        return not any(CONTEXT in part.reads for part in parts)

    @property
    def inputs(self) -> list[Any]:
        """The symbolic inputs, where they are known."""
        parts = [part for part in (self._features, *self._pieces) if part is not None]
        sources = parts if self._features is None else parts[:1]
        x = [spec for part in sources if (spec := part.spec("x")) is not None][:1]
        context = [spec for part in parts if (spec := part.spec(CONTEXT)) is not None][:1]
        if not self.takes_context:
            return x
        return [*x, *context] if x and context else []

    @property
    def input(self) -> list[Any]:
        """As `inputs`."""
        return self.inputs

    def encode_top(self, x: Tensor) -> Distribution:
        """Returns q(z_L|x), batch shape `[B]`.

        Raises:
            ValueError: It reads other levels.
        """
        found = self._reads(len(self.levels) - 1)
        if found:
            raise ValueError(
                "A prior made of posteriors needs the top posterior as a function of x alone, but "
                f"`{self._pieces[-1].title}` reads {', '.join(found)}. Make the posterior "
                "top-down: have the top read x, and those below it x and what lies above."
            )
        factor = self._factor(len(self.levels) - 1, False)
        return factor.make(self._given(x, None, False))

    def call(self, x: Any, context: Tensor | None = None, training: bool = False) -> Distribution:
        if isinstance(x, (list, tuple)):
            x, context = x
        factors, given = self._factors(x, context, training)
        return Hierarchy(
            [factors[name] for name in self._order],
            self.shapes.events,
            given,
            reparameterised=self.reparameterised,
        )

    def explore(self, x: Tensor, context: Tensor | None) -> None:
        """Finds the shapes of the levels, and checks that the networks fit each other."""
        factors, values = self._factors(x, context, False)
        events = {}
        for name in self._order:
            q = factors[name].make(values)
            events[name] = event_tuple(q.event_shape)
            self.reparameterised = (
                self.reparameterised and q.reparameterization_type == tfd.FULLY_REPARAMETERIZED
            )
            values[name] = tf.reshape(q.sample(seed=[0, 0]), [-1, *events[name]])
        for factor in self._generative():
            p = factor.make(values)
            if not p.event_shape.is_compatible_with(events[factor.name]):
                raise ValueError(
                    f"`decoders` and `posteriors` differ in the shape of {factor.name}. Expected: "
                    f"event_shape={events[factor.name]}, that of the posterior. "
                    f"Received: event_shape={p.event_shape}. Change one to the shape of the other."
                )
        self.shapes.events = {name: events[name] for name in self.levels}

    def _reads(self, index: int) -> list[str]:
        """Returns the levels on which a level of the posterior depends."""
        if self.precision_weighted and index < len(self.levels) - 1:
            return [
                name
                for factor in self._generative()
                if factor.name == self.levels[index]
                for name in factor.reads
                if name in self.levels
            ]
        return [name for name in self._pieces[index].reads if name in self.levels]

    def _given(self, x: Tensor, context: Tensor | None, training: bool) -> dict[str, Tensor]:
        given = {"x": tf.convert_to_tensor(x)}
        if context is not None:
            given[CONTEXT] = context
        if self._features is None:
            return given
        found = self._features(given, training=training)
        if not isinstance(found, (list, tuple)):
            return {**given, "x": tf.convert_to_tensor(found)}
        del given["x"]
        if len(found) != len(self.levels):
            raise ValueError(
                "`features` must return one tensor for all levels, or a list of one for each. "
                f"Expected: {len(self.levels)} tensors. Received: {len(found)}"
            )
        return {**given, **{f"x_{i}": tf.convert_to_tensor(h) for i, h in enumerate(found)}}

    def _factors(
        self, x: Tensor, context: Tensor | None, training: bool
    ) -> tuple[dict[str, Factor], dict[str, Tensor]]:
        """Returns the conditionals by level, and what they read beside levels."""
        given = self._given(x, context, training)
        generative = {}
        if self.precision_weighted:
            generative = {f.name: f for f in self._generative(training)}
        factors = {}
        for index, name in enumerate(self.levels):
            factor = self._factor(index, training)
            if name in generative:
                factor, more = self._weighted(factor, generative[name], given)
                given = {**given, **more}
            factors[name] = factor
        return factors, given

    def _factor(self, index: int, training: bool) -> Factor:
        name, piece = self.levels[index], self._pieces[index]
        own = f"x_{index}"

        def make(values: dict[str, Tensor]) -> Distribution:
            named = {**values, "x": values[own]} if own in values else values
            return piece.distribution(named, f"one {name}", training=training)

        # What of the two there is comes in: a list of features, or one thing for all levels.
        reads = [part for read in piece.reads for part in ([own, "x"] if read == "x" else [read])]
        return Factor(name, tuple(reads), make)

    def _weighted(
        self, own: Factor, generative: Factor, given: dict[str, Tensor]
    ) -> tuple[Factor, dict[str, Tensor]]:
        """Returns q(z_l|x) p(z_l|z_l+1, ...), normalised, and what of it depends on x alone."""
        name = own.name
        normal = self._normal(own.make({read: given[read] for read in own.reads if read in given}))
        parameters = {f"{name} loc": normal.loc, f"{name} scale": normal.scale}

        def make(values: dict[str, Tensor]) -> Distribution:
            of_x = tfd.Normal(values[f"{name} loc"], values[f"{name} scale"])
            return precision_weighted(of_x, self._normal(generative.make(values)))

        return Factor(name, (*generative.reads, *parameters), make), parameters

    def _normal(self, distribution: Distribution) -> Distribution:
        normal = as_diagonal_normal(distribution)
        if normal is None:
            raise ValueError(
                "`precision_weighted` takes diagonal Gaussians, such as those of "
                "`MultivariateNormalDiag` and `IndependentNormal`, at all levels below the top. "
                f"Received: {type(distribution).__name__}"
            )
        return normal


class _JointDecoder(keras.layers.Layer):
    """p(x|z) as a function of all levels in one vector."""

    def __init__(self, network: Any, levels: tuple[str, ...], shapes: _Shapes) -> None:
        super().__init__(name="decoder", autocast=False)
        self.built = True
        piece = Piece(network, "decoders[0]", levels, levels, "IndependentBernoulli")
        self._piece, self._shapes = piece, shapes
        self.network = network

    @property
    def takes_context(self) -> bool:
        """Whether the network reads a context."""
        return CONTEXT in self._piece.reads

    @property
    def inputs(self) -> list[Any]:
        """The symbolic inputs, where they matter to others: where one is the context."""
        context = self._piece.spec(CONTEXT)
        return [] if context is None else [keras.KerasTensor((None, None)), context]

    @property
    def input(self) -> list[Any]:
        """As `inputs`."""
        return self.inputs

    def call(self, z: Any, context: Tensor | None = None, training: bool = False) -> Distribution:
        if isinstance(z, (list, tuple)):
            z, context = z
        values = split_levels(z, self._shapes.events)
        if context is not None:
            values[CONTEXT] = context
        return self._piece.distribution(values, "one example of `x`", training=training)


class _JointPrior(Prior):
    """p(z) of all levels: the top prior, and a network for each level below."""

    def __init__(
        self, top: Prior, networks: list[Any], levels: tuple[str, ...], shapes: _Shapes
    ) -> None:
        super().__init__(name="levels")
        self.levels, self._shapes = levels, shapes
        self._pieces = tuple(
            Piece(network, f"decoders[{index + 1}]", levels[index + 1 :], levels[index + 1 :])
            for index, network in enumerate(networks)
        )
        self.top, self.networks = top, list(networks)
        self.encode_top: Callable[[Tensor], Distribution] | None = None

    @property
    def takes_context(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the top prior or any network reads a context."""
        return self.top.takes_context or any(CONTEXT in piece.reads for piece in self._pieces)

    @property
    def inputs(self) -> list[Any]:
        """The symbolic input of the context, where it is known."""
        specs = (piece.spec(CONTEXT) for piece in self._pieces)
        found = [spec for spec in specs if spec is not None]
        return found[:1] or list(getattr(self.top, "inputs", None) or [])

    def with_top(self, top: Prior) -> _JointPrior:
        """Returns the same levels under another prior of the top."""
        joint = _JointPrior(top, list(self.networks), self.levels, self._shapes)
        joint.encode_top = self.encode_top
        return joint

    def connect(self, encode: Any, event_shape: Shape, support: Support) -> None:
        self.top.connect(self.encode_top, event_shape, support)

    def distribution(self, context: Tensor | None = None, training: bool = False) -> Distribution:
        """Returns p(z), event shape `[K]`: batch shape `[]`, or `[B]` where it reads a context."""
        reads = (CONTEXT,) if self.top.takes_context else ()
        given = {} if context is None else {CONTEXT: context}
        top = Factor(self.levels[-1], reads, lambda values: self.top.distribution(**values))
        return Hierarchy([top, *self.factors(training)], self._shapes.events, given)

    def factors(self, training: bool = False) -> list[Factor]:
        """Returns the conditionals of the levels below the top, from there down."""
        pairs = list(zip(self.levels, self._pieces, strict=False))
        return [
            Factor(name, piece.reads, piece.maker(f"one {name}", training))
            for name, piece in reversed(pairs)
        ]

    def _build(self, event_shape: Shape) -> None:
        self.top.build(self._shapes.events[self.levels[-1]])


def _listed(networks: Any, name: str) -> list[Any]:
    if not isinstance(networks, (list, tuple)):
        raise TypeError(
            f"`{name}` must be a list of Keras models, one for each level. "
            f"Received: {type(networks).__name__}"
        )
    return list(networks)
