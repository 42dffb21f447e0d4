"""The variational autoencoder."""

from __future__ import annotations

from typing import Any

import keras

from tfvae._stored import made_again, objects_config
from tfvae._typing import register
from tfvae.graph.graph import Graph
from tfvae.graph.parts import Network, Root
from tfvae.graph.posteriors import Networks
from tfvae.models.one_prior import OnePriorModel, checked_prior
from tfvae.priors import Prior, StandardNormal

__all__ = ["VAE"]


@register
class VAE(OnePriorModel):
    """Variational autoencoder: encoder q(z|x), decoder p(x|z) and prior p(z), of any families.

        p(x) = integral p(x|z) p(z) dz
        log p(x) >= E_q[log p(x|z)] - KL(q(z|x) || p(z))

    Likelihood and posterior are the last layers of decoder and encoder; with the prior and the
    objective they are the four choices that make one published VAE or another.

    For a model of p(x|c), encoder, decoder or both take the context as a second input, and the
    prior may depend on it:

        log p(x|c) >= E_q[log p(x|z,c)] - KL(q(z|x,c) || p(z|c))

    Args:
        encoder: Keras model from `x` `[B, *x_event]`, or from `[x, context]`, to a distribution
            over one latent.
        decoder: Keras model from `z` `[B, *E]`, or from `[z, context]`, to a distribution over one
            example of `x`.
        prior: A `tfvae.priors.Prior`; by default `StandardNormal()`.
        max_states: Latents of finitely many states, up to this number, are not drawn but summed
            over: bound, gradient and `log_likelihood` are then exact. 0 always draws.
        seed: See `LatentVariableModel`.
        **kwargs: See `LatentVariableModel`.

    Raises:
        TypeError: Encoder or decoder returns no distribution, or `prior` is no prior.
        ValueError: Event or batch shapes do not fit each other.

    Example:
        >>> encoder = keras.Sequential([
        ...     keras.Input((8,)), keras.layers.Dense(4), tfvae.layers.MultivariateNormalDiag(2)])
        >>> decoder = keras.Sequential([
        ...     keras.Input((2,)), keras.layers.Dense(8), tfvae.layers.IndependentBernoulli(8)])
        >>> vae = tfvae.VAE(encoder, decoder)
        >>> vae.sample(3, seed=0).shape
        TensorShape([3, 8])

    Reference: Auto-Encoding Variational Bayes (Kingma and Welling, 2014),
    https://arxiv.org/abs/1312.6114; Learning Structured Output Representation using Deep
    Conditional Generative Models (Sohn et al., 2015)
    """

    def __init__(
        self,
        encoder: keras.Model,
        decoder: keras.Model,
        prior: Prior | None = None,
        *,
        max_states: int = 128,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        prior = checked_prior(StandardNormal(name="prior") if prior is None else prior)
        q = Network(
            encoder, "encoder", ["x"], ["x"], "MultivariateNormalDiag", second_is_context=True
        )
        p_x = Network(
            decoder, "decoder", ["z"], ["z"], "IndependentBernoulli", second_is_context=True
        )
        self.max_states = max_states
        self.encoder, self.decoder, self.prior = encoder, decoder, prior
        factors = {"x": p_x, "z": Root(prior, "prior")}
        self._set_graph(Graph(factors, Networks({"z": q}), max_states=max_states))

    def with_prior(self, prior: Prior) -> VAE:
        """See `OnePriorModel.with_prior`."""
        settings = {"max_states": self.max_states, "seed": self.seed}
        return type(self)(self.encoder, self.decoder, prior, **settings)

    @property
    def parts_beside_prior(self) -> tuple[keras.layers.Layer, ...]:
        """See `OnePriorModel.parts_beside_prior`."""
        return self.encoder, self.decoder

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain data."""
        return {
            **super().get_config(),
            **objects_config(encoder=self.encoder, decoder=self.decoder, prior=self.prior),
            "max_states": self.max_states,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> VAE:
        """Makes the model again from the output of `get_config`, without its weights."""
        names = ("encoder", "decoder", "prior")
        return cls(**made_again(config, *names, custom_objects=custom_objects))
