"""The variational autoencoder."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae._stored import made_again, objects_config
from tfvae._tracing import outputs_of
from tfvae._typing import Distribution, Seed, Shape, Tensor, event_tuple, register
from tfvae.distributions.finite import all_states, num_states
from tfvae.distributions.support import support_of
from tfvae.divergences import closed_form_kl
from tfvae.models.base import LatentVariableModel, distinct
from tfvae.models.checks import (
    check_context,
    check_distribution,
    check_event_shape,
    check_missing,
    check_same_kind,
    named,
)
from tfvae.models.context import call_network, symbolic_inputs, takes_context
from tfvae.models.prior_fit import PriorGain, fit_prior
from tfvae.objectives import Objective
from tfvae.objectives.gradients import plain_draws
from tfvae.priors import Prior, StandardNormal
from tfvae.terms import Draws, Terms

__all__ = ["VAE", "checked_prior"]


@register
class VAE(LatentVariableModel):
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
        for name, part in (("encoder", encoder), ("decoder", decoder)):
            if not isinstance(part, keras.layers.Layer):
                raise TypeError(
                    f"`{name}` must be a Keras model or layer. Received: {type(part).__name__}"
                )
        prior = checked_prior(StandardNormal(name="prior") if prior is None else prior)
        self.max_states = max_states
        self._latent_shape: Shape | None = None
        self.encoder = encoder
        self.decoder = decoder
        self.prior = prior
        self._readers = [part for part in (encoder, decoder, prior) if takes_context(part)]
        inputs = symbolic_inputs(encoder)
        if inputs and (not self._readers or self._context_spec() is not None):
            # Sequential and Functional encoders tell the shape of x before any data comes.
            self.build(inputs[0].shape)

    def build(self, input_shape: Any) -> None:
        """Makes all weights, and checks that encoder, prior and decoder fit each other.

        Args:
            input_shape: `(None, *x_event)`, or a dict of the shapes of `x` and `context` where
                no network has an input that tells that of the context.
        """
        if self.built:
            return
        shapes = named(input_shape)
        inputs = symbolic_inputs(self.encoder)
        dtype = inputs[0].dtype if inputs else keras.config.floatx()
        self.data_dtype = dtype
        # A known batch size: TFP loses the static event shape of one-dimensional Gaussians without.
        specs = {"x": tf.TensorSpec([2, *shapes["x"][1:]], dtype)}
        if self._readers:
            spec = self._context_spec(shapes.get("context"))
            if spec is None:
                raise ValueError(
                    "This model reads a context of a shape that it does not know yet. Give its "
                    "networks a `keras.Input` for it, or build the model with both shapes: "
                    '`model.build({"x": (None, ...), "context": (None, ...)})`.'
                )
            shape: Any = spec.shape[1:]
            self.context_shape = tuple(shape)
            specs["context"] = spec
        # Tracing, and not calling, makes the weights without a pass through the networks.
        outputs_of(self._build_parts, **specs)
        if self.support.missing:
            self._check_missing()
        self.built = True

    def encode(
        self, x: Tensor, context: Tensor | None = None, *, training: bool = False
    ) -> Distribution:
        """Returns q(z|x), batch shape `[B]`, event shape `E`.

        Args:
            x: `[B, *x_event]`.
            context: `[B, *context_shape]`, for a model with one.
            training: Whether the encoder runs in training mode.
        """
        x = tf.convert_to_tensor(x)
        context = None if context is None else tf.convert_to_tensor(context)
        self._describe_data(x, context)
        check_event_shape(x, self.event_shape)
        check_context(x, context, context_shape=self.context_shape)
        return self._posterior(x, context, training)

    def decode(
        self, z: Tensor, context: Tensor | None = None, *, training: bool = False
    ) -> Distribution:
        """Returns p(x|z), batch shape `[...]`, event shape that of one example.

        Args:
            z: `[..., *E]`.
            context: `[B, *context_shape]` or `[1, *context_shape]`, for a model with one, where B
                is the last of the leading axes of `z`.
            training: Whether the decoder runs in training mode.
        """
        self._refuse_surplus(context)
        z = tf.convert_to_tensor(z)
        latent = self.latent_shape
        num_leading = z.shape.rank - len(latent)
        if num_leading < 1 or not z.shape[num_leading:].is_compatible_with(latent):
            raise ValueError(
                "`z` does not have the shape of this model's latents. "
                f"Expected: [..., {', '.join(map(str, latent))}] with a batch axis in front. "
                f"Received: {list(z.shape)}."
            )
        inputs = [tf.reshape(z, [-1, *latent])]
        if takes_context(self.decoder):
            inputs.append(self._context_of_each(context, tf.shape(z)[:num_leading]))
        p_x = call_network(self.decoder, *inputs, training=training)
        p_x = check_distribution(p_x, "decoder", "one example of `x`", "IndependentBernoulli")
        if num_leading == 1:
            return p_x
        return tfp.distributions.BatchReshape(p_x, tf.shape(z)[:num_leading])

    def prior_distribution(self, context: Tensor | None = None) -> Distribution:
        """Returns p(z), event shape `E`: batch shape `[]`, or `[B]` where it reads a context."""
        self._refuse_surplus(context)
        if not takes_context(self.prior):
            return self.prior.distribution()
        return self.prior.distribution(self._required(context))

    def log_p_x_given_z(
        self, x: Tensor, z: Tensor, context: Tensor | None = None, *, training: bool = False
    ) -> Tensor:
        """Returns log p(x|z) `[S, B]` of data `[B, *x_event]` at draws `[S, B, *E]`, nats."""
        num_samples, batch = tf.shape(z)[0], tf.shape(z)[1]
        folded = tf.reshape(z, tf.concat([[num_samples * batch], tf.shape(z)[2:]], axis=0))
        if takes_context(self.decoder):
            context = self._context_of_each(context, tf.shape(z)[:2])
        p_x = self.decode(folded, context, training=training)
        x = tf.cast(x, p_x.dtype)
        if z.shape[0] != 1:
            # Every draw meets the same data: repeat x to the one folded axis of the decoder.
            x = tf.broadcast_to(x, tf.concat([[num_samples], tf.shape(x)], axis=0))
            x = tf.reshape(x, tf.concat([[num_samples * batch], tf.shape(x)[2:]], axis=0))
        return tf.reshape(p_x.log_prob(x), [num_samples, batch])

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
        """See `LatentVariableModel.terms`."""
        self._refuse_surplus(context)
        q_z = self.encode(x, context, training=training) if posterior is None else posterior
        p_z = self.prior_distribution(context) if prior is None else prior
        sums = self._sums_over(q_z) and (objective is None or objective.takes_all_states)
        if sums:
            states = all_states(q_z)  # [S, *E]
            log_p_x = self._log_p_x_of_states(x, states, context, training)
            z = tf.repeat(states[:, None], tf.shape(x)[0], axis=1)
            draws = Draws(z, q_z.log_prob(z))
        else:
            draw = plain_draws if objective is None else objective.draw
            draws = draw(q_z, num_samples, self.make_seed(seed))
            log_p_x = self.log_p_x_given_z(x, draws.z, context, training=training)
        return Terms(
            log_p_x=log_p_x,
            log_p_z=p_z.log_prob(draws.z),
            log_q_z=draws.log_q_z,
            kl=closed_form_kl(q_z, p_z),
            z=draws.z,
            q_z=q_z,
            p_z=p_z,
            log_weights=draws.log_q_z if sums else None,
            log_measure=tf.zeros_like(draws.log_q_z) if sums else None,
            gradient_scale=draws.gradient_scale,
        )

    def exact_log_p_x(self, x: Tensor, context: Tensor | None = None) -> Tensor | None:
        """Returns log p(x) = log sum_z p(x|z) p(z), `[B]`, where z has few states; else None."""
        q_z = self.encode(x, context)
        if not self._sums_over(q_z):
            return None
        return self.terms(x, context=context, posterior=q_z).log_evidence

    def fit_prior(self, prior: Prior, x: Any, **settings: Any) -> PriorGain:
        """Replaces the prior by another one, fitted to the aggregated posterior of `x`.

            max_lambda E_x E_q(z|x) log p_lambda(z)

        Encoder and decoder stay as they are: the distortion does too, and the rate falls by as
        much as the new prior lies closer to the aggregated posterior. A compiled model is
        compiled anew, with an optimizer in its first state.

        Args:
            prior: A new prior; its weights are trained.
            x: Data, as for `fit`.
            **settings: `validation_data` (required: the data on which the gain is measured),
                `epochs`, `batch_size`, `optimizer`, `num_samples` and `seed` of the draws that
                measure it, `verbose`.

        Returns:
            `PriorGain`: nats gained per held-out point, with standard error, and the history.

        Raises:
            TypeError: `prior` is no prior.
            ValueError: The prior is not over latents of this model, or the data is not what the
                model is for. The old prior then stays.

        Example:
            >>> gain = vae.fit_prior(tfvae.priors.Normal(), x, validation_data=x, epochs=1)
            >>> bool(np.isfinite(gain.nats))
            True

        Reference: Diagnosing and Enhancing VAE Models (Dai and Wipf, 2019),
        https://arxiv.org/abs/1903.05789
        """
        return fit_prior(self, prior, x, **settings)

    def gain_of_prior(
        self, new: VAE, batch: dict[str, Tensor], num_samples: int, seed: Tensor
    ) -> Tensor:
        """Returns E_q[log p_new(z) - log p(z)] `[B]`, nats: how much the ELBO of `new` is higher.

        Args:
            new: Made by `with_prior`.
            batch: `x` `[B, ...]`, and `context` for a model with one.
            num_samples: Draws per point, S.
            seed: Int32 pair `[2]`.
        """
        q_z = self.encode(**batch)
        terms = [
            model.terms(num_samples=num_samples, seed=seed, posterior=q_z, **batch)
            for model in (new, self)
        ]
        return terms[0].expect(terms[0].log_p_z - terms[1].log_p_z)

    def with_prior(self, prior: Prior) -> VAE:
        """Returns a new model of the same networks, not copies, with another prior."""
        return type(self)(
            self.encoder, self.decoder, prior, max_states=self.max_states, seed=self.seed
        )

    @property
    def parts_beside_prior(self) -> tuple[keras.layers.Layer, ...]:
        """All networks but the prior."""
        return self.encoder, self.decoder

    @property
    def conditions(self) -> tuple[str, ...]:
        """See `LatentVariableModel.conditions`."""
        return ("context",) if takes_context(self.prior) else ()

    @property
    def encoder_weights(self) -> list[Any]:
        """See `LatentVariableModel.encoder_weights`."""
        return self.encoder.trainable_weights

    @property
    def generative_weights(self) -> list[Any]:
        """See `LatentVariableModel.generative_weights`."""
        return distinct([*self.decoder.trainable_weights, *self.prior.trainable_weights])

    def replace_prior(self, prior: Prior) -> None:
        """Sets another prior, over the same latents, as it is."""
        prior = checked_prior(prior)
        encode = None if takes_context(self.encoder) else self._posterior
        prior.connect(encode, self.event_shape, self.support)
        prior.build(self.latent_shape)
        old = self.prior
        self._set_prior(prior)
        if not self.compiled:
            self.forget_functions()
            return
        try:
            self.compile_from_config(self.get_compile_config())
        except Exception:
            self._set_prior(old)
            raise

    @property
    def latent_shape(self) -> Shape:
        """Shape of one latent, `E`.

        Raises:
            ValueError: The model has seen neither data nor the shape of it.
        """
        if self._latent_shape is None:
            raise ValueError(
                "This model does not know the shape of its latents before it is built. Give its "
                "encoder a `keras.Input`, or build the model: `model.build((None, *x.shape[1:]))`."
            )
        return self._latent_shape

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

    def _set_prior(self, prior: Prior) -> None:
        # Keras locks the parts of a built model, and keeps all that it was ever given; this one is
        # meant to change.
        self._tracker.unlock()
        self._tracker.untrack(self.prior)
        self.prior = prior
        self._tracker.lock()
        self._readers = [p for p in (self.encoder, self.decoder, prior) if takes_context(p)]

    def _posterior(
        self, x: Tensor, context: Tensor | None = None, training: bool = False
    ) -> Distribution:
        inputs = [x, context] if takes_context(self.encoder) else [x]
        q_z = call_network(self.encoder, *inputs, training=training)
        return check_distribution(q_z, "encoder", "one latent", "MultivariateNormalDiag")

    def _parameters(self, x: Tensor, context: Tensor | None) -> Any:
        """Returns a structure of what the posterior is made of."""
        return self._posterior(x, context)

    def _sums_over(self, q_z: Distribution) -> bool:
        return (num_states(q_z) or self.max_states + 1) <= self.max_states

    def _log_p_x_of_states(
        self, x: Tensor, states: Tensor, context: Tensor | None, training: bool
    ) -> Tensor:
        """Returns log p(x|z) `[S, B]` of every state `[S, *E]`, of which each is decoded once."""
        if takes_context(self.decoder):
            z = tf.repeat(states[:, None], tf.shape(x)[0], axis=1)
            return self.log_p_x_given_z(x, z, context, training=training)
        p_x = self.decode(states, training=training)
        return tf.transpose(p_x.log_prob(tf.cast(x, p_x.dtype)[:, None]))

    def _context_spec(self, shape: Any = None) -> tf.TensorSpec | None:
        """Returns what the networks or the data tell of the context, None where nothing does."""
        for part in self._readers:
            inputs = symbolic_inputs(part)
            if inputs:
                return tf.TensorSpec([2, *inputs[-1].shape[1:]], inputs[-1].dtype)
        return None if shape is None else tf.TensorSpec([2, *shape[1:]], keras.config.floatx())

    def _context_of_each(self, context: Tensor, leading: Tensor) -> Tensor:
        """Returns the context of each latent in one axis, `[prod(leading), *context_shape]`."""
        context = self._required(context)
        event = tf.shape(context)[1:]
        context = tf.broadcast_to(context, tf.concat([leading, event], axis=0))
        return tf.reshape(context, tf.concat([[-1], event], axis=0))

    def _required(self, context: Any) -> Tensor:
        if context is None:
            check_context(None, None, context_shape=self.context_shape or ())
        given: Any = context
        return tf.convert_to_tensor(given)

    def _check_missing(self) -> None:
        shape = self.context_shape
        with tf.init_scope():
            # Four rows: two with one half of their entries missing, two with the other.
            context = None if shape is None else tf.zeros([4, *shape])
            z = tf.random.stateless_normal([2, *self.latent_shape], (0, 0))
            x = self.decode(z, None if context is None else context[:2]).sample(seed=(0, 1))
            check_missing(lambda x: self._parameters(x, context), x, self.encoder.weights)

    def _build_parts(self, x: Tensor, context: Tensor | None = None) -> None:
        q_z = self._posterior(x, context, training=False)
        event: Any = q_z.event_shape
        self._latent_shape = event_tuple(event)
        inputs = symbolic_inputs(self.decoder)
        if inputs and not q_z.event_shape.is_compatible_with(inputs[0].shape[1:]):
            raise ValueError(
                "`decoder` does not take the latents of `encoder`. "
                f"Expected: latents of shape {inputs[0].shape[1:]}, the input of `decoder`. "
                f"Received: latents of shape {q_z.event_shape}, the output of `encoder`. "
                "Change one to the shape of the other."
            )
        p_x = self.decode(q_z.sample(seed=[0, 0]), context)
        if not p_x.event_shape.is_compatible_with(x.shape[1:]):
            raise ValueError(
                "`decoder` must return a distribution over one example of `x`. "
                f"Expected: event_shape={x.shape[1:]}. Received: event_shape={p_x.event_shape}. "
                "Set `event_shape` on its last layer."
            )
        self.event_shape = tuple(p_x.event_shape)
        self.support = support_of(p_x)
        encode = None if takes_context(self.encoder) else self._posterior
        self.prior.connect(encode, self.event_shape, self.support)
        self.prior.build(q_z.event_shape)
        p_z = self.prior_distribution(context)
        if not p_z.event_shape.is_compatible_with(q_z.event_shape) or not (
            p_z.batch_shape.is_compatible_with([2] if takes_context(self.prior) else [])
        ):
            raise ValueError(
                "`prior` must return one distribution over one latent, batch shape [], or [batch] "
                f"where it takes a context. Expected: event_shape={q_z.event_shape}. "
                f"Received: event_shape={p_z.event_shape}, batch_shape={p_z.batch_shape}."
            )
        check_same_kind(q_z, p_z)

    def _describe_data(self, x: Tensor, context: Tensor | None = None) -> None:
        if not self.built:
            shapes = {"x": x.shape} if context is None else {"x": x.shape, "context": context.shape}
            self.build(shapes)


def checked_prior(prior: Any) -> Prior:
    """Returns `prior` where it is one.

    Raises:
        TypeError: It is none.
    """
    if not isinstance(prior, Prior):
        raise TypeError(
            "`prior` must be an object of `tfvae.priors`, such as `StandardNormal()`. "
            f"Received: {type(prior).__name__}"
        )
    return prior
