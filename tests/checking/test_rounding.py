"""Scores that 32 bits cannot hold apart are told as such, and no fault of distributions."""

import types

import keras
import numpy as np
import tensorflow as tf

import tfvae
from tests.conftest import mlp_decoder
from tfvae.checking.rounding import of_size

X = np.random.default_rng(0).normal(50, 20, (30, 6)).astype("float32")


def gaussian(scale, loc=1.0):
    """q(z|x) of so small a scale, far from zero."""
    layers = [keras.Input((6,)), keras.layers.Dense(4, kernel_initializer="ones")]
    q = keras.Sequential([*layers, tfvae.layers.MultivariateNormalDiag(2, min_scale=scale)])
    q.layers[0].set_weights([np.tile([[loc, loc, -1.0, -1.0]], [6, 1]), np.zeros(4)])
    return q


def decoder(loc=50.0, scale=20.0):
    """p(x|z) of one place and scale, nearly."""
    network = mlp_decoder(likelihood=tfvae.layers.IndependentNormal)
    dense = network.layers[0]
    dense.set_weights([1e-3 * dense.kernel.numpy(), np.repeat([loc, scale], 6)])
    return network


def faults(encoder, decoder):
    found = tfvae.check(tfvae.VAE(encoder, decoder, seed=0), X, verbose=False)
    return [f.found for f in found if f.level == "fault"]


def test_draws_far_from_zero():
    (found,) = faults(gaussian(1e-6), decoder())
    assert "Rounding spoils draws of q(z|x): their last digit moves scores by" in found
    assert faults(gaussian(0.1, 1e-3), decoder()) == []


def test_draws_of_flows_on_such():
    """Whose family tells neither place nor scale."""
    base = gaussian(1e-6)
    flow = tfvae.layers.TransformedDistribution(base.layers[-1], tfvae.flows.RealNVP(2, [4]))
    encoder = keras.Sequential([keras.Input((6,)), *base.layers[:-1], flow])
    (found,) = faults(encoder, decoder())
    assert "Rounding spoils draws of q(z|x)" in found


def test_scores_nats_apart():
    (found,) = faults(gaussian(0.1, 1e-3), decoder(1e6, 1e-2))
    assert found.startswith("Rounding spoils scores: those of ")


def test_scores_of_64_bits_are_as_close_as_these():
    found = {bits: tf.constant([2e9], f"float{bits}") for bits in (32, 64)}
    subject = types.SimpleNamespace(batch={"x": tf.zeros([1, 6])})
    said = {bits: of_size(subject, {"log p(x|z)": value}) for bits, value in found.items()}
    assert said[64] is None
    assert "2e+02 nats apart" in said[32].found
