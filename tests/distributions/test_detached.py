"""Densities with constant parameters: the same value, and the gradient in the point alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tests.conftest import real_data
from tfvae.distributions.detached import detached_log_prob

tfd, tfb = tfp.distributions, tfp.bijectors
layers, flows = tfvae.layers, tfvae.flows


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (layers.MultivariateNormalDiag(2), 4),
        (layers.MultivariateNormalTriL(2), 5),
        (layers.IndependentBeta(2), 4),
        (layers.PowerSpherical(2), 3),
        (layers.MixtureNormal(2, 2), 10),
        (layers.OneHotCategorical(2), 2),
        (layers.TransformedDistribution(layers.MultivariateNormalDiag(2), flows.RealNVP()), 4),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_value_stays_and_parameters_get_no_gradient(layer, size):
    params = tf.constant(real_data(5, (size,)))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(params)
        q = layer(params)
        z = tf.stop_gradient(q.sample(3, seed=[1, 2]))
        tape.watch(z)
        log_q, plain = detached_log_prob(q, z), q.log_prob(z)
    np.testing.assert_allclose(log_q, plain, rtol=1e-6)
    assert tape.gradient(log_q, params) is None
    assert np.any(tape.gradient(plain, params) != 0.0)
    expected = tape.gradient(plain, z)
    if expected is not None:
        np.testing.assert_allclose(tape.gradient(log_q, z), expected, rtol=1e-6)


class Opaque(tfd.Distribution):
    """A distribution that is no composite tensor."""

    def __init__(self):
        super().__init__(tf.float32, tfd.FULLY_REPARAMETERIZED, False, True)

    def _log_prob(self, value):
        return -value


def hiding_weights():
    """Returns a distribution that reads the weights of a network as it scores."""
    dense = keras.layers.Dense(1)
    dense.build((None, 1))
    shift = tfb.Inline(
        forward_fn=lambda x: x + tf.reduce_sum(dense.kernel),
        inverse_fn=lambda y: y - tf.reduce_sum(dense.kernel),
        forward_log_det_jacobian_fn=lambda x: tf.zeros_like(x),
        inverse_log_det_jacobian_fn=lambda y: tf.zeros_like(y),
        forward_min_event_ndims=0,
    )
    return tfd.TransformedDistribution(tfd.Normal(0.0, 1.0), shift)


def test_distributions_that_hide_parameters_are_refused():
    with pytest.raises(TypeError, match="Received: Opaque, no composite tensor"):
        detached_log_prob(Opaque(), tf.constant(0.0))
    with pytest.raises(TypeError, match=r"Received: TransformedDistribution, .*Reparameterised"):
        detached_log_prob(hiding_weights(), tf.constant(0.0))
