"""Distances between q(z) and p(z), on Gaussians whose distances are known."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tests.conftest import mlp_decoder
from tests.objectives.passes import standard_normal
from tests.objectives.test_elbo import make_terms
from tfvae._random import fold_in
from tfvae.objectives import (
    ELBO,
    MMD,
    RBF,
    InfoVAE,
    InverseMultiquadratic,
    Linear,
    SlicedWasserstein,
)
from tfvae.objectives.matching import _seed_of, draws_and_prior_draws

tfd = tfp.distributions


def shifted(shift, batch, num_samples=1, size=3, seed=(1, 2)):
    """Returns terms whose draws are as if from q(z) = N(shift, I)."""
    q_z = tfd.MultivariateNormalDiag(tf.fill([batch, size], shift), tf.ones([batch, size]))
    z, log_q_z = q_z.experimental_sample_and_log_prob(num_samples, seed=seed)
    p_z = standard_normal(size)
    return make_terms(num_samples, batch=batch)._replace(
        z=z, q_z=q_z, p_z=p_z, log_q_z=log_q_z, log_p_z=p_z.log_prob(z), kl=None
    )


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_mmd_is_unbiased(shift):
    """E k between Gaussians of unit variance whose means differ by m, for an RBF of variance h."""
    h, size = 2.0, 3

    def expected_kernel(m):
        return (h / (h + 2.0)) ** (size / 2) * np.exp(-size * m**2 / (2 * (h + 2.0)))

    exact = 2.0 * expected_kernel(0.0) - 2.0 * expected_kernel(shift)
    estimate = tf.function(
        lambda seed, step: (
            -tf.reduce_mean(
                MMD(RBF(np.sqrt(h)), num_samples=2)(shifted(shift, 6, 2, seed=seed), step)
            )
        )
    )
    values = [float(estimate(tf.constant([0, i]), tf.constant(i))) for i in range(1500)]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values) - exact) < 5 * error
    assert (exact == 0.0) == (shift == 0.0)
    assert min(values) < 0.0  # unbiased, and so not always positive


@pytest.mark.slow
def test_mmd_is_unbiased_where_the_prior_depends_on_a_context():
    """q(z|x, c) = p(z|c) = N(c, 1), c ~ N(0, 9): below zero by 0.7 / B, were all pairs taken."""
    mmd = MMD(RBF(1.0))

    @tf.function
    def estimate(seed):
        c = 3.0 * tf.random.stateless_normal([4, 1], seed)
        p_z = tfd.MultivariateNormalDiag(c, tf.ones([4, 1]))
        z = p_z.sample(1, seed=fold_in(seed, 1))
        terms = make_terms(1, batch=4)._replace(z=z, q_z=p_z, p_z=p_z)
        return -tf.reduce_mean(mmd(terms, seed[1]))

    values = [float(estimate(tf.constant([0, i]))) for i in range(1000)]
    assert abs(np.mean(values)) < 5 * np.std(values) / np.sqrt(len(values)) < 0.1


def test_mmd_by_hand():
    terms = shifted(0.5, 4)
    objective = MMD(InverseMultiquadratic(1.5))
    bound = objective(terms, 3).numpy()
    assert bound.shape == (4,)
    z, y = (part[0].numpy() for part in draws_and_prior_draws(terms, _seed_of(0, 3)))
    np.testing.assert_array_equal(z, terms.z[0])
    k = lambda a, b: 1 / (1 + np.sum((a - b) ** 2) / 4.5)  # noqa: E731
    pairs = [(i, j) for i in range(4) for j in range(4)]
    within = sum(k(z[i], z[j]) + k(y[i], y[j]) for i, j in pairs if i != j) / 12
    across = sum(k(z[i], y[j]) for i, j in pairs) / 16
    assert bound.mean() == pytest.approx(2 * across - within, rel=1e-4)


def test_noise_is_a_function_of_seed_and_step():
    terms = shifted(0.5, 8)
    for make in (lambda seed: MMD(seed=seed), lambda seed: SlicedWasserstein(5, seed=seed)):
        first = make(0)(terms, 1)
        np.testing.assert_array_equal(first, make(0)(terms, tf.constant(1, tf.int64)))
        assert np.all(first != make(0)(terms, 2))
        assert np.all(first != make(1)(terms, 1))


@pytest.mark.slow
def test_sliced_wasserstein_of_a_shift():
    """A shift by m moves each projection by u . m: on average over u, |m|**2 / K."""
    near, far = (shifted(shift, 4000) for shift in (0.0, 2.0))
    objective = SlicedWasserstein(400)
    zero, distance = -objective(near).numpy(), -objective(far).numpy()
    assert distance.shape == (4000,)
    assert np.all(distance == distance[0])
    assert 0.0 < zero[0] < 0.02
    # (u . m)**2 / |m|**2 is a Beta variable of mean 1/3 and variance 4/45.
    error = 12.0 * np.sqrt(4 / 45 / 400)
    assert abs(distance[0] - 4.0) < 5 * error


def test_info_vae():
    terms = shifted(0.5, 6)
    np.testing.assert_allclose(InfoVAE(0.0, 1.0)(terms), ELBO()(terms), rtol=1e-5)
    penalty = MMD(RBF())(terms, 2)
    for alpha, lambda_ in ((1.0, 10.0), (0.5, 10.0), (-2.0, 4.0)):
        bound = InfoVAE(alpha, lambda_, kernel=RBF())(terms, 2)
        expected = -terms.distortion - (1 - alpha) * terms.rate + (alpha + lambda_ - 1) * penalty
        np.testing.assert_allclose(bound, expected, rtol=1e-5)


def test_gradients_pull_draws_towards_the_prior():
    for objective in (MMD(), MMD(RBF(3.0)), SlicedWasserstein(20)):
        shift = tf.constant(0.8)
        with tf.GradientTape() as tape:
            tape.watch(shift)
            bound = tf.reduce_mean(objective(shifted(shift, 64)))
        assert float(tape.gradient(bound, shift)) < -0.01


@pytest.mark.parametrize(
    "objective",
    [
        MMD(RBF(2.0), seed=3),
        InfoVAE(0.5, 10.0, InverseMultiquadratic()),
        SlicedWasserstein(7, num_samples=2),
        ELBO(beta=0.0) + Linear(0.0, 10.0, steps=5) * MMD(),
    ],
)
def test_config_round_trip(objective):
    stored = keras.saving.serialize_keras_object(objective)
    assert keras.saving.deserialize_keras_object(stored) == objective


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: MMD("rbf"), TypeError, r"such as `RBF\(\)` or.*Received: kernel='rbf'"),
        (lambda: MMD(num_samples=0), ValueError, "num_samples=0"),
        (lambda: InfoVAE(kernel=None), TypeError, "Received: kernel=None"),
        (lambda: InfoVAE(alpha=2.0), ValueError, "must be >= 0. Received: alpha=2.0, lambda_=100"),
        (lambda: InfoVAE(0.0, 0.5), ValueError, "Received: alpha=0.0, lambda_=0.5"),
        (lambda: InfoVAE("a"), ValueError, "`alpha` must be a finite number. Received: alpha='a'"),
        (lambda: SlicedWasserstein(0), ValueError, "`num_projections` must.*num_projections=0"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_draws_of_the_prior_are_not_those_of_z_where_seeds_are_equal():
    """Where q(z|x) = p(z) the estimate is zero in the mean, in `evaluate` too, from update 0 on."""
    start = keras.initializers.Constant([0.0, 0.0, 0.5413, 0.5413])
    q = tfvae.layers.MultivariateNormalDiag(2)
    dense = keras.layers.Dense(4, kernel_initializer="zeros", bias_initializer=start)
    vae = tfvae.VAE(keras.Sequential([keras.Input((2,)), dense, q]), mlp_decoder(2), seed=0)
    found = []
    for seed in range(16):
        vae.seed = seed
        vae.compile("sgd", MMD(seed=seed), run_eagerly=True)
        x = np.ones((16, 2), "float32")
        found.append(vae.evaluate(x, batch_size=16, verbose=0, return_dict=True)["loss"])
    assert abs(np.mean(found)) < 4.0 * np.std(found) / 4.0


@pytest.mark.parametrize("objective", [MMD(), InfoVAE(), SlicedWasserstein()])
def test_models_without_latents_are_refused(objective):
    density = tfvae.DensityModel(tfvae.priors.GaussianMixture(2, 3), seed=0)
    for given in (objective, ELBO() + 0.5 * objective):
        with pytest.raises(ValueError, match="a model without latents, which has neither"):
            density.compile("sgd", given)
