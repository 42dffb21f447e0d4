"""The kernel density estimate, against that of scikit-learn."""

import numpy as np
import pytest
import tensorflow as tf
from sklearn import neighbors

from tfvae.distributions import KernelDensity

RNG = np.random.default_rng(0)


@pytest.mark.slow
@pytest.mark.xla
def test_density_is_that_of_scikit_learn():
    points = RNG.normal(size=(200, 3)).astype("float32") + 5.0
    x = RNG.normal(size=(50, 3)).astype("float32") + 5.0
    for bandwidth in (0.05, 0.4, 2.0):
        # One leaf: the bounds of its trees lose tens of nats far from the data.
        other = neighbors.KernelDensity(bandwidth=bandwidth, leaf_size=1000)
        other.fit(points.astype("float64"))
        p = KernelDensity(points, bandwidth)
        expected = other.score_samples(x.astype("float64"))
        for call in (p.log_prob, tf.function(p.log_prob, jit_compile=True)):
            np.testing.assert_allclose(call(x), expected, rtol=1e-5)
    assert p.log_prob(x.reshape(5, 10, 3)).shape == (5, 10)
    assert (p.batch_shape, p.event_shape) == ((), (3,))


def test_images_and_scalars():
    images = RNG.uniform(size=(20, 4, 4, 1)).astype("float32")
    flat = KernelDensity(images.reshape(20, 16), 0.3).log_prob(images.reshape(20, 16))
    np.testing.assert_allclose(KernelDensity(images, 0.3).log_prob(images), flat, rtol=1e-6)
    grid = np.linspace(-8.0, 8.0, 4001)
    p = KernelDensity(RNG.normal(size=30), 0.2)
    assert np.sum(p.prob(grid)) * (grid[1] - grid[0]) == pytest.approx(1.0, abs=1e-6)
    assert p.event_shape == ()


def test_draws_have_the_moments_of_the_density():
    p = KernelDensity(RNG.normal(size=(30, 2)).astype("float32"), 0.7)
    draws = p.sample(40_000, seed=[1, 2]).numpy().astype("float64")
    error = draws.std(axis=0) / 200.0
    assert np.all(np.abs(draws.mean(axis=0) - p.mean()) <= 5 * error)
    squares = (draws - p.mean().numpy()) ** 2
    assert np.all(np.abs(squares.mean(axis=0) - p.variance()) <= 5 * squares.std(axis=0) / 200.0)


def test_bandwidth_is_the_best_on_validation_data():
    points, validation = RNG.normal(size=(300, 1)), RNG.normal(size=(450, 1))
    candidates = [0.01, 0.1, 0.3, 1.0, 3.0]
    p = KernelDensity.fit(points, validation, candidates)
    scores = [
        neighbors.KernelDensity(bandwidth=h, leaf_size=1000).fit(points).score(validation)
        for h in candidates
    ]
    assert float(p.bandwidth) == pytest.approx(candidates[int(np.argmax(scores))])
    # Silverman's rule for a Gaussian, 1.06 N**(-1/5), within a few steps of the default grid.
    chosen = float(KernelDensity.fit(points, validation).bandwidth)
    assert 0.5 < chosen / (1.06 * 300 ** (-0.2)) < 2.0


def test_double_precision_stays():
    points, validation = RNG.normal(size=(40, 2)), RNG.normal(size=(20, 2))
    p = KernelDensity.fit(points, validation, [0.3])
    other = neighbors.KernelDensity(bandwidth=0.3, leaf_size=1000).fit(points)
    assert p.dtype == p.points.dtype == p.log_prob(validation).dtype == "float64"
    assert KernelDensity.fit(points.astype("int32"), validation, [0.3]).dtype == "float32"
    np.testing.assert_allclose(p.log_prob(validation), other.score_samples(validation), rtol=1e-9)


def test_bad_arguments():
    for bandwidth in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=f"must be one number > 0.*bandwidth={bandwidth}"):
            KernelDensity(np.zeros([3, 2]), bandwidth)
    # As many points as dimensions: either could be meant.
    for bandwidth in ([1.0], [1.0, 2.0], np.ones([2, 2])):
        with pytest.raises(ValueError, match="must be one number > 0"):
            KernelDensity(np.zeros([2, 2]), bandwidth)
    with pytest.raises(ValueError, match=r"`points` must be data \[N, ...\] with N >= 1"):
        KernelDensity(np.zeros([0, 2]), 1.0)
    with pytest.raises(ValueError, match=r"Expected: \[M, 2\]. Received: \[4, 3\]"):
        KernelDensity.fit(np.zeros([3, 2]), np.zeros([4, 3]))
