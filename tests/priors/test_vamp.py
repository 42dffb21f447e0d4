"""The mixture of the encoder's own posteriors."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import tfvae
from tests import analytic
from tests.conftest import binary_data, mlp_decoder, mlp_encoder
from tfvae.priors import VampPrior


def test_evidence_is_that_of_a_mixture_of_gaussians():
    """With a linear encoder and decoder p(x) is a mixture of Gaussians: the exact evidence (E3)."""
    model = analytic.LinearGaussian.random(dims=3, latents=2)
    u, x = model.draw(4, seed=5), model.draw(50, seed=6)
    linear = model.vae()
    prior = VampPrior(4, pseudo_inputs=u, learn_weights=True)
    vae = tfvae.VAE(linear.encoder, linear.decoder, prior, seed=0)
    prior.logits.assign([0.0, 1.0, -1.0, 0.5])
    weights = np.exp([0.0, 1.0, -1.0, 0.5]) / np.sum(np.exp([0.0, 1.0, -1.0, 0.5]))
    means = model.loc(u) @ model.w.T + model.b
    covariance = (model.w * model.s) @ model.w.T + model.s2 * np.eye(3)
    exact = np.log(
        sum(
            weight * stats.multivariate_normal(mean, covariance).pdf(x)
            for weight, mean in zip(weights, means, strict=True)
        )
    )
    result = tfvae.log_likelihood(vae, x, num_samples=20_000, verbose=False)
    # Six standard errors of the worst of fifty points, and the rounding of float32.
    error = np.abs(result.per_point - exact)
    assert np.all(error <= 6 * result.per_point_standard_error + 1e-4)
    assert np.median(result.per_point_standard_error) < 0.05


def test_shares_the_encoder_and_starts_where_it_is_told():
    x = binary_data(24)
    prior = VampPrior(5, pseudo_inputs=x[:5])
    vae = tfvae.VAE(mlp_encoder(), mlp_decoder(), prior, seed=0)
    np.testing.assert_array_equal(prior.pseudo_inputs, x[:5])
    q_u, p_z = vae.encode(x[:5]), vae.prior_distribution()
    z = q_u.sample(seed=[1, 2])  # [5, K]
    expected = tf.reduce_logsumexp(q_u.log_prob(z[:, None]), axis=1) - np.log(5.0)
    np.testing.assert_allclose(p_z.log_prob(z), expected, rtol=1e-5)
    # The weights of the encoder are there once, and get gradients by way of the prior too.
    assert len({id(w) for w in vae.weights}) == len(vae.weights)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(vae.prior_distribution().log_prob(tf.ones([3, 2])))
    assert all(g is not None for g in tape.gradient(value, vae.encoder.trainable_weights))


def test_pseudo_inputs_stay_within_the_bounds_of_the_data():
    vae = tfvae.VAE(mlp_encoder(), mlp_decoder(), VampPrior(5), seed=0)
    vae.compile(keras.optimizers.Adam(0.5))
    vae.fit(binary_data(), epochs=3, verbose=0)
    u = vae.prior.pseudo_inputs.numpy()
    assert u.min() == 0.0
    assert u.max() == 1.0
    decoder = mlp_decoder(likelihood=tfvae.layers.IndependentNormal)
    real = tfvae.VAE(mlp_encoder(), decoder, VampPrior(200), seed=0).prior.pseudo_inputs.numpy()
    assert real.min() < -1.0
    assert real.max() > 1.0
    counts = mlp_decoder(likelihood=tfvae.layers.IndependentPoisson)
    vae = tfvae.VAE(mlp_encoder(), counts, VampPrior(200), seed=0)
    vae.prior.pseudo_inputs.assign(vae.prior.pseudo_inputs.constraint(vae.prior.pseudo_inputs))
    assert vae.prior.pseudo_inputs.numpy().min() == 0.0


def test_posteriors_of_any_family():
    encoder = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(tfvae.layers.MultivariateNormalTriL.params_size(2)),
            tfvae.layers.MultivariateNormalTriL(2),
        ]
    )
    vae = tfvae.VAE(encoder, mlp_decoder(), VampPrior(5), seed=0)
    q_u = encoder(vae.prior.pseudo_inputs)
    z = np.random.default_rng(0).normal(size=(7, 2)).astype("float32")
    expected = tf.reduce_logsumexp(q_u.log_prob(z[:, None]), axis=1) - np.log(5.0)
    np.testing.assert_allclose(vae.prior_distribution().log_prob(z), expected, rtol=1e-5)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`num_components` must be"):
        VampPrior(0)
    with pytest.raises(ValueError, match=r"one row per component\. Received: 3 rows, num_comp.*=5"):
        VampPrior(5, pseudo_inputs=np.zeros([3, 6]))
    with pytest.raises(ValueError, match=r"Expected: \[5, 6\]. Received: \[5, 7\]"):
        tfvae.VAE(mlp_encoder(), mlp_decoder(), VampPrior(5, pseudo_inputs=np.zeros([5, 7])))
    with pytest.raises(ValueError, match="is made of posteriors: pass it to a model"):
        VampPrior(5, 2).distribution()
