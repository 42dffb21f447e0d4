"""Gaussian mixtures as priors, and their distribution."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats

import tfvae
from tests import analytic
from tfvae.distributions import NormalMixture
from tfvae.priors import GaussianMixture

tfd = tfp.distributions


def random_mixture(event_shape, components=7, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=components).astype("float32")
    loc = rng.normal(size=(components, *event_shape)).astype("float32")
    return logits, loc, np.exp(rng.normal(size=loc.shape)).astype("float32")


@pytest.mark.slow
@pytest.mark.xla
@pytest.mark.parametrize("event_shape", [(), (3,), (2, 2)])
def test_mixture_is_that_of_tfp(event_shape):
    logits, loc, scale = random_mixture(event_shape)
    p = NormalMixture(logits, loc, scale)
    components = tfd.Independent(tfd.Normal(loc, scale), len(event_shape))
    expected = tfd.MixtureSameFamily(tfd.Categorical(logits=logits), components)
    assert (p.batch_shape, p.event_shape, p.num_components) == ((), event_shape, 7)
    z = np.random.default_rng(1).normal(size=(5, 4, *event_shape)).astype("float32")
    for call in (p.log_prob, tf.function(p.log_prob), tf.function(p.log_prob, jit_compile=True)):
        np.testing.assert_allclose(call(z), expected.log_prob(z), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(p.mean(), expected.mean(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(p.variance(), expected.variance(), rtol=1e-4)
    draws = p.sample(20_000, seed=[1, 2]).numpy().astype("float64")
    error = draws.std(axis=0) / np.sqrt(len(draws))
    assert np.all(np.abs(draws.mean(axis=0) - p.mean()) <= 5 * error)
    squares = (draws - p.mean().numpy()) ** 2
    error = squares.std(axis=0) / np.sqrt(len(draws))
    assert np.all(np.abs(squares.mean(axis=0) - p.variance()) <= 5 * error)
    np.testing.assert_array_equal(p.sample(3, seed=[1, 2]), p.sample(3, seed=[1, 2]))
    detached = tf.nest.map_structure(tf.stop_gradient, p, expand_composites=True)
    np.testing.assert_array_equal(detached.log_prob(z), p.log_prob(z))


def test_products_lose_no_digits_to_cancellation():
    """Narrow components far from the origin, in 40 dimensions: hard for an expanded square."""
    rng = np.random.default_rng(0)
    loc = 3.0 + rng.normal(size=(50, 40)).astype("float32")
    scale = np.full(loc.shape, 0.02, "float32")
    z = loc[:20] + scale[:20] * rng.normal(size=(20, 40)).astype("float32")
    each = stats.norm(loc.astype("float64"), scale.astype("float64"))
    log_p = each.logpdf(z.astype("float64")[:, None]).sum(axis=-1)
    exact = np.logaddexp.reduce(log_p, axis=1) - np.log(50.0)
    p = NormalMixture(np.zeros(50, "float32"), loc, scale)
    np.testing.assert_allclose(p.log_prob(z), exact, rtol=1e-6, atol=1e-5)


def test_nothing_of_points_by_components_by_dimensions_is_held():
    p = NormalMixture(*random_mixture((40,), components=50))
    points = tf.TensorSpec([30, 40], tf.float32)
    graph = tf.function(p.log_prob, autograph=False).get_concrete_function(points).graph
    sizes = [t.shape.num_elements() or 0 for op in graph.get_operations() for t in op.outputs]
    assert 30 * 50 in sizes
    assert max(sizes) <= 2 * 50 * 40


@pytest.mark.slow
def test_evidence_is_that_of_a_mixture_of_gaussians():
    """A linear decoder makes p(x) a mixture of Gaussians again (E3)."""
    model = analytic.LinearGaussian.random(dims=3, latents=2)
    linear = model.vae()
    prior = GaussianMixture(3, 2)
    logits, loc, scale = random_mixture((2,), components=3)
    prior.set_weights([logits, loc, np.log(np.expm1(scale - 1e-3))])
    vae = tfvae.VAE(linear.encoder, linear.decoder, prior, seed=0)
    x = vae.sample(50, seed=3).numpy()
    exact = np.zeros(50)
    for weight, mean, sd in zip(np.exp(logits) / np.exp(logits).sum(), loc, scale, strict=True):
        covariance = (model.w * sd**2) @ model.w.T + model.s2 * np.eye(3)
        exact += weight * stats.multivariate_normal(model.w @ mean + model.b, covariance).pdf(x)
    # From a wide proposal, as the encoder knows nothing of this prior.
    wide = tfd.MultivariateNormalDiag(tf.zeros([50, 2]), 3.0 * tf.ones([50, 2]))
    parts = [vae.terms(x, 2500, seed=seed, posterior=wide).log_w for seed in range(20)]
    log_w = np.concatenate(parts).astype("float64")
    peak = log_w.max(axis=0)
    w = np.exp(log_w - peak)
    error = w.std(axis=0) / w.mean(axis=0) / np.sqrt(len(w))
    estimate = np.log(w.mean(axis=0)) + peak
    assert np.all(np.abs(estimate - np.log(exact)) <= 6 * error + 1e-4)
    assert np.max(error) < 0.2


@pytest.mark.slow
def test_maximum_likelihood_separates_two_clusters():
    rng = np.random.default_rng(0)
    z = np.concatenate([rng.normal(-3.0, 0.5, (700, 1)), rng.normal(3.0, 1.5, (300, 1))])
    z = z.astype("float32")
    prior = GaussianMixture(2, 1)
    prior.loc.assign([[-1.0], [1.0]])
    optimizer = keras.optimizers.Adam(0.05)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(prior.distribution().log_prob(z))
        weights = prior.trainable_weights
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))

    optimizer.build(prior.trainable_weights)
    for _ in range(500):
        step()
    p = prior.distribution()
    order = np.argsort(p.loc[:, 0])
    np.testing.assert_allclose(tf.nn.softmax(p.logits).numpy()[order], [0.7, 0.3], atol=0.03)
    np.testing.assert_allclose(p.loc.numpy()[order, 0], [-3.0, 3.0], atol=0.3)
    np.testing.assert_allclose(p.scale.numpy()[order, 0], [0.5, 1.5], atol=0.2)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`num_components` must be"):
        GaussianMixture(0)
    with pytest.raises(ValueError, match=r"`min_scale` must lie in \[0, 1\). Received: .*=2"):
        GaussianMixture(3, 2, min_scale=2.0)
