"""What is said of a point is what its posterior and its likelihood say."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import binary_data, mlp_decoder, mlp_vae
from tests.kinds import BITS, ONE_HOT, network, pixels, semi_supervised
from tfvae.graph.description import describe, describe_posterior


def test_one_z_is_described_as_one():
    vae, x = mlp_vae(), binary_data(4)
    q_z = vae.encode(x)
    found = describe(vae, {"x": x})
    assert set(found) == {"z_mean", "z_stddev", "reconstruction"}
    np.testing.assert_allclose(found["z_mean"], q_z.mean())
    np.testing.assert_allclose(found["z_stddev"], q_z.stddev())
    np.testing.assert_allclose(found["reconstruction"], vae.decode(q_z.mean()).mean(), rtol=1e-6)
    posterior = describe_posterior(vae, q_z)
    assert {name: value.shape for name, value in posterior.items()} == {
        "z_mean": (4, 2),
        "z_stddev": (4, 2),
    }


def test_nodes_told_apart_are_described_given_the_centres_of_those_above():
    model, data = semi_supervised()
    batch = model.data.as_batch(model.data.named(data))
    found = describe(model, batch)
    assert set(found) == {"y_mean", "z_mean", "z_stddev", "reconstruction"}
    known = data["y"] >= 0
    np.testing.assert_array_equal(found["y_mean"][known], np.eye(3)[data["y"][known]])
    q_y, q_z = model.posterior_networks
    np.testing.assert_allclose(found["y_mean"][~known], q_y([BITS[~known]]).mean(), rtol=1e-5)
    given = q_z([tf.constant(BITS), found["y_mean"]])
    np.testing.assert_allclose(found["z_mean"], given.mean(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["z_stddev"], given.stddev(), rtol=1e-5)


@pytest.mark.parametrize("directed", [False, True])
def test_what_a_context_says_of_x_is_described_without_latents(directed):
    of_context = network(pixels(), context=(3,))
    model = (
        tfvae.DirectedModel({"x": of_context}) if directed else tfvae.ConditionalModel(of_context)
    )
    found = describe(model, {"x": BITS, "context": ONE_HOT})
    p_x = of_context([ONE_HOT])
    assert set(found) == {"log_prob", "mean", "stddev"}
    np.testing.assert_allclose(found["log_prob"], p_x.log_prob(BITS), rtol=1e-5)
    np.testing.assert_allclose(found["mean"], p_x.mean(), rtol=1e-5)
    np.testing.assert_allclose(found["stddev"], p_x.stddev(), rtol=1e-5)


def test_a_density_says_how_probable_points_are():
    prior = tfvae.priors.GaussianMixture(2, 6)
    model = tfvae.DensityModel(prior)
    found = describe(model, {"x": BITS})
    assert set(found) == {"log_prob"}
    np.testing.assert_allclose(found["log_prob"], prior.distribution().log_prob(BITS), rtol=1e-5)


def test_of_categories_probabilities_are_told_and_no_deviation_of_their_numbers():
    layer = tfvae.layers.IndependentCategorical(3, 4)
    encoder = keras.Sequential([keras.Input((6,)), keras.layers.Dense(12), layer])
    vae = tfvae.VAE(encoder, mlp_decoder(6, 3), tfvae.priors.Categorical(4))
    found = describe(vae, {"x": BITS})
    probs = tf.nn.softmax(tf.reshape(encoder.layers[0](BITS), [-1, 3, 4]))
    assert set(found) == {"z_mean", "z_probs", "reconstruction"}
    np.testing.assert_allclose(found["z_probs"], probs, rtol=1e-5)
    np.testing.assert_array_equal(found["z_mean"], np.argmax(probs, -1))
