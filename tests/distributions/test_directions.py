"""Directions at any concentration: as TFP has them, with gradients where TFP has none."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.distributions.directions import SmoothPowerSpherical, SmoothVonMisesFisher

tfd = tfp.distributions
PAIRS = [
    (SmoothPowerSpherical, tfd.PowerSpherical),
    (SmoothVonMisesFisher, tfd.VonMisesFisher),
]


@pytest.mark.parametrize("concentration", [1e-3, 5.0, 1e6])
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize(("ours", "plain"), PAIRS, ids=["power", "vonMises"])
def test_draws_have_the_mean_and_density_of_tfp(ours, plain, size, concentration):
    # TFP reflects its draws, and has no reflection where the mean is the first axis.
    direction = np.eye(size, dtype="float32")[0]
    p, q = ours(direction, concentration), plain(direction, concentration)
    x = p.sample(4000, seed=[1, 2])
    np.testing.assert_allclose(tf.norm(x, axis=-1), np.ones(4000), rtol=1e-6)
    inside = x[:, 0] > -0.999
    np.testing.assert_allclose(p.log_prob(x)[inside], q.log_prob(x)[inside], rtol=1e-5, atol=1e-5)
    x = np.asarray(x, "float64")
    error = np.std(x, axis=0) / np.sqrt(4000)
    assert np.all(np.abs(np.mean(x, axis=0) - q.mean()) <= 5 * error + 1e-6)


@pytest.mark.slow
def test_draws_carry_the_gradient_of_the_mean():
    """E x = A(k) mu, so that dE[x . mu]/dk = A'(k): coth(k) - 1 / k in three dimensions."""
    k, num = 3.0, 20_000
    for cls, slope in [
        (SmoothVonMisesFisher, 1 / k**2 - 1 / np.sinh(k) ** 2),
        (SmoothPowerSpherical, 2 / (k + 2) ** 2),  # A(k) = k / (k + 2)
    ]:
        concentration = tf.fill([num], k)
        with tf.GradientTape() as tape:
            tape.watch(concentration)
            x = cls(tf.constant([[0.6, 0.0, 0.8]]), concentration).sample(seed=[1, 2])
            along = tf.linalg.matvec(x, [0.6, 0.0, 0.8])
        slopes = tape.gradient(along, concentration).numpy()
        assert abs(slopes.mean() - slope) <= 5 * slopes.std() / np.sqrt(num)
