import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.distributions import sample_and_log_prob
from tfvae.distributions.reparameterised import sample

tfd = tfp.distributions

SEED = tf.constant([1, 2])


def parameters(*shape):
    rng = np.random.default_rng(0)
    loc = rng.normal(size=shape).astype(np.float32)
    return tf.constant(loc), tf.constant(np.exp(rng.normal(size=shape)).astype(np.float32))


DISTRIBUTIONS = {
    "diagonal": lambda: tfd.MultivariateNormalDiag(*parameters(5, 3)),
    "independent": lambda: tfd.Independent(tfd.Normal(*parameters(5, 3)), 1),
    "image": lambda: tfd.Independent(tfd.Normal(*parameters(5, 2, 3)), 2),
    "scalar": lambda: tfd.Independent(tfd.Normal(*parameters(5)), 0),
    "triangular": lambda: tfd.MultivariateNormalTriL(
        parameters(5, 3)[0], tf.linalg.diag(parameters(5, 3)[1])
    ),
    "laplace": lambda: tfd.Independent(tfd.Laplace(*parameters(5, 3)), 1),
}


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.xla)])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_log_prob_is_that_of_the_draws(name, jit_compile):
    @tf.function(jit_compile=jit_compile)
    def draw():
        distribution = DISTRIBUTIONS[name]()
        z, log_prob = sample_and_log_prob(distribution, 4, SEED)
        return z, log_prob, distribution.log_prob(z)

    z, log_prob, expected = draw()
    assert z.shape == (4, *DISTRIBUTIONS[name]().mean().shape)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["diagonal", "independent", "image"])
def test_draws_have_the_moments_of_the_distribution(name):
    distribution, count = DISTRIBUTIONS[name](), 20_000
    z, _ = sample_and_log_prob(distribution, count, SEED)
    noise = ((z - distribution.mean()) / distribution.stddev()).numpy()
    assert np.abs(noise.mean(0)).max() < 5 / np.sqrt(count)
    assert np.abs(noise.var(0) - 1).max() < 5 * np.sqrt(2 / count)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_draws_without_a_density_are_the_same(name):
    z, _ = sample_and_log_prob(DISTRIBUTIONS[name](), 4, SEED)
    np.testing.assert_allclose(sample(DISTRIBUTIONS[name](), 4, SEED), z, rtol=1e-6)
    alone = tfd.MultivariateNormalDiag(tf.zeros([3]), tf.ones([3]))
    assert sample(alone, tf.constant(4), SEED).shape == (4, 3)


def test_draws_follow_the_seed():
    first, again = (sample_and_log_prob(DISTRIBUTIONS["diagonal"](), 2, SEED)[0] for _ in "ab")
    other, _ = sample_and_log_prob(DISTRIBUTIONS["diagonal"](), 2, SEED + 1)
    np.testing.assert_array_equal(first, again)
    assert np.all(first != other)


def test_gradients_are_those_of_tfp_at_the_same_noise():
    loc, scale = parameters(5, 3)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([loc, scale])
        z, log_prob = sample_and_log_prob(tfd.MultivariateNormalDiag(loc, scale), 4, SEED)
        noise = tf.stop_gradient((z - loc) / scale)
        expected = tfd.MultivariateNormalDiag(loc, scale).log_prob(loc + scale * noise)
        score = tf.reduce_sum(z**3) + tf.reduce_sum(log_prob)
        expected_score = tf.reduce_sum((loc + scale * noise) ** 3) + tf.reduce_sum(expected)
    found = tape.gradient(score, [loc, scale])
    for ours, theirs in zip(found, tape.gradient(expected_score, [loc, scale]), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_unknown_batch_and_number_of_draws():
    @tf.function(
        input_signature=[tf.TensorSpec([None, 3]), tf.TensorSpec([], tf.int32)], autograph=False
    )
    def draw(loc, num_samples):
        z, _ = sample_and_log_prob(tfd.MultivariateNormalDiag(loc), num_samples, SEED)
        assert z.shape.as_list() == [None, None, 3]
        return z

    assert draw(tf.zeros([5, 3]), 4).shape == (4, 5, 3)
