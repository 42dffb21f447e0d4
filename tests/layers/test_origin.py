"""Distributions remember the parameters that they were made of."""

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tests.conftest import mlp_encoder
from tfvae.layers.origin import origin_of


def test_makes_the_same_again_and_others():
    encoder, x = mlp_encoder(), np.ones([3, 6], "float32")
    q = encoder(x)
    origin = origin_of(q)
    np.testing.assert_array_equal(origin.make(origin.params).mean(), q.mean())
    hidden = keras.Model(encoder.inputs[0], encoder.layers[-2].output)
    np.testing.assert_array_equal(origin.params, hidden(x))
    with tf.GradientTape() as tape:
        params = origin_of(encoder(x)).params
        loss = tf.reduce_sum(origin.make(params).log_prob(tf.zeros([3, 2])))
    assert all(g is not None for g in tape.gradient(loss, encoder.trainable_weights))


def test_of_a_function_too_but_not_of_any_distribution():
    layer = tfvae.layers.DistributionLambda(lambda t: tfp.distributions.Normal(t, 1.0))
    q = layer(tf.ones([2, 1]))
    np.testing.assert_array_equal(origin_of(q).make(tf.zeros([2, 1])).mean(), np.zeros([2, 1]))
    assert origin_of(tfp.distributions.Normal(0.0, 1.0)) is None
