"""What maximisers find is where the expected log-likelihood has no slope."""

import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tfvae import layers
from tfvae.learning.closed_forms import maximiser_of, sufficient_statistics

NUM, COMPONENTS = 40, 2
RNG = np.random.default_rng(0)
FAMILIES = {
    "bernoulli": (layers.IndependentBernoulli((2, 2)), RNG.integers(0, 2, (NUM, 2, 2))),
    "categorical": (layers.IndependentCategorical(2, 3), RNG.integers(0, 3, (NUM, 2))),
    "normal": (layers.IndependentNormal(3, min_scale=0.1), RNG.normal(size=(NUM, 3))),
    "poisson": (layers.IndependentPoisson(2), RNG.poisson([1, 5], (NUM, 2))),
    "diagonal": (layers.MultivariateNormalDiag(2), RNG.normal(2.0, 3.0, (NUM, 2))),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_expected_log_likelihood_has_no_slope(name):
    layer, x = FAMILIES[name]
    x = tf.constant(x, tf.float32)
    r = tf.nn.softmax(tf.constant(RNG.normal(size=(NUM, COMPONENTS)), tf.float64))
    totals = {key: value.numpy() for key, value in sufficient_statistics(layer, r, x).items()}
    maximise = maximiser_of(layer)
    params = tf.constant(maximise(layer, totals), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(params)
        log_p = layer(params).log_prob(x[:, None])  # [B, K]
        expected = tf.reduce_mean(tf.cast(r, tf.float32) * log_p)
    np.testing.assert_allclose(tape.gradient(expected, params), np.zeros(params.shape), atol=1e-5)
    # And it is a maximum: everything beside it is worse.
    for _ in range(3):
        other = layer(params + RNG.normal(0.0, 0.1, params.shape)).log_prob(x[:, None])
        assert tf.reduce_mean(tf.cast(r, tf.float32) * other) < expected


def test_families_without_a_closed_form_have_none():
    assert maximiser_of(layers.IndependentLaplace(2)) is None
    # A subclass may read its parameters otherwise.
    subclass = type("Own", (tfvae.layers.IndependentNormal,), {})
    assert maximiser_of(subclass(2)) is None
