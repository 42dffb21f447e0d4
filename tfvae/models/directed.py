"""Models of any directed graph of observed and latent nodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._config import check_count
from tfvae._random import stateless_seed
from tfvae._tracing import outputs_of
from tfvae._typing import Distribution, Seed, Shape, Tensor, event_tuple, register
from tfvae.distributions.finite import num_states
from tfvae.distributions.hierarchy import Factor, Hierarchy, LevelDraws, level_rates, split_levels
from tfvae.distributions.labelled import Labelled
from tfvae.distributions.statistics import centre, probabilities, statistic
from tfvae.distributions.support import Support, support_of
from tfvae.models.base import LatentVariableModel, distinct
from tfvae.models.checks import check_array, check_context, check_event_shape, checked_part
from tfvae.models.observed import nothing, terms_without_latents
from tfvae.models.pieces import CONTEXT, Piece, sampling_order
from tfvae.objectives import Objective
from tfvae.objectives.levels import draw_levels, rates_have_gradients
from tfvae.priors import Prior
from tfvae.terms import Terms

__all__ = ["DirectedModel"]

tfd = tfp.distributions

_CIRCLE = (
    "The nodes of a directed model cannot depend on themselves, by way of others either. "
    "Received: {}. Take one of these inputs out."
)


@register
class DirectedModel(LatentVariableModel):
    """Model of any directed graph of observed and latent nodes, with networks as conditionals.

        p(x_1, ..., x_m) = prod_j p(x_j | parents of x_j)
        log p(observed) >= E_q[sum_j log p(x_j | parents) - sum_k log q(z_k | parents under q)]

    Each node has a name, and each network reads the nodes, or the `context`, that its inputs are
    named after, `keras.Input(shape, name="z")`, or the arguments of its `call`. Nodes with a
    posterior are latent, all others are observed. Data is a dict of the observed nodes, and an
    array where there is but one:

        generative = {"y": Categorical prior, "z": p(z|y), "x": p(x|y, z)}
        posterior = {"y": q(y|x), "z": q(z|x, y)}
        model.fit({"x": images, "y": labels}),   labels NaN or -1 where not known

    Latent nodes of few states, whose posterior reads no other latent node, are summed over and not
    drawn, as in `tfvae.VAE`. What is given of a latent node in `partly_observed` takes the place
    of draws of it: the bound is then one of log p(x, y) for examples with a label, and of log p(x)
    for those without. `tfvae.objectives.Supervised` has q(y|x) learn from labels too.

    Several observed nodes reach `terms`, `encode` and objectives as one vector `x`, those of the
    data in the order of `generative`, and several latent nodes as one vector `z`, in the order of
    `posterior`; `as_batch` makes the first, `split` takes the second apart. One node alone keeps
    its own shape. Each latent node's rate is logged where there are several.

    Args:
        generative: Node → Keras network from its parents to its distribution; for a node without
            parents a `tfvae.priors.Prior` or another layer with a `distribution()`.
        posterior: Latent node → Keras network to its posterior, from any observed nodes and other
            latent ones. None for a model of observed nodes alone.
        partly_observed: Latent nodes whose values some examples of the data give, whole or not at
            all.
        max_states: Up to how many joint states latents are summed over. 0 always draws.
        seed: See `LatentVariableModel`.
        **kwargs: See `LatentVariableModel`.

    Attributes:
        observed: Names of the nodes that data always gives.
        latents: Names of the nodes with a posterior.

    Raises:
        TypeError: A network is none, or makes no distribution.
        ValueError: A network reads what is no node, nodes depend on themselves, none is observed,
            or shapes do not fit each other.

    Example:
        >>> def network(head, size, **inputs):
        ...     inputs = [keras.Input(shape, name=name) for name, shape in inputs.items()]
        ...     h = keras.layers.Concatenate()(inputs) if len(inputs) > 1 else inputs[0]
        ...     return keras.Model(inputs, head(keras.layers.Dense(size)(h)))
        >>> normal = tfvae.layers.MultivariateNormalDiag(2)
        >>> one_hot = tfvae.layers.OneHotCategorical(3)
        >>> model = tfvae.DirectedModel(
        ...     generative={
        ...         "y": tfvae.priors.OneHot(),
        ...         "z": network(normal, 4, y=(3,)),
        ...         "x": network(tfvae.layers.IndependentBernoulli(8), 8, y=(3,), z=(2,))},
        ...     posterior={
        ...         "y": network(one_hot, 3, x=(8,)), "z": network(normal, 4, x=(8,), y=(3,))},
        ...     partly_observed=["y"])
        >>> model.compile("adam")
        >>> images, labels = np.ones([4, 8], "float32"), np.array([0, 2, -1, -1])
        >>> history = model.fit({"x": images, "y": labels}, verbose=0)
        >>> model.sample(5, seed=0).shape
        TensorShape([5, 8])

    References:
        Probabilistic Graphical Models (Koller and Friedman, 2009)
        Semi-supervised Learning with Deep Generative Models (Kingma et al., 2014),
        https://arxiv.org/abs/1406.5298
    """

    observed: tuple[str, ...]
    latents: tuple[str, ...]

    def __init__(
        self,
        generative: Mapping[str, Any],
        posterior: Mapping[str, Any] | None = None,
        *,
        partly_observed: Sequence[str] = (),
        max_states: int = 128,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        generative = _nodes(generative, "generative")
        posterior = _nodes({} if posterior is None else posterior, "posterior")
        unknown = [name for name in posterior if name not in generative]
        if unknown:
            raise ValueError(
                "Each latent node needs a network, or a prior, in `generative` too. Received: "
                f"`posterior` of {', '.join(unknown)}, `generative` of {', '.join(generative)}"
            )
        surplus = [name for name in partly_observed if name not in posterior]
        if isinstance(partly_observed, str) or surplus:
            raise ValueError(
                "`partly_observed` is a list of latent nodes, those with a `posterior`. "
                f"Received: {partly_observed!r}, latent are {', '.join(posterior) or 'none'}"
            )
        if max_states != 0:
            check_count("max_states", max_states)
        observed = tuple(name for name in generative if name not in posterior)
        if not observed:
            raise ValueError(
                "A model needs an observed node, one without `posterior`. Received: `posterior` of "
                f"all nodes, {', '.join(posterior)}"
            )
        # Before the metrics are made, which these name.
        self.rate_names = tuple(f"rate_{name}" for name in posterior if len(posterior) > 1)
        pieces = {
            name: _piece(part, f'generative["{name}"]', [n for n in generative if n != name])
            for name, part in generative.items()
        }
        encoders = {
            name: _piece(part, f'posterior["{name}"]', [n for n in generative if n != name], True)
            for name, part in posterior.items()
        }
        order = sampling_order(_reads(pieces, generative), _CIRCLE)
        posterior_order = sampling_order(_reads(encoders, posterior), _CIRCLE)
        factorises = not any(_reads(encoders, posterior).values())
        self._compares_pairs = factorises and not partly_observed
        super().__init__(seed=seed, **kwargs)
        self.observed, self.latents = observed, tuple(posterior)
        self.partly_observed = tuple(partly_observed)
        self.max_states = max_states
        self.generative_networks = list(generative.values())
        self.posterior_networks = list(posterior.values())
        self._nodes = tuple(generative)
        self._order, self._posterior_order = tuple(order), tuple(posterior_order)
        self._pieces, self._encoders = pieces, encoders
        self._shapes: dict[str, Shape] = {}
        self._supports: dict[str, Support] = {}
        self._reparameterised = True
        reads = {name for part in self._parts() for name in part.reads}
        self._reads_context = CONTEXT in reads
        shapes = self._known_shapes()
        if all(name in shapes for name in self.observed) and (
            not self._reads_context or CONTEXT in shapes
        ):
            self._build_for(shapes)

    # Data.

    def named(self, data: Any) -> dict[str, Any]:
        """Returns data as parts by name: observed nodes, labels that are given, the context.

        Raises:
            ValueError: A node is missing, or there are others.
        """
        if not isinstance(data, Mapping):
            data = {self.observed[0] if len(self.observed) == 1 else "": data}
        optional = {*self.partly_observed, *([CONTEXT] if self._reads_context else [])}
        missing = [name for name in self.observed if name not in data]
        surplus = [name for name in data if name not in {*self.observed, *optional}]
        if missing or surplus:
            more = f", and where known {', '.join(sorted(optional))}" if optional else ""
            given = "an array" if "" in data else f"a dict with the keys {sorted(map(str, data))}"
            raise ValueError(
                f"Data of this model is a dict of {', '.join(self.observed)}{more}. "
                f"Received: {given}"
            )
        names = [*self.observed, *self.partly_observed, CONTEXT]
        return {name: data[name] for name in names if name in data}

    def as_batch(self, parts: Mapping[str, Any]) -> dict[str, Any]:
        """Returns parts by name as the arguments of `terms` and `encode`: `x`, and `context`.

        Args:
            parts: What `named` returns. Labels may be -1 or NaN where they are not known, or left
                out, and whole numbers for one-hot nodes.
        """
        context = {CONTEXT: parts[CONTEXT]} if CONTEXT in parts else {}
        if not self._is_packed:
            return {"x": parts[self.observed[0]], **context}
        columns = []
        for name in self._data_names:
            event = self._shapes[name]
            if name in parts:
                value = self._labels(name, parts[name])
                value = tf.cast(tf.convert_to_tensor(value), "float32")
            else:
                shape = tf.concat([tf.shape(columns[0])[:1], event], axis=0)
                value = tf.fill(shape, float("nan"))
            columns.append(tf.reshape(value, [-1, math.prod(event)]))
        return {"x": tf.concat(columns, axis=-1), **context}

    def as_parts(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `LatentVariableModel.as_parts`."""
        context = {CONTEXT: batch[CONTEXT]} if CONTEXT in batch else {}
        return {**self._split_data(tf.convert_to_tensor(batch["x"])), **context}

    def observed_parts(self, x: Tensor) -> dict[str, Tensor]:
        """Returns draws or means of `decode` `[..., *x_event]` as observed nodes by name."""
        if len(self.observed) == 1:
            return {self.observed[0]: x}
        return split_levels(x, {name: self._shapes[name] for name in self.observed})

    def split(self, z: Tensor) -> dict[str, Tensor]:
        """Returns the latent nodes `[..., *E_k]` of latents `[..., *E]`, by name."""
        self._check_built()
        if len(self.latents) == 1:
            return {self._first: tf.convert_to_tensor(z)}
        return split_levels(tf.convert_to_tensor(z), self._latent_shapes)

    def specs(self) -> dict[str, tf.TensorSpec]:
        """See `LatentVariableModel.specs`; labels may be NaN."""
        self._check_built()
        shapes = {name: self._shapes[name] for name in self._data_names}
        if self.context_shape is not None:
            shapes[CONTEXT] = self.context_shape
        return {
            name: tf.TensorSpec([None, *shape], tf.float32, name=name)
            for name, shape in shapes.items()
        }

    # The model.

    @property
    def conditions(self) -> tuple[str, ...]:
        """See `LatentVariableModel.conditions`: the observed nodes that latent ones depend on."""
        reads = {name for node in self.latents for name in self._pieces[node].reads}
        return tuple(name for name in (*self.observed, CONTEXT) if name in reads)

    @property
    def encoder_weights(self) -> list[Any]:
        """See `LatentVariableModel.encoder_weights`."""
        return distinct(w for part in self.posterior_networks for w in part.trainable_weights)

    @property
    def generative_weights(self) -> list[Any]:
        """See `LatentVariableModel.generative_weights`."""
        return distinct(w for part in self.generative_networks for w in part.trainable_weights)

    def build(self, input_shape: Any) -> None:
        """Makes all weights.

        Args:
            input_shape: `(None, *event)` of the one observed node, or a dict by node, and of the
                context.
        """
        if self.built:
            return
        given = {name: event_tuple(shape[1:]) for name, shape in self.named(input_shape).items()}
        self._build_for({**given, **self._known_shapes()})

    def encode(
        self, x: Tensor, context: Tensor | None = None, *, training: bool = False
    ) -> Distribution:
        """Returns q(z|x), batch shape `[B]`, event shape `E`, for `x` of `as_batch`."""
        x = tf.convert_to_tensor(x)
        self._check_built()
        check_event_shape(x, self.event_shape)
        check_context(x, context, context_shape=self.context_shape)
        if not self.latents:
            return nothing(tf.shape(x)[:1])
        q_z = self._posterior(self._split_data(x), context, training)
        return q_z if len(self.latents) > 1 else q_z.root(self._first)

    def decode(
        self, z: Tensor, context: Tensor | None = None, *, training: bool = False
    ) -> Distribution:
        """Returns the product of the conditionals of all observed nodes at `z` `[..., *E]`.

        Its draws are `[..., *x_event]` of `observed_parts`.
        """
        self._check_built()
        self._refuse_surplus(context)
        z = tf.convert_to_tensor(z)
        leading = tf.shape(z)[: z.shape.rank - len(self.latent_shape)]
        folded = tf.reshape(z, [-1, *self.latent_shape])
        given = {} if not self.latents else self.split(folded)
        if context is not None:
            given[CONTEXT] = _of_each(context, leading, self.context_shape or ())
        factors = self._factors(self.observed, training)
        shapes = {name: self._shapes[name] for name in self.observed}
        p_x = Hierarchy(factors, shapes, {"": _no_columns(folded.shape, tf.shape(folded)), **given})
        if len(self.observed) == 1:
            p_x = p_x.root(self.observed[0])
            if p_x.batch_shape.rank == 0:
                p_x = tfd.BatchBroadcast(p_x, tf.shape(folded)[:1])
        if z.shape.rank - len(self.latent_shape) == 1:
            return p_x
        return tfd.BatchReshape(p_x, leading)

    def prior_distribution(self, context: Tensor | None = None) -> Distribution:
        """Returns p(z) of all latent nodes, batch shape `[]`, or `[B]` where it reads a context.

        Raises:
            ValueError: Latent nodes depend on observed ones; `prior_of` takes their values.
        """
        found = [name for name in self.conditions if name != CONTEXT]
        if found:
            raise ValueError(
                f"In this model latent nodes depend on observed ones, on {', '.join(found)}: there "
                "is a prior for given data alone. Use `prior_of(batch)`."
            )
        return self._prior({}, context, False)

    def prior_of(self, batch: Mapping[str, Tensor]) -> Distribution:
        """See `LatentVariableModel.prior_of`."""
        return self._prior(self._split_data(batch["x"]), batch.get(CONTEXT), False)

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
        """See `LatentVariableModel.terms`. Where nodes are summed over there are more rows than S:
        S for each state.
        """
        self._refuse_surplus(context)
        q_z = self.encode(x, context, training=training) if posterior is None else posterior
        data = self._split_data(tf.convert_to_tensor(x))
        if not self.latents:
            log_p_x = self._log_p_observed(data, {}, context, training)[0]
            return terms_without_latents(log_p_x, num_samples)
        p_z = self._prior(data, context, training) if prior is None else prior
        levels, p_levels = self._levels(q_z), self._levels(p_z)
        draws = self._draw(levels, num_samples, self.make_seed(seed), objective)
        scores = level_rates(levels, p_levels, draws)
        rates = scores.rates
        closed = scores.closed and rates_have_gradients(scores, draws, objective)
        z = levels.join(draws.values) if len(self.latents) > 1 else draws.values[self._first]
        several = len(self.latents) > 1
        return Terms(
            log_p_x=self._log_p_observed(data, draws.values, context, training),
            log_p_z=tf.add_n(list(scores.log_p.values())),
            log_q_z=tf.add_n(list(draws.log_probs.values())),
            kl=tf.add_n(list(rates.values())) if closed else None,
            z=z,
            q_z=q_z,
            p_z=p_z,
            log_weights=draws.log_weights,
            gradient_scale=draws.extra,
            level_rates=tf.stack([rates[n] for n in self.latents], axis=-1) if several else None,
            log_q_labels=self._log_q_labels(draws),
            log_measure=draws.log_measure,
        )

    def exact_log_p_x(self, x: Tensor, context: Tensor | None = None) -> Tensor | None:
        """Returns log p(observed) `[B]` where all latent nodes are summed over; None elsewhere."""
        if not self.latents:
            return self.terms(x, context=context).log_p_x[0]
        q_z = self.encode(x, context)
        if set(self._levels(q_z).finite_levels(self.max_states)) != set(self.latents):
            return None
        return self.terms(x, seed=0, context=context, posterior=q_z).log_evidence

    def sample(self, num_samples: int, seed: Seed = None, *, context: Tensor | None = None) -> Any:
        """Draws the observed nodes, in the form in which `fit` takes them.

        Args:
            num_samples: Number of draws, N.
            seed: Int or pair of ints; None advances the model's seed generator.
            context: What each draw is made for, `[N, ...]` or `[1, ...]`, for a model with one.

        Returns:
            `[N, ...]`, or a dict by name where there are several nodes.

        Raises:
            ValueError: `num_samples` is smaller than 1.
        """
        check_count("num_samples", num_samples)
        if context is not None:
            context = tf.convert_to_tensor(context)
            context = tf.broadcast_to(context, [num_samples, *context.shape[1:]])
        drawn = self.generate(num_samples, self.make_seed(seed), context)
        drawn = {name: drawn[name] for name in self.observed}
        return drawn if len(drawn) > 1 else drawn[self.observed[0]]

    def generate(
        self, num_samples: int | Tensor, seed: Tensor, context: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Returns draws of all nodes `[N, ...]` by name, each after its parents, and of observed
        ones the means given those, such as `x_mean`.
        """
        self._check_built()
        if context is None or self.context_shape is None:
            check_context(None, context, context_shape=self.context_shape)
        given = {} if context is None else {CONTEXT: tf.convert_to_tensor(context)}
        joint = Hierarchy(self._factors(self._nodes, False), self._shapes, given)
        draws = joint.draw(1 if given else num_samples, seed)
        found = {n: tf.reshape(v, [-1, *self._shapes[n]]) for n, v in draws.values.items()}
        for name in self.observed:
            mean = centre(draws.conditionals[name].distribution)
            found[f"{name}_mean"] = tf.broadcast_to(mean, tf.shape(found[name]))
        return found

    def dream(
        self, num_samples: int | Tensor, seed: Tensor, context: Tensor | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """See `LatentVariableModel.dream`; what may be given of latent nodes is not."""
        draws = self.generate(num_samples, seed, context)
        parts = {name: draws[name] for name in self.observed}
        if context is not None:
            parts[CONTEXT] = context
        if len(self.latents) == 1:
            return self.as_batch(parts), draws[self._first]
        flat = [
            tf.reshape(draws[name], [-1, math.prod(shape)])
            for name, shape in self._latent_shapes.items()
        ]
        return self.as_batch(parts), tf.concat(flat, axis=-1)

    def reconstruct(self, x: Any, seed: Seed = None, *, context: Tensor | None = None) -> Any:
        """Returns the means of the observed nodes: `[B, ...]`, or by name where there are several.

        Args:
            x: Data in a form that `fit` takes.
            seed: Where given, z is a draw from q(z|x); None takes the posterior's centre.
            context: `[B, ...]`, where `x` is no dict that holds it.
        """
        parts = self.named(x)
        if context is not None:
            parts[CONTEXT] = context
        batch = self.as_batch(parts)
        q_z = self.encode(**batch)
        z = centre(q_z) if seed is None else q_z.sample(seed=stateless_seed(seed))
        found = self.observed_parts(centre(self.decode(z, batch.get(CONTEXT))))
        return found if len(found) > 1 else found[self.observed[0]]

    def describe(self, x: Tensor, context: Tensor | None = None) -> dict[str, Tensor]:
        """Returns what `predict` gives: of latent nodes `z_mean`, `z_stddev`, for categories
        `y_probs`; of observed ones `reconstruction`, or `x_reconstruction` for several.

        Each posterior is that given the centres of the others it depends on.
        """
        if not self.latents:
            return {"log_prob": self.terms(x, context=context).log_p_x[0]}
        q_z = self.encode(x, context)
        z = centre(q_z)
        found = self.observed_parts(centre(self.decode(z, context)))
        several = len(found) > 1
        return {
            **self.describe_posterior(q_z),
            **{f"{n}_reconstruction" if several else "reconstruction": v for n, v in found.items()},
        }

    def describe_posterior(self, q_z: Distribution) -> dict[str, Tensor]:
        """Returns what `describe` says of the latent nodes."""
        levels = self._levels(q_z)
        values = levels.split(levels.centre())
        found: dict[str, Tensor] = {}
        for name, conditional in levels.conditionals(values).items():
            q = conditional.distribution
            event = self._shapes[name]
            found[f"{name}_mean"] = tf.reshape(values[name], [-1, *event])
            q = q.distribution if isinstance(q, Labelled) else q
            stddev, probs = statistic(q, "stddev"), probabilities(q)
            if probs is not None:
                found[f"{name}_probs"] = probs
            elif stddev is not None and num_states(q) is None:
                found[f"{name}_stddev"] = stddev
        return found

    @property
    def latent_shape(self) -> Shape:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Shape of one latent, `E`: that of the one latent node, else that of all as a vector."""
        self._check_built()
        if len(self.latents) == 1:
            return self._shapes[self._first]
        return (sum(math.prod(shape) for shape in self._latent_shapes.values()),)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain data."""
        serialize: Any = keras.saving.serialize_keras_object
        generative = zip(self._nodes, self.generative_networks, strict=True)
        posterior = zip(self.latents, self.posterior_networks, strict=True)
        return {
            **super().get_config(),
            # Lists of pairs: the order of nodes matters.
            "generative": [[name, serialize(part)] for name, part in generative],
            "posterior": [[name, serialize(part)] for name, part in posterior],
            "partly_observed": list(self.partly_observed),
            "max_states": self.max_states,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> DirectedModel:
        """Makes the model again from the output of `get_config`, without its weights."""
        made = {
            part: {
                name: keras.saving.deserialize_keras_object(network, custom_objects=custom_objects)
                for name, network in config[part]
            }
            for part in ("generative", "posterior")
        }
        return cls(**{**config, **made})

    # Private.

    def _parts(self) -> list[Piece | _Root]:
        return [*self._pieces.values(), *self._encoders.values()]

    @property
    def _first(self) -> str:
        return next(iter(self.latents))

    @property
    def _data_names(self) -> tuple[str, ...]:
        return (*self.observed, *self.partly_observed)

    @property
    def _is_packed(self) -> bool:
        return len(self._data_names) > 1

    @property
    def _latent_shapes(self) -> dict[str, Shape]:
        return {name: self._shapes[name] for name in self.latents}

    def _check_built(self) -> None:
        if not self.built:
            raise ValueError(
                "This model does not know the shapes of its nodes yet. Build it: "
                '`model.build({"x": (None, ...), ...})`, or fit it.'
            )

    def _check_arrays(self, parts: dict[str, np.ndarray], name: str) -> None:
        self._describe_data(**parts)
        rows = {len(part) for part in parts.values()}
        if len(rows) > 1:
            sizes = ", ".join(f"{len(part)} of {key}" for key, part in parts.items())
            raise ValueError(f"`{name}` must have as many rows of each part. Received: {sizes}")
        for node in self._data_names:
            if node in parts:
                part = np.asarray(self._labels(node, parts[node]))
                check_array(part, f'{name}["{node}"]', self._shapes[node], self._supports[node])
        first = parts[self.observed[0]]
        check_context(first, parts.get(CONTEXT), context_shape=self.context_shape)

    def _checked_batch(self, parts: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[Any]]:
        self._describe_data(**parts)
        checks: list[Any] = []
        checked = {}
        for node in self._data_names:
            if node in parts:
                value = self._labels(node, parts[node])
                checked[node], more = checked_part(
                    value, self._shapes[node], node, self._supports[node]
                )
                checks += more
        first = parts[self.observed[0]]
        check_context(first, parts.get(CONTEXT), context_shape=self.context_shape)
        if self.context_shape is not None:
            checked[CONTEXT], more = checked_part(parts[CONTEXT], self.context_shape, CONTEXT)
            checks += more
        return self.as_batch(checked), [check for check in checks if check is not None]

    def _describe_data(self, **parts: Any) -> None:
        if not self.built:
            self.build({name: part.shape for name, part in parts.items()})

    def _labels(self, name: str, value: Any) -> Any:
        """Returns given values of a node, with NaN for those not known, one-hot where it is."""
        if name not in self.partly_observed or self._supports[name].lower != 0.0:
            return value
        value = tf.convert_to_tensor(value)
        dtype = value.dtype if value.dtype.is_floating else tf.as_dtype("float32")
        value = tf.cast(value, dtype)
        unknown = tf.math.is_nan(value) | tf.equal(value, -1.0)
        shape = self._shapes[name]
        if self._supports[name].one_hot and value.shape.rank == 1:
            one_hot = tf.one_hot(tf.cast(tf.where(unknown, 0.0, value), tf.int32), shape[-1])
            # A number beyond the categories would be a vector of zeros: told here, as no category.
            one_hot = tf.where(tf.reduce_any(one_hot > 0.0, axis=-1, keepdims=True), one_hot, -1.0)
            return tf.where(unknown[:, None], tf.cast(float("nan"), one_hot.dtype), one_hot)
        return tf.where(unknown, tf.cast(float("nan"), dtype), value)

    def _split_data(self, x: Tensor) -> dict[str, Tensor]:
        if not self._is_packed:
            return {self.observed[0]: x}
        return split_levels(x, {name: self._shapes[name] for name in self._data_names})

    def _factors(self, names: Sequence[str], training: bool) -> list[Factor]:
        """Returns the conditionals of these nodes under p, each after those it reads."""
        return [
            Factor(name, piece.reads, piece.maker(f"one {name}", training))
            for name in self._order
            if name in names
            for piece in [self._pieces[name]]
        ]

    def _prior(
        self, data: Mapping[str, Tensor], context: Tensor | None, training: bool
    ) -> Distribution:
        self._refuse_surplus(context)
        if not self.latents:
            return nothing(tf.constant([], tf.int32))
        reads = self.conditions
        if CONTEXT in reads and context is None:
            check_context(None, None, context_shape=self.context_shape or ())
        given = {name: data[name] for name in self.observed if name in reads}
        if CONTEXT in reads:
            found: Any = context
            given[CONTEXT] = tf.convert_to_tensor(found)
        p_z = Hierarchy(self._factors(self.latents, training), self._latent_shapes, given)
        return p_z if len(self.latents) > 1 else p_z.root(self._first)

    def _posterior(
        self, data: Mapping[str, Tensor], context: Tensor | None, training: bool
    ) -> Hierarchy:
        given = {name: data[name] for name in self.observed}
        if context is not None:
            given[CONTEXT] = tf.convert_to_tensor(context)
        factors = []
        for name in self._posterior_order:
            piece = self._encoders[name]
            reads, make = piece.reads, piece.maker(f"one {name}", training)
            if name in self.partly_observed:
                label = f"{name} label"
                given[label] = data[name]
                reads, make = (*reads, label), _labelled(make, label)
            factors.append(Factor(name, reads, make))
        return Hierarchy(factors, self._latent_shapes, given, reparameterised=self._reparameterised)

    def _levels(self, distribution: Distribution) -> Hierarchy:
        """Returns a distribution over z as one that knows the nodes."""
        if len(self.latents) > 1:
            if not isinstance(distribution, Hierarchy):
                raise TypeError(
                    "A posterior or prior of several latent nodes must be one that the model "
                    f"makes. Received: {type(distribution).__name__}"
                )
            return distribution
        name = self._first
        given = {}
        if distribution.batch_shape.rank:
            given[""] = _no_columns(distribution.batch_shape, distribution.batch_shape_tensor())
        factor = Factor(name, (), lambda _: distribution)
        return Hierarchy([factor], {name: self._shapes[name]}, given, dtype=distribution.dtype)

    def _draw(
        self, q_z: Hierarchy, num_samples: int, seed: Tensor, objective: Objective | None
    ) -> LevelDraws:
        sums = objective is None or objective.takes_all_states
        return draw_levels(q_z, num_samples, seed, objective, self.max_states if sums else 0)

    def _log_q_labels(self, draws: LevelDraws) -> Tensor | None:
        found = []
        for name in self.partly_observed:
            conditional = draws.conditionals[name]
            if not isinstance(conditional.distribution, Labelled):
                return None  # scored with a posterior of somebody's own
            log_q = conditional.distribution.log_prob_of_known()
            if conditional.leading is not None:
                log_q = draws.expect(tf.reshape(log_q, conditional.leading))
            found.append(log_q)
        return tf.add_n(found) if found else None

    def _log_p_observed(
        self,
        data: Mapping[str, Tensor],
        values: Mapping[str, Tensor],
        context: Tensor | None,
        training: bool,
    ) -> Tensor:
        """Returns the sum over observed nodes of log p(x_j | parents) `[S, B]`, nats."""
        leading = tf.shape(data[self.observed[0]])[:1]
        rows = tf.concat([[1], leading], axis=0)
        if values:
            first = values[self._first]
            rows = tf.shape(first)[: first.shape.rank - len(self._shapes[self._first])]
        given = {} if context is None else {CONTEXT: tf.convert_to_tensor(context)}
        given |= {name: data[name] for name in self.observed}
        shapes = {**self._shapes, CONTEXT: self.context_shape or ()}
        total = tf.zeros(rows)
        for name in self.observed:
            piece = self._pieces[name]
            # A node that no latent one acts on is scored once for all draws.
            own = rows if any(n in values for n in piece.reads) else rows[1:]
            inputs = {n: _of_each({**given, **values}[n], own, shapes[n]) for n in piece.reads}
            p_x = piece.maker(f"one {name}", training)(inputs)
            x = _of_each(tf.cast(data[name], p_x.dtype), own, shapes[name])
            total += tf.reshape(tf.cast(p_x.log_prob(x), total.dtype), own)
        return total

    def _try_draws(self, objective: Objective, q_z: Any) -> None:
        if self.latents:
            seed = tf.constant([0, 0])
            self._draw(self._levels(q_z), objective.num_samples, seed, objective)

    def _known_shapes(self) -> dict[str, Shape]:
        """Returns the shapes of observed nodes, and of the context, that networks tell."""
        found: dict[str, Shape] = {}
        for name in (*self.observed, CONTEXT):
            own = self._pieces[name].output_shape() if name in self._pieces else None
            specs = [part.spec(name) for part in self._parts()]
            shapes = [own, *(spec.shape[1:] for spec in specs if spec is not None)]
            for shape in shapes:
                if shape is not None and None not in shape:
                    found.setdefault(name, tuple(shape))
        return found

    def _build_for(self, shapes: Mapping[str, Shape]) -> None:
        self._shapes = {name: tuple(shapes[name]) for name in self.observed}
        specs = {n: tf.TensorSpec([2, *self._shapes[n]], tf.float32) for n in self.observed}
        if self._reads_context:
            if CONTEXT not in shapes:
                check_context(None, None, context_shape=())
            self.context_shape = tuple(shapes[CONTEXT])
            specs[CONTEXT] = tf.TensorSpec([2, *self.context_shape], tf.float32)
        outputs_of(lambda values: self._explore(values), specs)
        # Nodes of the data first, in the order of `generative`.
        self._shapes = {name: self._shapes[name] for name in self._nodes}
        if self._is_packed:
            size = sum(math.prod(self._shapes[name]) for name in self._data_names)
            self.event_shape = (size,)
            self.support = Support("DirectedModel", missing=bool(self.partly_observed))
        else:
            self.event_shape = self._shapes[self.observed[0]]
            self.support = self._supports[self.observed[0]]
        self.built = True

    def _explore(self, values: dict[str, Tensor]) -> None:
        """Makes all weights, finds the shapes of all nodes, and checks that they fit."""
        values = dict(values)
        for name in self._posterior_order:
            q = self._encoders[name].distribution(values, f"one {name}")
            self._shapes[name] = event_tuple(q.event_shape)
            if q.reparameterization_type != tfd.FULLY_REPARAMETERIZED:
                self._reparameterised = False
            values[name] = tf.reshape(q.sample(seed=[0, 0]), [-1, *self._shapes[name]])
        # Networks first: priors may want to know of the data.
        for name in sorted(self._order, key=lambda n: isinstance(self._pieces[n], _Root)):
            piece = self._pieces[name]
            if isinstance(piece, _Root):
                piece.build(self._shapes[name], *self._encoder_of(name))
            reads = {n: values[n] for n in self._pieces[name].reads}
            p = self._pieces[name].maker(f"one {name}", False)(reads)
            if not p.event_shape.is_compatible_with(self._shapes[name]):
                other = "its posterior" if name in self.latents else "the data"
                raise ValueError(
                    f"`{self._pieces[name].title}` must be a distribution over one {name}. "
                    f"Expected: event_shape={self._shapes[name]}, that of {other}. "
                    f"Received: event_shape={p.event_shape}. Change one to the shape of the other."
                )
            missing = name in self.partly_observed
            support = support_of(p)
            self._supports[name] = replace(support, missing=missing or support.missing)

    def _encoder_of(self, name: str) -> tuple[Any, ...]:
        """Returns what a prior made of posteriors is shown: the posterior of its node as a function
        of the one observed node that it reads, the shape and the support of that; nothing where
        the posterior reads others.
        """
        piece = self._encoders.get(name)
        if piece is None or len(piece.reads) != 1 or piece.reads[0] not in self._supports:
            return ()
        source = piece.reads[0]
        return (
            lambda x: piece.distribution({source: x}, f"one {name}"),
            self._shapes[source],
            self._supports[source],
        )


class _Root:
    """A node without parents: a prior, or another layer with a `distribution()`."""

    def __init__(self, layer: Any, title: str) -> None:
        self.network, self.title = layer, title
        takes_context = getattr(layer, "takes_context", False)
        self.reads = (CONTEXT,) if takes_context else ()

    def spec(self, name: str) -> Any:
        """Returns the symbolic input that reads `name`, None where there is none."""
        found = list(getattr(self.network, "inputs", None) or []) if name == CONTEXT else []
        return found[-1] if found and self.reads else None

    def output_shape(self) -> Shape | None:
        """Returns the shape of the node, None where it is not known."""
        return getattr(self.network, "event_shape", None)

    def build(self, event_shape: Shape, *encoder: Any) -> None:
        """Makes the weights; `encoder` is what `Prior.connect` takes, or nothing."""
        if isinstance(self.network, Prior):
            if self.network.needs_model and not encoder:
                raise ValueError(
                    f"`{self.title}` is made of posteriors, which takes a posterior of this node "
                    "that reads one observed node and nothing else. Choose another prior, or have "
                    "its posterior read the data alone."
                )
            if encoder:
                self.network.connect(*encoder)
        if isinstance(self.network, Prior) or not self.network.built:
            self.network.build(event_shape)

    def maker(self, event: str, training: bool) -> Callable[[dict[str, Tensor]], Distribution]:
        """Returns the distribution as a function of the context, where it reads one."""
        del event, training
        return lambda values: self.network.distribution(**values)


def _nodes(parts: Any, title: str) -> dict[str, Any]:
    """Returns a dict of node → part, with names that can be those of arguments."""
    if not isinstance(parts, Mapping):
        raise TypeError(
            f"`{title}` must be a dict of node → Keras network. Received: {type(parts).__name__}"
        )
    for name in parts:
        if not isinstance(name, str) or not name.isidentifier() or name == CONTEXT:
            raise ValueError(
                f"Nodes have names such as those of variables, and not `{CONTEXT}`, which is "
                f"what a model is given. Received: `{title}` of {name!r}"
            )
    return dict(parts)


def _piece(part: Any, title: str, known: Sequence[str], latent: bool = False) -> Any:
    """Returns a network, or a root, with the names of what it reads."""
    if not latent and hasattr(part, "distribution") and not getattr(part, "inputs", None):
        return _Root(part, title)
    return Piece(
        part,
        title,
        (),
        known,
        others="Name each input after the node that it reads: `keras.Input(shape, name=...)`.",
    )


def _reads(pieces: Mapping[str, Any], among: Mapping[str, Any]) -> dict[str, set[str]]:
    return {name: {n for n in part.reads if n in among} for name, part in pieces.items()}


def _labelled(
    make: Callable[[dict[str, Tensor]], Distribution], label: str
) -> Callable[[dict[str, Tensor]], Distribution]:
    return lambda values: Labelled(make(values), values[label])


def _of_each(value: Tensor, leading: Tensor, event_shape: Shape) -> Tensor:
    """Returns values `[..., *E]` for each of the axes `leading`, folded into one `[N, *E]`."""
    event = tf.constant(event_shape, tf.int32)
    value = tf.broadcast_to(tf.convert_to_tensor(value), tf.concat([leading, event], axis=0))
    return tf.reshape(value, [-1, *event_shape])


def _no_columns(static: tf.TensorShape, shape: Tensor) -> Tensor:
    """Returns `[N, 0]`: what no node reads, but says how many rows there are."""
    return tf.ensure_shape(tf.zeros(tf.stack([shape[0], 0])), [static[0], 0])
