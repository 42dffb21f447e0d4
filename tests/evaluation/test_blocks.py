"""How many draws fit into a budget: counted in a traced pass."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests import analytic
from tests.conftest import binary_data, mlp_decoder, mlp_encoder, mlp_vae
from tfvae.evaluation.blocks import Blocks, bytes_per_draw, check_memory


def test_counts_what_grows_with_the_draws_and_nothing_else():
    weights = tf.Variable(tf.ones([3, 50]))

    def score(num_samples, x):
        z = tf.random.stateless_normal([num_samples, 1, 3], [0, 0])
        hidden = tf.reshape(z, [-1, 3]) @ weights  # 50 numbers, and no weights
        return tf.cast(hidden, tf.float64) + tf.reduce_sum(tf.cast(x, tf.float64))

    # Normal numbers are made by an operation, times a scale, plus a mean.
    each, found = bytes_per_draw(score, x=tf.TensorSpec([1, 7]))
    assert 3 * 4 + 50 * 4 + 2 * 50 * 8 <= each <= 3 * 3 * 4 + 50 * 4 + 2 * 50 * 8
    assert found.dtype == tf.float64


def test_counts_what_has_no_size_before_it_runs():
    def score(num_samples, x):
        drawn = tf.numpy_function(lambda n: np.ones([n, 5], "float32"), [num_samples], tf.float32)
        return tf.ensure_shape(drawn, [None, 5]) + x

    assert bytes_per_draw(score, x=tf.TensorSpec([1, 5]))[0] >= 2 * 5 * 4


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan"), "1 GiB", None])
def test_budgets_are_positive_numbers(budget):
    with pytest.raises(
        ValueError, match=r"`memory_gib` must be a number > 0. Received: memory_gib="
    ):
        check_memory(budget)


def test_a_pass_is_as_large_as_memory_allows():
    gib = 2**30
    assert Blocks.within(1.0, 0, 100) == (100, 50)  # of which nothing is known to grow
    assert Blocks.within(1.0, gib // 1000, 100) == (100, 10)
    assert Blocks.within(0.5, gib // 1000, 100) == (100, 5)
    assert Blocks.within(1.0, gib // 30, 100) == (30, 1)
    assert Blocks.within(1.0, 3 * gib, 100) == (1, 1)  # less than one draw of one point is nothing


@pytest.mark.slow
@pytest.mark.exhaustive
def test_budgets_do_not_change_what_is_estimated():
    """Down to one draw of one point at a time."""
    model = analytic.LinearGaussian.with_exact_posterior()
    x, vae = model.draw(5), model.vae()
    for budget in (1e-9, 3e-6, 1.0):
        found = tfvae.log_likelihood(vae, x, 9, batch_size=3, memory_gib=budget, verbose=False)
        np.testing.assert_allclose(found.per_point, model.log_p_x(x), atol=2e-5)
    # Draws that say something each: one after the other, they are others.
    wide, data = mlp_vae(), binary_data(7)
    small, large = (
        tfvae.log_likelihood(wide, data, 4000, batch_size=4, memory_gib=g, verbose=False)
        for g in (3e-5, 1.0)
    )
    assert not np.array_equal(small.per_point, large.per_point)
    error = np.hypot(small.per_point_standard_error, large.per_point_standard_error)
    assert np.max(np.abs(small.per_point - large.per_point) / error) < 5
    ledger = tfvae.decompose(wide, data, evidence_samples=4000, memory_gib=1e-5, verbose=False)
    error = np.hypot(ledger.log_p_x.per_point_standard_error, large.per_point_standard_error)
    assert np.max(np.abs(ledger.log_p_x.per_point - large.per_point) / error) < 5


@pytest.mark.slow
def test_wide_decoders_get_smaller_blocks():
    """A decoder of 300,000 numbers: 5,000 draws would be 6 GB and more."""
    wide = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(300_000), keras.layers.Dense(6, use_bias=False)]
    )
    decoder = keras.Sequential([wide, tfvae.layers.IndependentBernoulli(6)])
    vae = tfvae.VAE(mlp_encoder(), decoder, seed=0)
    tfvae.log_likelihood(vae, binary_data(10), 9, memory_gib=0.25, verbose=False)
    ((_, block, _),) = (key for key in vae.functions._made if key[0] == "evidence")
    # Matrix product and bias: 2.4 MB of one draw, of ten points.
    assert 1 <= block <= 0.25 * 2**30 / (2 * 300_000 * 4 * 10)
    narrow = tfvae.VAE(mlp_encoder(), mlp_decoder(), seed=0)
    tfvae.log_likelihood(narrow, binary_data(10), 9, memory_gib=0.25, verbose=False)
    assert ("evidence", 500, tfvae.evaluation.Encoder()) in narrow.functions._made
