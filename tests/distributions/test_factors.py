"""Which distributions factorise over the elements of their event."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tests.conftest import real_data
from tfvae.distributions.factors import as_factors

tfd = tfp.distributions


def test_elements_multiply_to_the_whole():
    loc = real_data(4, (2, 3))
    for whole in (
        tfd.MultivariateNormalDiag(loc[:, 0], 0.5 + loc[:, 1] ** 2),
        tfd.Independent(tfd.Laplace(loc, 0.5), 2),
        tfd.Independent(tfd.Independent(tfd.Normal(loc, 0.5), 1), 1),
        tfd.Normal(loc, 1.0),
    ):
        factors = as_factors(whole)
        assert factors.event_shape == ()
        assert factors.batch_shape == whole.batch_shape + whole.event_shape
        x = whole.sample(seed=[1, 2])
        axes = list(range(-len(whole.event_shape), 0))
        parts = tf.reduce_sum(factors.log_prob(x), axis=axes)
        np.testing.assert_allclose(parts, whole.log_prob(x), rtol=1e-5)


def test_what_does_not_factorise():
    eye = tf.eye(3)
    for whole in (
        tfd.MultivariateNormalTriL(tf.zeros(3), eye),
        tfd.OneHotCategorical(tf.zeros(3)),
        tfd.Independent(tfd.MultivariateNormalTriL(tf.zeros([2, 3]), eye), 1),
    ):
        assert as_factors(whole) is None
    diagonal = tfd.Independent(tfd.MultivariateNormalDiag(tf.zeros([2, 3]), tf.ones([2, 3])), 1)
    assert as_factors(diagonal).batch_shape == (2, 3)
