"""Variational autoencoders with several levels of latents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from tfvae._stored import made_again, objects_config
from tfvae._typing import register
from tfvae._words import kind_of
from tfvae.graph.graph import Graph
from tfvae.graph.parts import Network, Root
from tfvae.graph.posteriors import Levels
from tfvae.models.one_prior import OnePriorModel, checked_prior
from tfvae.priors import Prior, StandardNormal

__all__ = ["HierarchicalVAE"]

_DEPENDS = (
    "No level of the posterior can depend on itself, by way of others either. Received: {}. Let "
    "those below read what lies above, or the other way round."
)


@register
class HierarchicalVAE(OnePriorModel):
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
        super().__init__(seed=seed, **kwargs)
        prior = checked_prior(StandardNormal(name="prior") if prior is None else prior)
        self.posteriors, self.decoders, self.prior = posteriors, decoders, prior
        self.features, self.precision_weighted = features, precision_weighted
        names = [f"z_{level}" for level in range(1, len(posteriors) + 1)]
        remedies = ["IndependentBernoulli", *["MultivariateNormalDiag"] * len(names[1:])]
        factors: dict[str, Any] = {
            name: Network(network, f"decoders[{i}]", names[i:], names[i:], remedy)
            for i, (name, network, remedy) in enumerate(
                zip(["x", *names[:-1]], decoders, remedies, strict=True)
            )
        }
        networks = {
            name: Network(
                network,
                f"posteriors[{i}]",
                ["x", *names[i + 1 :]],
                ["x", *(n for n in names if n != name)],
            )
            for i, (name, network) in enumerate(zip(names, posteriors, strict=True))
        }
        read = None if features is None else Network(features, "features", ["x"], ["x"])
        way_down = {n: factors[n] for n in names[:-1]} if precision_weighted else None
        q = Levels(networks, _DEPENDS, read, way_down)
        factors[names[-1]] = Root(prior, "prior")
        rates = [f"rate_{level}" for level in range(1, len(names) + 1)]
        self._set_graph(Graph(factors, q, rate_names=rates, max_states=0))

    @property
    def levels(self) -> tuple[str, ...]:
        """Names of the levels, from the data up."""
        return self.graph.latents

    def with_prior(self, prior: Prior) -> HierarchicalVAE:
        """See `OnePriorModel.with_prior`."""
        return HierarchicalVAE(
            list(self.posteriors),
            list(self.decoders),
            prior,
            features=self.features,
            precision_weighted=self.precision_weighted,
            seed=self.seed,
        )

    @property
    def parts_beside_prior(self) -> tuple[keras.layers.Layer, ...]:
        """See `OnePriorModel.parts_beside_prior`: p(z_l|z_l+1, ...) is among them."""
        features = [] if self.features is None else [self.features]
        return *self.posteriors, *features, *self.decoders

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain data."""
        return {
            **super().get_config(),
            **objects_config(
                posteriors=list(self.posteriors),
                decoders=list(self.decoders),
                prior=self.prior,
                features=self.features,
            ),
            "precision_weighted": self.precision_weighted,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> HierarchicalVAE:
        """Makes the model again from the output of `get_config`, without its weights."""
        names = ("posteriors", "decoders", "prior", "features")
        return cls(**made_again(config, *names, custom_objects=custom_objects))


def _listed(networks: Any, name: str) -> list[Any]:
    if not isinstance(networks, (list, tuple)):
        raise TypeError(
            f"`{name}` must be a list of Keras models, one for each level. "
            f"Received: {kind_of(networks)}"
        )
    return list(networks)
