"""Sleep finds the exact posterior, wake follows the objective."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tests import analytic
from tests.conftest import binary_data, mlp_decoder, mlp_encoder, mlp_vae
from tests.models import test_context as context
from tfvae.learning import WakeSleep
from tfvae.learning.wake_sleep import dream

X = binary_data(8)


@pytest.mark.slow
def test_both_gradients_by_hand():
    """Dreams are those of the model's seed, the decoder's gradient is that of the objective."""
    vae, other = mlp_vae(seed=5), mlp_vae(seed=5)
    other.set_weights(vae.get_weights())
    vae.compile(keras.optimizers.SGD(0.5), scheme=WakeSleep(), run_eagerly=True)
    other.compile("sgd")
    vae.seed_generator.state.assign(other.seed_generator.state)
    with tf.GradientTape() as tape:
        loss = -tf.reduce_mean(other.terms(X).elbo)
    wake = tape.gradient(loss, other.graph.generative_weights)
    dreams = other.generate(8, other.make_seed())
    assert set(np.unique(dreams["x"])) == {0.0, 1.0}
    with tf.GradientTape() as tape:
        sleep = -tf.reduce_mean(other.encode(dreams["x"]).log_prob(dreams["z"]))
    sleep_gradients = tape.gradient(sleep, other.graph.posterior_weights)
    history = vae.fit(X, batch_size=8, shuffle=False, verbose=0).history
    assert history["loss"][0] == pytest.approx(float(loss), rel=1e-5)
    assert history["sleep"][0] == pytest.approx(float(sleep), rel=1e-5)
    assert int(vae.optimizer.iterations) == 1
    for new, old, gradient in zip(
        vae.get_weights(), other.get_weights(), [*sleep_gradients, *wake], strict=True
    ):
        np.testing.assert_allclose(new, old - 0.5 * gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_the_exact_posterior_is_its_fixed_point():
    """Found from afar, with the decoder frozen; the data plays no part in it."""
    exact = analytic.LinearGaussian.with_exact_posterior(dims=4, latents=2)
    vae = exact.vae()
    vae.encoder.layers[0].set_weights([np.zeros([4, 4]), np.zeros([4])])
    vae.decoder.trainable = False
    num, size = 300, 500
    decay = keras.optimizers.schedules.CosineDecay(0.1, num)
    vae.compile(keras.optimizers.Adam(decay), scheme=WakeSleep(), jit_compile=False)
    nothing = np.zeros([size, 4], "float32")
    history = vae.fit(
        tf.data.Dataset.from_tensors(nothing).repeat(num), epochs=1, verbose=0
    ).history
    q = vae.encode(exact.draw(200))
    p = tfp.distributions.MultivariateNormalDiag(
        exact.loc(exact.draw(200)).astype("float32"), np.sqrt(exact.s).astype("float32")
    )
    # 20 parameters fitted to at least a tenth of 150,000 dreams: 20 / (2 * 15,000) nats, by
    # maximum likelihood; ten times that.
    assert float(tf.reduce_mean(p.kl_divergence(q))) < 6.7e-3
    # What sleep minimises is then the entropy of the posterior: 0.5 log |2 pi e S|.
    assert history["sleep"][0] > 0.5 * np.log(2 * np.pi * np.e * exact.s).sum()


def test_dreams_are_made_for_the_contexts_of_the_batch():
    """The prior puts z where the context says, and the encoder reads it from nothing else."""
    size = 3
    z_of_c = keras.layers.Dense(
        4, kernel_initializer=keras.initializers.Constant(np.eye(3, 4) * 3), trainable=False
    )
    prior = tfvae.priors.Conditional(
        keras.Sequential([keras.Input((size,)), z_of_c, tfvae.layers.MultivariateNormalDiag(2)])
    )
    vae = tfvae.VAE(mlp_encoder(), context.decoder(), prior, seed=0)
    contexts = tf.repeat(tf.eye(3), 100, axis=0)
    batch, z = dream(vae, 300, vae.make_seed(0), contexts)
    np.testing.assert_array_equal(batch["context"], contexts)
    p_z = vae.prior_distribution(contexts)
    error = (z - p_z.mean()) / p_z.stddev()
    # 600 standard normals: their mean within five standard errors.
    assert abs(float(tf.reduce_mean(error))) < 5 / np.sqrt(600)
    assert float(tf.math.reduce_std(p_z.mean())) > 0.5


class Scored(tfp.distributions.MultivariateNormalDiag):
    """A density that cannot be drawn from."""

    def sample(self, *args, **kwargs):
        raise NotImplementedError("no draws of this one")


@pytest.mark.slow
def test_what_cannot_dream_is_refused():
    class Prior(tfvae.priors.Prior):
        def distribution(self, context=None):
            return Scored(tf.zeros([2]), tf.ones([2]))

    vae = mlp_vae(prior=Prior())
    with pytest.raises(ValueError, match=r"takes draws of prior.*Received: no draws of this one"):
        vae.compile("adam", scheme=WakeSleep())


@pytest.mark.parametrize("head", [tfvae.layers.RelaxedBernoulli, tfvae.layers.IndependentLogNormal])
def test_priors_whose_draws_the_posterior_never_has_are_refused(head):
    encoder = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(head.params_size(2)), head(2)]
    )
    vae = tfvae.VAE(encoder, mlp_decoder(), seed=0)
    with pytest.raises(ValueError, match="draws values that the posterior never has"):
        vae.compile("adam", scheme=tfvae.learning.WakeSleep())
    same = tfvae.VAE(encoder, mlp_decoder(), tfvae.priors.Parametric(head(2)), seed=0)
    same.compile("adam", scheme=tfvae.learning.WakeSleep())
