"""What is known in some examples: point masses there, and the distribution elsewhere."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.distributions import Labelled
from tfvae.distributions.finite import num_states, weighted_states
from tfvae.distributions.statistics import probabilities
from tfvae.layers import IndependentCategorical, MultivariateNormalDiag, OneHotCategorical

tfd = tfp.distributions

NAN = float("nan")


@pytest.mark.parametrize(
    ("layer", "value"),
    [
        (MultivariateNormalDiag(2), [[1.0, -2.0], [NAN, NAN], [0.5, 0.5]]),
        (OneHotCategorical(3), [[0.0, 1.0, 0.0], [NAN, NAN, NAN], [1.0, 0.0, 0.0]]),
        (IndependentCategorical(2, levels=2), [[0.0, 1.0], [NAN, NAN], [1.0, 1.0]]),
    ],
    ids=["normal", "one-hot", "categorical"],
)
def test_mass_lies_on_what_is_known(layer, value):
    params = tf.Variable(np.random.default_rng(0).normal(size=(3, 4)), dtype=tf.float32)
    if isinstance(layer, OneHotCategorical):
        params = tf.Variable(params[:, :3])
    with tf.GradientTape() as tape:
        q = layer(params)
        labelled = Labelled(q, value)
        log_q = labelled.log_prob_of_known()
    np.testing.assert_array_equal(labelled.known, [True, False, True])
    draws = labelled.sample(50, seed=[0, 1])
    np.testing.assert_array_equal(draws[:, 0], np.tile(value[0], (50, 1)))
    assert np.isfinite(draws).all()
    densities = labelled.log_prob(draws)
    np.testing.assert_array_equal(densities[:, 0], 0.0)
    np.testing.assert_allclose(densities[:, 1], q.log_prob(draws)[:, 1], rtol=1e-5)
    other = tf.roll(tf.constant(value), 2, axis=0)  # what row 2 knows at row 1, and so on
    other = tf.where(tf.math.is_nan(other), tf.cast(draws[0], other.dtype), other)
    elsewhere = labelled.log_prob(other)
    assert elsewhere[2] == -np.inf
    np.testing.assert_allclose(elsewhere[1], q.log_prob(other)[1], rtol=1e-5)

    expected = q.log_prob(tf.where(np.isnan(value), tf.cast(draws[0], tf.float32), value))
    np.testing.assert_allclose(log_q, np.where(labelled.known, expected, 0.0), rtol=1e-5)
    gradient = tape.gradient(log_q, params)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[1], 0.0)
    assert np.any(gradient[0] != 0.0)
    np.testing.assert_array_equal(labelled.centre()[0], value[0])
    assert np.isfinite(labelled.centre()).all()


def test_states_of_what_is_known_share_its_weight():
    logits = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    q = tfd.Independent(tfd.Categorical(logits[:, None], dtype=tf.float32), 1)
    states = weighted_states(Labelled(q, [[2.0], [NAN], [0.0]]))
    plain = weighted_states(q)
    assert num_states(Labelled(q, [[NAN]] * 3)) == 4
    np.testing.assert_array_equal(plain.z[:, 0, 0], [0, 1, 2, 3])
    np.testing.assert_allclose(tf.reduce_sum(tf.exp(plain.log_weight), axis=0), 1.0, rtol=1e-6)
    for part in ("z", "log_prob", "log_weight"):
        np.testing.assert_array_equal(getattr(states, part)[:, 1], getattr(plain, part)[:, 1])
    np.testing.assert_array_equal(states.z[:, 0, 0], 2.0)
    np.testing.assert_array_equal(states.log_prob[:, 0], 0.0)
    # An expectation over the states is the value at what is known.
    found = tf.reduce_sum(tf.exp(states.log_weight) * states.z[..., 0], axis=0)
    np.testing.assert_allclose(found[0], 2.0, rtol=1e-6)


def test_one_distribution_for_all_rows_has_probabilities_in_each():
    q = Labelled(tfd.Categorical(probs=[0.2, 0.3, 0.5], dtype=tf.float32), [0.0, NAN, 2.0])
    expected = [[1.0, 0.0, 0.0], [0.2, 0.3, 0.5], [0.0, 0.0, 1.0]]
    np.testing.assert_allclose(probabilities(q), expected, rtol=1e-6)
