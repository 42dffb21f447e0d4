"""Lists of all states."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae import layers
from tfvae.distributions.finite import all_states, num_states

tfd = tfp.distributions


@pytest.mark.parametrize(
    ("distribution", "number"),
    [
        (layers.IndependentCategorical(3, 4), 64),
        (layers.IndependentCategorical((2, 2), 2), 16),
        (layers.IndependentCategorical((), 5), 5),
        (layers.OneHotCategorical(4), 4),
        (layers.IndependentBernoulli(5), 32),
    ],
)
def test_states_are_all_and_each_once(distribution, number):
    size = distribution._params_size()
    params = np.random.default_rng(0).normal(size=(7, size)).astype("float32")
    q = distribution(params)
    states = all_states(q)
    assert num_states(q) == number
    assert states.shape == (number, *q.event_shape)
    assert states.dtype == q.dtype
    assert len(np.unique(states.numpy().reshape(number, -1), axis=0)) == number
    total = tf.reduce_sum(q.prob(states[:, None]), axis=0)
    np.testing.assert_allclose(total, np.ones(7), rtol=1e-5)


def test_several_one_hot_variables():
    q = tfd.Independent(tfd.OneHotCategorical(tf.zeros([7, 2, 3]), dtype=tf.float32), 1)
    states = all_states(q)
    assert states.shape == (9, 2, 3)
    np.testing.assert_allclose(tf.reduce_sum(q.prob(states[:, None]), axis=0), np.ones(7), 1e-5)


def test_infinitely_many_states_are_none():
    for q in (tfd.Normal(0.0, 1.0), tfd.Poisson(1.0)):
        assert num_states(q) is None
        with pytest.raises(ValueError, match="Only finitely many states can be listed"):
            all_states(q)
