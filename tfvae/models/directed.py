"""Models of any directed graph of observed and latent nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from tfvae._config import check_count
from tfvae._stored import object_config
from tfvae._typing import register
from tfvae.graph.graph import Graph
from tfvae.graph.parts import checked_nodes, named_parts, network_of, part_of
from tfvae.graph.posteriors import Networks
from tfvae.models.base import LatentVariableModel

__all__ = ["DirectedModel"]

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
    `posterior`; `data.as_batch` makes the first, `split` takes the second apart. One node alone
    keeps its own shape. Each latent node's rate is logged where there are several.

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
        generative = checked_nodes(generative, "generative")
        posterior = checked_nodes({} if posterior is None else posterior, "posterior")
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
        super().__init__(seed=seed, **kwargs)
        self.max_states = max_states
        self.generative_networks = list(generative.values())
        self.posterior_networks = list(posterior.values())
        self._nodes = tuple(generative)
        factors = named_parts(generative, "generative", generative, part_of)
        networks = named_parts(posterior, "posterior", generative, network_of)
        self._set_graph(
            Graph(
                factors,
                Networks(networks, _CIRCLE),
                partly_observed=partly_observed,
                max_states=max_states,
                problem=_CIRCLE,
                rate_names=[f"rate_{name}" for name in posterior if len(posterior) > 1],
                tells_latents_apart=True,
            )
        )

    @property
    def observed(self) -> tuple[str, ...]:
        """Names of the nodes that data always gives."""
        return self.graph.observed

    @property
    def latents(self) -> tuple[str, ...]:
        """Names of the nodes with a posterior."""
        return self.graph.latents

    @property
    def partly_observed(self) -> tuple[str, ...]:
        """Names of the latent nodes whose values some examples give."""
        return self.graph.partly_observed

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain data."""
        generative = zip(self._nodes, self.generative_networks, strict=True)
        posterior = zip(self.latents, self.posterior_networks, strict=True)
        return {
            **super().get_config(),
            # Lists of pairs: the order of nodes matters.
            "generative": [[name, object_config(part)] for name, part in generative],
            "posterior": [[name, object_config(part)] for name, part in posterior],
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
