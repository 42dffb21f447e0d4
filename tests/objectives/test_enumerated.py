"""Sums over all states: their values and gradients by hand, and who is refused them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logsumexp

import tfvae
from tests.conftest import binary_data, mlp_vae
from tests.objectives.test_life_cycle import finite_vae
from tfvae.objectives import ELBO, MMD, Enumerated, ImportanceWeighted, Linear

X = binary_data(7)


def by_hand(vae):
    """Returns log p(x|z), log q(z|x) and log p(z) of the three states, in float64."""
    states = np.eye(3, dtype="float32")
    logits = vae.decode(states).distribution.logits_parameter().numpy().astype("float64")
    logits = logits[:, None]  # [3, 1, 6]
    log_p_x = np.sum(X * logits - np.logaddexp(0.0, logits), axis=-1)
    raw = vae.encode(X).logits_parameter().numpy().astype("float64").T
    log_q = raw - logsumexp(raw, axis=0)
    prior = vae.prior_distribution().logits_parameter().numpy().astype("float64")
    log_p_z = (prior - logsumexp(prior))[:, None]
    return log_p_x, log_q, log_p_z


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.5])
def test_is_the_expectation_over_states(beta):
    vae = finite_vae()
    log_p_x, log_q, log_p_z = by_hand(vae)
    expected = np.sum(np.exp(log_q) * (log_p_x - beta * (log_q - log_p_z)), axis=0)
    np.testing.assert_allclose(Enumerated(beta)(vae.terms(X)), expected, rtol=1e-5)
    ramp = Enumerated(Linear(0.0, 2.0 * beta, steps=8))
    np.testing.assert_allclose(ramp(vae.terms(X), 4), expected, rtol=1e-5)


def test_marginal_is_the_evidence_and_its_gradient_that_of_the_exact_posterior():
    vae = finite_vae()
    log_p_x, log_q, log_p_z = by_hand(vae)
    with tf.GradientTape() as tape:
        bound = Enumerated(marginal=True)(vae.terms(X))
        total = tf.reduce_sum(bound)
    evidence = logsumexp(log_p_x + log_p_z, axis=0)
    np.testing.assert_allclose(bound, evidence, rtol=1e-5)
    assert np.all(evidence > np.sum(np.exp(log_q) * (log_p_x + log_p_z - log_q), axis=0))
    kernel = vae.decoder.layers[0].kernel
    encoder = [weight.value for weight in vae.encoder.trainable_weights]
    gradient, *others = tape.gradient(total, [kernel.value, *encoder])
    # d/d logits of a Bernoulli is x - p, weighed by p(z|x); the kernel's row is that of its state.
    posterior = np.exp(log_p_x + log_p_z - evidence)  # [3, B]
    mean = vae.decode(np.eye(3, dtype="float32")).mean().numpy()
    expected = posterior @ X - posterior.sum(axis=1, keepdims=True) * mean
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)
    assert all(not np.any(other) for other in others)


def many_states():
    """Returns a VAE whose latent has more states than are summed over."""
    vae = finite_vae()
    return tfvae.VAE(vae.encoder, vae.decoder, vae.prior, max_states=2)


@pytest.mark.parametrize("objective", [Enumerated(), 2.0 * Enumerated(marginal=True) + ELBO()])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (mlp_vae, "MultivariateNormalDiag, of no finite.*End the encoder"),
        (many_states, "OneHotCategorical of 3 states.*max_states=3"),
    ],
)
def test_latents_that_are_drawn_are_refused_at_compile(make, message, objective):
    with pytest.raises(ValueError, match=message):
        make().compile(keras.optimizers.SGD(), objective)


def test_scores_of_draws_are_refused():
    with pytest.raises(ValueError, match="this model draws z"):
        Enumerated()(mlp_vae().terms(X))


@pytest.mark.parametrize("other", [ImportanceWeighted(1), MMD()])
def test_sums_with_objectives_of_draws_are_refused(other):
    with pytest.raises(ValueError, match=f"others take draws.*{type(other).__name__}"):
        Enumerated() + other


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="beta=-1"):
        Enumerated(beta=-1.0)
    with pytest.raises(ValueError, match="Received: beta=2"):
        Enumerated(beta=2.0, marginal=True)
