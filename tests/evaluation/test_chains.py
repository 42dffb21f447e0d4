"""Chains between two Gaussians, whose weights have a known mean in both directions."""

import math

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.evaluation.chains import adapted_steps, annealed
from tfvae.evaluation.paths import Path, temperatures

tfd = tfp.distributions
NUM = 50
LOG_MASS = math.log(7.0)


def found_steps(path, betas, num_leapfrog_steps):
    def find():
        return adapted_steps(path, betas, num_leapfrog_steps, tf.constant([0, 1]))

    return tf.function(find, autograph=False)()


def weights(*args, **kwargs):
    return tf.function(lambda: annealed(*args, **kwargs), autograph=False)()


def gaussians(scale):
    """A path to seven times a Gaussian of another centre and width, in two dimensions."""
    start = tfd.MultivariateNormalDiag(tf.zeros([2]), tf.ones([2]))
    end = tfd.MultivariateNormalDiag([0.5, -1.0], [scale, 0.7])
    path = Path(start, lambda z: end.log_prob(z) + LOG_MASS - start.log_prob(z), tf.constant(NUM))
    return path, end


@pytest.mark.slow
@pytest.mark.parametrize("backwards", [False, True])
def test_mean_weight_is_the_ratio_of_the_masses(backwards):
    path, end = gaussians(0.5)
    betas = tf.constant(temperatures(6))
    steps = found_steps(path, betas, 3)
    first = (
        end.sample([400, NUM], seed=(0, 2)) if backwards else path.draw(400, tf.constant([0, 2]))
    )
    log_w, _ = weights(path, first, betas, steps, 3, tf.constant([0, 3]), backwards=backwards)
    ratios = np.exp(log_w.numpy().astype("float64") - LOG_MASS)
    ratios = 1.0 / ratios if backwards else ratios
    assert abs(ratios.mean() - 1.0) < 5 * ratios.std() / math.sqrt(ratios.size)
    # Jensen, on both sides.
    assert (np.mean(log_w) > LOG_MASS) == backwards


@pytest.mark.slow
def test_a_path_that_goes_nowhere_has_one_weight():
    start = tfd.MultivariateNormalDiag(tf.zeros([2]), tf.ones([2]))
    path = Path(start, lambda z: tf.fill(tf.shape(z)[:2], 3.0), tf.constant(NUM))
    betas = tf.constant(temperatures(9))
    steps = tf.ones([9, NUM])
    z = path.draw(4, tf.constant([0, 1]))
    for backwards in (False, True):
        log_w, accepted = weights(
            path, z, betas, steps, 2, tf.constant([0, 2]), backwards=backwards
        )
        np.testing.assert_allclose(log_w, 3.0, rtol=1e-6)
        assert np.all(accepted < 1.0)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize(("number", "scale"), [(2, 1.0), (40, 0.02)])
def test_steps_find_the_width_of_each_density(number, scale):
    path, _ = gaussians(scale)
    betas = tf.constant(temperatures(number))
    steps = found_steps(path, betas, 4)
    assert steps.shape == (number, NUM)
    z = path.draw(20, tf.constant([0, 2]))
    _, accepted = weights(path, z, betas, steps, 4, tf.constant([0, 3]))
    assert abs(np.mean(accepted) - 0.65) < 0.1
    if scale < 1.0:
        assert np.all(steps[-1] < 0.1 * steps[1])


@pytest.mark.slow
@pytest.mark.exhaustive
def test_one_temperature_moves_nothing():
    path, _ = gaussians(0.5)
    betas = tf.constant(temperatures(1))
    steps = found_steps(path, betas, 3)
    z = path.draw(5, tf.constant([0, 2]))
    log_w, accepted = weights(path, z, betas, steps, 3, tf.constant([0, 3]))
    np.testing.assert_array_equal(log_w, path.log_ratio(z))
    assert np.all(np.isnan(accepted))


def test_no_move_goes_where_there_is_no_density():
    start = tfd.MultivariateNormalDiag(tf.zeros([1]), tf.ones([1]))
    half = lambda z: tf.where(z[..., 0] > 0.0, 0.0, -math.inf)  # noqa: E731
    path = Path(start, half, tf.constant(NUM))
    betas = tf.constant(temperatures(20))
    z = tf.abs(path.draw(40, tf.constant([0, 1])))
    log_w, accepted = weights(
        path, z, betas, tf.ones([20, NUM]), 1, tf.constant([0, 2]), backwards=True
    )
    np.testing.assert_array_equal(log_w, 0.0)
    assert 0.2 < np.mean(accepted) < 0.9
