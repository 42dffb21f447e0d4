"""Chains between two Gaussians, whose weights have a known mean in both directions."""

import math

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.evaluation.chains import Chains, adapted_steps, annealed
from tfvae.evaluation.paths import Path, temperatures

tfd = tfp.distributions
NUM = 50
LOG_MASS = math.log(7.0)


def chains(number, seed, points=None):
    points = tf.range(NUM) if points is None else tf.constant(points)
    return Chains(tf.range(number), points, tf.constant([0, seed]))


def found_steps(path, betas, num_leapfrog_steps):
    def find():
        return adapted_steps(path, chains(4, 1), betas, num_leapfrog_steps)

    return tf.function(find, autograph=False)()


def weights(*args, **kwargs):
    return tf.function(lambda: annealed(*args, **kwargs), autograph=False)()


def path_to(start, log_ratio):
    return Path(start, log_ratio, lambda seed: start.sample(NUM, seed=seed), tf.constant(NUM))


def gaussians(scale):
    """A path to seven times a Gaussian of another centre and width, in two dimensions."""
    start = tfd.MultivariateNormalDiag(tf.zeros([2]), tf.ones([2]))
    end = tfd.MultivariateNormalDiag([0.5, -1.0], [scale, 0.7])
    return path_to(start, lambda z: end.log_prob(z) + LOG_MASS - start.log_prob(z)), end


@pytest.mark.slow
@pytest.mark.parametrize("backwards", [False, True])
def test_mean_weight_is_the_ratio_of_the_masses(backwards):
    path, end = gaussians(0.5)
    betas = tf.constant(temperatures(6))
    steps = found_steps(path, betas, 3)
    crew = chains(400, 3)
    first = end.sample([400, NUM], seed=(0, 2)) if backwards else crew.at_start(path)
    log_w, _ = weights(path, crew, first, betas, steps, 3, backwards=backwards)
    ratios = np.exp(log_w.numpy().astype("float64") - LOG_MASS)
    ratios = 1.0 / ratios if backwards else ratios
    assert abs(ratios.mean() - 1.0) < 5 * ratios.std() / math.sqrt(ratios.size)
    # Jensen, on both sides.
    assert (np.mean(log_w) > LOG_MASS) == backwards


@pytest.mark.slow
def test_a_path_that_goes_nowhere_has_one_weight():
    start = tfd.MultivariateNormalDiag(tf.zeros([2]), tf.ones([2]))
    path, crew = path_to(start, lambda z: tf.fill(tf.shape(z)[:2], 3.0)), chains(4, 1)
    betas = tf.constant(temperatures(9))
    steps, z = tf.ones([9, NUM]), crew.at_start(path)
    for backwards in (False, True):
        log_w, accepted = weights(path, crew, z, betas, steps, 2, backwards=backwards)
        np.testing.assert_allclose(log_w, 3.0, rtol=1e-6)
        assert np.all(np.mean(accepted, axis=0) < 1.0)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize(("number", "scale"), [(2, 1.0), (40, 0.02)])
def test_steps_find_the_width_of_each_density(number, scale):
    path, _ = gaussians(scale)
    betas = tf.constant(temperatures(number))
    steps = found_steps(path, betas, 4)
    assert steps.shape == (number, NUM)
    crew = chains(20, 2)
    _, accepted = weights(path, crew, crew.at_start(path), betas, steps, 4)
    assert abs(np.mean(accepted) - 0.65) < 0.1
    if scale < 1.0:
        assert np.all(steps[-1] < 0.1 * steps[1])


@pytest.mark.slow
@pytest.mark.exhaustive
def test_one_temperature_moves_nothing():
    path, _ = gaussians(0.5)
    betas = tf.constant(temperatures(1))
    steps = found_steps(path, betas, 3)
    crew = chains(5, 2)
    z = crew.at_start(path)
    log_w, accepted = weights(path, crew, z, betas, steps, 3)
    np.testing.assert_array_equal(log_w, path.log_ratio(z))
    assert np.all(np.isnan(accepted))


def test_no_move_goes_where_there_is_no_density():
    start = tfd.MultivariateNormalDiag(tf.zeros([1]), tf.ones([1]))
    half = lambda z: tf.where(z[..., 0] > 0.0, 0.0, -math.inf)  # noqa: E731
    path, crew = path_to(start, half), chains(40, 1)
    betas = tf.constant(temperatures(20))
    z = tf.abs(crew.at_start(path))
    log_w, accepted = weights(path, crew, z, betas, tf.ones([20, NUM]), 1, backwards=True)
    np.testing.assert_array_equal(log_w, 0.0)
    assert 0.2 < np.mean(accepted) < 0.9
