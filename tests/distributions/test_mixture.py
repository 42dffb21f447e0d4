"""Mixtures whose draws work out their gradients on demand."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae import layers
from tfvae.distributions.mixture import ReparameterizedMixture

tfd = tfp.distributions


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.xla
@pytest.mark.parametrize("layer", [layers.MixtureNormal(4, 3), layers.MixtureLogistic(4)])
def test_draws_and_gradients_are_those_of_tfp(layer):
    size = layer.params_size(4, layer.event_shape)
    params = tf.constant(np.random.default_rng(0).normal(size=(5, size)), tf.float32)

    def draw_and_gradient(params, make):
        with tf.GradientTape() as tape:
            tape.watch(params)
            x = make(layer(params)).sample(3, seed=[1, 2])
            loss = tf.reduce_sum(tf.square(x))
        return x, tape.gradient(loss, params)

    def as_tfp(p):
        assert isinstance(p, ReparameterizedMixture)
        return tfd.MixtureSameFamily(
            p.mixture_distribution, p.components_distribution, reparameterize=True
        )

    for compiled in (None, True):  # XLA draws other numbers, from the same seed for both

        @tf.function(autograph=False, jit_compile=compiled)
        def both(params):
            return draw_and_gradient(params, lambda p: p), draw_and_gradient(params, as_tfp)

        (x, gradient), (expected_x, expected) = both(params)
        np.testing.assert_array_equal(x, expected_x)
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-4)
        assert np.count_nonzero(expected) > expected.shape.num_elements() / 2


def test_a_draw_holds_no_jacobian():
    layer = layers.MixtureNormal(4, 30)
    params = tf.zeros([5, layer.params_size(4, 30)])
    draw = tf.function(lambda p: layer(p).sample(seed=[1, 2]), autograph=False)
    operations = draw.get_concrete_function(params).graph.get_operations()
    assert not any("Jacobian" in op.name or "TriangularSolve" in op.type for op in operations)
