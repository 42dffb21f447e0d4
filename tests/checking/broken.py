"""Models with one fault each, and what finds it."""

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tests.conftest import binary_data, mlp_decoder, mlp_encoder, mlp_vae, real_data
from tests.models.test_directed import network
from tfvae import layers, objectives, priors

tfd = tfp.distributions

BITS, REAL = binary_data(16), real_data(16)


class Through(keras.layers.Layer):
    """A function of tensors, with its gradients as they are."""

    def __init__(self, function, **kwargs):
        super().__init__(**kwargs)
        self.function = function

    def call(self, x):
        return self.function(x)


def encoder(*between, head=None):
    head = head or layers.MultivariateNormalDiag(2)
    size = 4 if isinstance(head, layers.DistributionLambda) else head.num_params
    return keras.Sequential(
        [keras.Input((6,)), *between, keras.layers.Dense(size), head], name="encoder"
    )


def decoder(*between, head=None):
    head = head or layers.IndependentBernoulli(6)
    size = 6 if isinstance(head, layers.DistributionLambda) else head.num_params
    return keras.Sequential(
        [keras.Input((2,)), *between, keras.layers.Dense(size), head], name="decoder"
    )


def vae(q=None, p=None, prior=None, model=tfvae.VAE):
    return model(q or mlp_encoder(), p or mlp_decoder(), prior, seed=0)


# Data and weights.


def nan_in_data():
    return mlp_vae(), np.where(np.arange(96).reshape(16, 6) == 7, np.nan, BITS)


def text():
    return mlp_vae(), BITS.astype(str)


def fractions():
    return mlp_vae(), np.clip(BITS, 0.0, 0.5) + 0.1


def equal_rows():
    return mlp_vae(), np.repeat(BITS[:1], 16, axis=0)


def overflow():
    return vae(p=decoder(head=layers.IndependentNormal(6))), 1e25 * REAL


def unscaled_input():
    head = layers.Adapted(layers.IndependentNormal(6), 1e3 * REAL)
    first = keras.layers.Dense(4, "tanh")
    return vae(encoder(first), decoder(head=head)), 1e3 * REAL


def unscaled_likelihood():
    first = keras.layers.Rescaling(1e-3)
    return vae(encoder(first), decoder(head=layers.IndependentNormal(6))), 1e3 * REAL


def nan_in_weights():
    model = mlp_vae()
    model.decoder.layers[0].bias.assign(np.full(6, np.nan))
    return model, BITS


def all_frozen():
    model = mlp_vae()
    model.trainable = False
    return model, BITS


class Surplus(keras.layers.Layer):
    """A weight that nothing depends on."""

    def build(self, input_shape):
        self.extra = self.add_weight(shape=(3,), name="extra")

    def call(self, x):
        return x


def unused_weight():
    return vae(encoder(Surplus())), BITS


def hidden_variable():
    scale = tf.Variable(tf.ones([6]), name="hidden")
    return vae(encoder(Through(lambda x: x * scale))), BITS


def gradient_that_is_none():
    half = Through(lambda h: 0.5 * h + tf.stop_gradient(0.5 * h))
    return vae(encoder(keras.layers.Dense(4, "tanh"), half)), BITS


def root_of_zero():
    root = Through(lambda h: tf.sqrt(tf.nn.relu(h - 100.0)))
    return vae(encoder(keras.layers.Dense(4), root)), BITS


# What parts read.


def deaf_encoder():
    return vae(encoder(Through(tf.ones_like))), BITS


def deaf_decoder():
    return vae(p=decoder(Through(tf.ones_like))), BITS


def deaf_context():
    head = layers.MultivariateNormalDiag(2)
    inputs = [keras.Input((6,), name="x"), keras.Input((3,), name="context")]
    h = keras.layers.Concatenate()([inputs[0], Through(tf.ones_like)(inputs[1])])
    q = keras.Model(inputs, head(keras.layers.Dense(head.num_params)(h)))
    return vae(q), {"x": BITS, "context": real_data(16, (3,))}


def deaf_level():
    posteriors = [network(layers.MultivariateNormalDiag(2), x=(6,)) for _ in range(2)]
    head = layers.MultivariateNormalDiag(2)
    z_2 = keras.Input((2,), name="z_2")
    deaf = keras.Model(z_2, head(keras.layers.Dense(4)(Through(tf.ones_like)(z_2))))
    pixels = network(layers.IndependentBernoulli(6), z_1=(2,))
    return tfvae.HierarchicalVAE(posteriors, [pixels, deaf], seed=0), BITS


def mixed_rows():
    centred = Through(lambda h: h - tf.reduce_mean(h, axis=0))
    return vae(encoder(keras.layers.Dense(4), centred)), BITS


def mixed_rows_of_decoder():
    centred = Through(lambda h: h - tf.reduce_mean(h, axis=0))
    return vae(p=decoder(keras.layers.Dense(4), centred)), BITS


class AlwaysDropout(keras.layers.Dropout):
    def call(self, x, training=None):
        return super().call(x, training=True)


def dropout_in_evaluations():
    return vae(encoder(keras.layers.Dense(8), AlwaysDropout(0.5, seed=0))), BITS


# Draws, densities, priors.


class Wide(tfd.Normal):
    """Draws of another scale than that of the density."""

    def _sample_n(self, n, seed=None):
        return self.loc + 1.6 * (super()._sample_n(n, seed=seed) - self.loc)


class Unnormalised(tfd.Normal):
    """A density without its constant."""

    def _log_prob(self, x):
        return super()._log_prob(x) + 0.919


def elements(cls):
    def make(t):
        return tfd.Independent(cls(t[..., :2], 0.1 + tf.nn.softplus(t[..., 2:])), 1)

    return layers.DistributionLambda(make)


def wrong_draws_of_posterior():
    return vae(encoder(head=elements(Wide))), BITS


def wrong_draws_of_prior():
    class Prior(priors.StandardNormal):
        def distribution(self):
            return tfd.Independent(Wide(tf.zeros([2]), tf.ones([2])), 1)

    return vae(prior=Prior()), BITS


def density_without_constant():
    head = layers.DistributionLambda(lambda t: tfd.Independent(Unnormalised(t, 1.0), 1))
    return vae(p=decoder(head=head)), REAL


def fewer_values_of_prior():
    class Prior(priors.StandardNormal):
        def distribution(self):
            return tfd.Independent(tfd.Uniform(tf.zeros([2]), tf.ones([2])), 1)

    return vae(prior=Prior()), BITS


def fewer_values_of_posterior():
    return vae(encoder(head=layers.IndependentBeta(2))), BITS


class Pointed(tfd.Laplace):
    """A family with a KL that somebody got wrong."""


@tfd.RegisterKL(Pointed, tfd.Laplace)
def _wrong(q, p, name=None):
    return 2.0 * tfd.kl_divergence(tfd.Laplace(q.loc, q.scale), p, name=name)


def wrong_kl():
    prior = priors.Parametric(layers.IndependentLaplace(2))
    return vae(encoder(head=elements(Pointed)), prior=prior), BITS


def far_posterior():
    q = encoder()
    q.layers[0].bias.assign([50.0, 50.0, 0.0, 0.0])
    return vae(q), BITS


# Models and objectives of one's own.


class Halved(tfvae.VAE):
    """Scores of its own, which are others than those of its distributions."""

    def terms(self, *args, **kwargs):
        terms = super().terms(*args, **kwargs)
        return terms._replace(log_q_z=0.5 * terms.log_q_z, kl=None)


def scores_of_its_own():
    return vae(model=Halved), BITS


class Low(tfvae.VAE):
    def exact_log_p_x(self, x, context=None):
        return tf.fill([len(x)], -100.0)


def evidence_below():
    return vae(model=Low), BITS


class Scalar(objectives.ELBO):
    def __call__(self, terms, step=0):
        return tf.reduce_mean(super().__call__(terms, step))


def scalar_objective():
    model = vae()
    model.compile("adam", Scalar(), run_eagerly=True)
    return model, BITS


def raises():
    def stop(z):
        if not keras.backend.is_keras_tensor(z) and (z.shape[0] or 0) > 40:
            raise RuntimeError("Too many rows for this decoder")
        return z

    return vae(p=decoder(Through(stop))), BITS


BROKEN = {
    nan_in_data: {"data"},
    text: {"data"},
    fractions: {"data"},
    equal_rows: {"data"},
    overflow: {"data"},
    unscaled_input: {"scale of data", "gradients"},  # it saturates
    unscaled_likelihood: {"scale of p(x|z)"},
    nan_in_weights: {"weights"},
    all_frozen: {"trained weights"},
    unused_weight: {"gradients"},
    hidden_variable: {"gradients"},
    root_of_zero: {"gradients", "encoder reads x"},
    gradient_that_is_none: {"slopes"},
    deaf_encoder: {"encoder reads x"},
    deaf_decoder: {"decoder reads z"},
    deaf_context: {"context is read"},
    deaf_level: {"z_1 reads z_2"},
    mixed_rows: {"rows"},
    mixed_rows_of_decoder: {"rows"},
    dropout_in_evaluations: {"scores"},
    wrong_draws_of_posterior: {"draws of q(z|x)"},
    wrong_draws_of_prior: {"draws of p(z)"},
    density_without_constant: {"draws of p(x|z)"},
    fewer_values_of_prior: {"values of q and p"},
    fewer_values_of_posterior: {"values of q and p"},
    wrong_kl: {"closed KL"},
    far_posterior: {"rate"},
    scores_of_its_own: {"scores"},
    evidence_below: {"bound and evidence"},
    scalar_objective: {"objective"},
    raises: {"scores"},
}
