"""Latents of few states: everything is a sum, and nothing is drawn."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import assert_trains_under_xla, binary_data, mlp_decoder
from tfvae import layers, priors


def encoder(head, params):
    return keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(5, "tanh"), keras.layers.Dense(params), head]
    )


MODELS = {
    "one-hot": lambda **kwargs: tfvae.VAE(
        encoder(layers.OneHotCategorical(4), 4),
        mlp_decoder(latents=4),
        priors.OneHot(),
        seed=0,
        **kwargs,
    ),
    "two categorical": lambda **kwargs: tfvae.VAE(
        encoder(layers.IndependentCategorical(2, 3), 6),
        mlp_decoder(latents=2),
        priors.Categorical(3),
        seed=0,
        **kwargs,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_bound_evidence_and_ledger_are_exact(name):
    vae, x = MODELS[name](), binary_data(24)
    p_z, q_z = vae.prior_distribution(), vae.encode(x)
    states = np.eye(4) if name == "one-hot" else list(itertools.product(range(3), repeat=2))
    states = tf.constant(states, tf.float32)
    each = vae.decode(states).log_prob(x[:, None]).numpy().astype("float64")  # [B, S]
    log_joint = each.T + p_z.log_prob(states).numpy().astype("float64")[:, None]  # [S, B]
    log_p_x = np.logaddexp.reduce(log_joint, axis=0)
    log_q = q_z.log_prob(states[:, None]).numpy().astype("float64")
    elbo = np.sum(np.exp(log_q) * (log_joint - log_q), axis=0)

    terms = vae.terms(x)
    np.testing.assert_allclose(terms.elbo, elbo, rtol=1e-5)
    np.testing.assert_allclose(terms.sampled_rate, terms.kl, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(terms.log_expect(terms.log_w), log_p_x, rtol=1e-5)
    np.testing.assert_array_equal(vae.terms(x).log_w, terms.log_w)  # nothing is drawn

    evidence = tfvae.log_likelihood(vae, x, verbose=False)
    np.testing.assert_allclose(evidence.per_point, log_p_x, rtol=1e-5)
    assert np.all(evidence.per_point_standard_error == 0.0)
    ledger = tfvae.decompose(vae, x, verbose=False)
    np.testing.assert_allclose(ledger.gap.per_point, log_p_x - elbo, rtol=1e-4, atol=1e-5)
    for identity, residual in ledger.residuals.items():
        assert abs(residual.mean) < 1e-5, identity

    # Draws agree with the sums, within their error.
    drawing = MODELS[name](max_states=0)
    drawing.set_weights(vae.get_weights())
    log_w = drawing.terms(x, 4000, seed=1).log_w.numpy()
    error = log_w.std(axis=0) / np.sqrt(len(log_w))
    assert np.all(np.abs(log_w.mean(axis=0) - elbo) <= 5 * error + 1e-5)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.xla
@pytest.mark.parametrize("name", MODELS)
def test_trains_under_xla(name):
    assert_trains_under_xla(MODELS[name](), binary_data(24))


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_life_of_a_model_with_finite_latents(name, tmp_path):
    vae, x = MODELS[name](), binary_data(24)
    start = [w.numpy() for w in vae.trainable_weights]
    vae.compile(keras.optimizers.Adam(0.02), jit_compile=False)
    history = vae.fit(x, epochs=30, verbose=0).history
    assert history["elbo"][-1] > history["elbo"][0]
    assert not any(np.array_equal(a, b) for a, b in zip(start, vae.trainable_weights, strict=True))
    vae.save(tmp_path / "vae.keras")
    loaded = keras.models.load_model(tmp_path / "vae.keras")
    np.testing.assert_array_equal(loaded.terms(x).log_w, vae.terms(x).log_w)
    vae.export(tmp_path / "export", verbose=False, signatures=["log_prob"])
    served = tf.saved_model.load(str(tmp_path / "export")).signatures["log_prob"]
    log_prob = served(x=tf.constant(x), num_samples=tf.constant(3), seed=tf.constant([0, 1]))
    np.testing.assert_allclose(log_prob["log_prob"], vae.exact_log_p_x(x), rtol=1e-5)


@pytest.mark.slow
def test_gradient_of_the_sum_is_that_of_the_bound():
    """Central differences of the exact ELBO, in float64, by the weights of the encoder."""
    vae, x = MODELS["one-hot"](), binary_data(8)
    kernel = vae.encoder.layers[-2].kernel
    with tf.GradientTape() as tape:
        elbo = tf.reduce_sum(vae.terms(x).elbo)
    gradient = tape.gradient(elbo, kernel.value)
    values, step = kernel.numpy(), 1e-2
    for index in [(0, 0), (2, 1), (4, 3)]:
        ends = []
        for sign in (1, -1):
            moved = values.copy()
            moved[index] += sign * step
            kernel.assign(moved)
            ends.append(float(tf.reduce_sum(vae.terms(x).elbo)))
        slope = (ends[0] - ends[1]) / (2 * step)
        assert slope == pytest.approx(float(gradient[index]), rel=0.02, abs=1e-3)
