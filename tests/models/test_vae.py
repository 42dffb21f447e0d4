"""The VAE against models whose every number is known."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tests import analytic

tfd = tfp.distributions


@pytest.mark.parametrize("num_samples", [1, 3])
def test_every_draw_of_the_exact_posterior_weighs_log_p_x(num_samples):
    model = analytic.LinearGaussian.with_exact_posterior()
    x = model.draw(7)
    terms = model.vae().terms(x, num_samples)
    expected = np.broadcast_to(model.log_p_x(x), [num_samples, 7])
    np.testing.assert_allclose(terms.log_w, expected, atol=2e-5)


def test_terms_of_any_gaussian_posterior_match_closed_forms():
    model = analytic.LinearGaussian.random()
    x = model.draw(11)
    terms = model.vae(analytic.SigmaPointLayer).terms(x, 6)
    np.testing.assert_allclose(terms.rate, model.rate(x), atol=1e-4)
    np.testing.assert_allclose(terms.sampled_rate, model.rate(x), atol=1e-4)
    np.testing.assert_allclose(terms.distortion, model.distortion(x), atol=1e-4)
    np.testing.assert_allclose(terms.elbo, model.log_p_x(x) - model.gap(x), atol=1e-4)
    mean_log_w = tf.reduce_mean(terms.log_w, axis=0)
    np.testing.assert_allclose(mean_log_w, model.log_p_x(x) - model.gap(x), atol=1e-4)


def test_log_joint_holds_every_constant():
    model = analytic.LinearGaussian.random()
    x = model.draw(4)
    terms = model.vae().terms(x, 5, seed=1)
    z = terms.z.numpy().astype("float64")
    log_p_z = -0.5 * np.sum(z**2 + np.log(2 * np.pi), axis=-1)
    residual = x - model.b - z @ model.w.T
    log_p_x = -0.5 * np.sum(residual**2 / model.s2 + np.log(2 * np.pi * model.s2), axis=-1)
    np.testing.assert_allclose(terms.log_p_z, log_p_z, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(terms.log_p_x, log_p_x, rtol=1e-5, atol=1e-4)


class SharedNoise(keras.layers.Layer):
    """Appends one learned raw scale, shared by all dimensions, to the locations."""

    def build(self, input_shape):
        self.raw = self.add_weight(shape=(), initializer="zeros")

    def call(self, loc):
        return tf.concat([loc, tf.fill(tf.shape(loc), tf.convert_to_tensor(self.raw))], axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 2 * input_shape[-1])


@pytest.mark.slow
def test_linear_vae_reaches_the_maximum_likelihood_of_probabilistic_pca():
    truth = analytic.LinearGaussian.random(seed=3, dims=6, latents=2)
    x = truth.draw(400, seed=5)
    covariance = np.cov(x.T.astype("float64"), bias=True)
    values = np.sort(np.linalg.eigvalsh(covariance))[::-1]
    s2 = values[2:].mean()
    expected = -0.5 * (6 * np.log(2 * np.pi) + np.log(values[:2]).sum() + 4 * np.log(s2) + 6)

    encoder = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(4), tfvae.layers.MultivariateNormalDiag(2)]
    )
    decoder = keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(6),
            SharedNoise(),
            tfvae.layers.IndependentNormal(6),
        ]
    )
    vae = tfvae.VAE(encoder, decoder, seed=0)
    rate = keras.optimizers.schedules.CosineDecay(0.1, 3000)
    objective = tfvae.objectives.ELBO(num_samples=4)
    vae.compile(keras.optimizers.Adam(rate), objective, steps_per_execution=50)
    data = tf.data.Dataset.from_tensors(x).repeat(3000)
    vae.fit(data, verbose=0)

    reached = tfvae.log_likelihood(vae, x, num_samples=2000, verbose=False)
    assert abs(reached.mean - expected) < 0.01
    # The posterior of the trained model is its exact one: the bound is tight.
    ledger = tfvae.decompose(vae, x, evidence_samples=200, verbose=False)
    assert ledger.gap.mean < 0.01


@keras.saving.register_keras_serializable(package="tests")
class OneHotPrior(tfvae.priors.Prior):
    """p(z) over K one-hot states, with learned logits."""

    def _build(self, event_shape):
        self.logits = self.add_weight(shape=event_shape, initializer="zeros", name="logits")

    def distribution(self):
        return tfd.OneHotCategorical(logits=self.logits.value, dtype=tf.float32)


class OneHot(tfvae.layers.DistributionLayer):
    @staticmethod
    def params_size(event_shape):
        return int(np.prod(event_shape))

    @staticmethod
    def new(params, event_shape, validate_args=False):
        return tfd.OneHotCategorical(logits=params, dtype=params.dtype)


class Responsibilities(keras.layers.Layer):
    """The exact posterior logits log p(k) + log p(x|k) of a Bernoulli mixture."""

    def __init__(self, log_prior, logits):
        super().__init__()
        self.log_prior, self.logits = log_prior, logits

    def call(self, x):
        cross = tf.matmul(x, self.logits, transpose_b=True)
        return self.log_prior + cross - tf.reduce_sum(tf.nn.softplus(self.logits), axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], len(self.log_prior))


def bernoulli_mixture(num_states=4, dims=8, seed=0):
    """A VAE with a finite latent and its exact posterior, and its log p(x) by summation."""
    rng = np.random.default_rng(seed)
    log_prior = np.log(rng.dirichlet(np.ones(num_states))).astype("float32")
    logits = rng.normal(size=(num_states, dims), scale=1.5).astype("float32")
    encoder = keras.Sequential(
        [keras.Input((dims,)), Responsibilities(log_prior, logits), OneHot(num_states)]
    )
    decoder = keras.Sequential(
        [
            keras.Input((num_states,)),
            keras.layers.Dense(dims, use_bias=False),
            tfvae.layers.IndependentBernoulli(dims),
        ]
    )
    decoder.layers[0].set_weights([logits])
    vae = tfvae.VAE(encoder, decoder, OneHotPrior(), seed=0)
    vae.prior.logits.assign(log_prior)

    def log_p_x(x):
        x, table = x.astype("float64"), logits.astype("float64")
        log_p = log_prior + x @ table.T - np.logaddexp(0, table).sum(axis=1)
        return np.logaddexp.reduce(log_p, axis=1), log_p

    return vae, log_p_x


def test_finite_mixture_is_exact_and_its_probabilities_sum_to_one():
    vae, exact = bernoulli_mixture()
    x = ((np.arange(256)[:, None] >> np.arange(8)) & 1).astype("float32")  # all binary vectors
    log_p_x, log_joint = exact(x)
    terms = vae.terms(x)  # of all four states
    np.testing.assert_allclose(terms.log_w, np.broadcast_to(log_p_x, [4, 256]), atol=5e-5)
    np.testing.assert_allclose(vae.exact_log_p_x(x), log_p_x, atol=2e-5)
    assert abs(np.exp(terms.log_w[0].numpy().astype("float64")).sum() - 1.0) < 1e-5

    r = np.exp(log_joint - log_p_x[:, None])
    prior = np.exp(vae.prior.logits.numpy().astype("float64"))
    np.testing.assert_allclose(terms.kl, (r * np.log(r / prior)).sum(axis=1), atol=1e-5)


def test_unequal_batch_of_a_folded_decoder_meets_the_right_data():
    """Row b of the decoder's folded axis must be scored against point b, at every S and B."""
    model = analytic.LinearGaussian.random()
    vae, x = model.vae(), model.draw(3)
    z = np.random.default_rng(0).normal(size=(4, 3, 3)).astype("float32")
    folded = vae.graph.log_p_observed({"x": x}, {"z": z})
    for s in range(4):
        for b in range(3):
            one = {"x": x[b : b + 1]}, {"z": z[s : s + 1, b : b + 1]}
            single = vae.graph.log_p_observed(*one)
            np.testing.assert_allclose(folded[s, b], single[0, 0], rtol=1e-5)
    np.testing.assert_allclose(vae.decode(z).batch_shape, [4, 3])
    broadcast = vae.decode(z).log_prob(np.broadcast_to(x, [4, 3, 5]))
    np.testing.assert_allclose(folded, broadcast, rtol=1e-5)
