"""Turns of encoder and decoder: which weights move, EM in the limit, and when turns end."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import tfvae
from tests import analytic
from tests.conftest import binary_data, mlp_vae
from tests.learning.test_base import changed, ladder
from tests.objectives.linear import FixedNoise
from tfvae.learning import Alternating

X = binary_data(8)


@pytest.mark.slow
def test_each_update_leaves_the_other_weights_alone():
    vae = mlp_vae()
    vae.compile(keras.optimizers.Adam(0.05), scheme=Alternating(2), run_eagerly=True)
    num = len(vae.graph.posterior_weights)
    for update in range(6):
        before = vae.get_weights()
        vae.fit(X, batch_size=8, verbose=0)
        learned = changed(before, vae.get_weights())
        turn_of_decoder = update % 3 == 2
        assert learned[:num] == [not turn_of_decoder] * num
        assert learned[num:] == [turn_of_decoder] * (len(learned) - num)
    assert int(vae.optimizer.iterations) == 6


@pytest.mark.slow
@pytest.mark.exhaustive
def test_with_enough_encoder_steps_an_update_is_the_m_step_of_em():
    """At the exact posterior the gradient of the bound is that of log p(x), in closed form."""
    rng, s2, rate, steps = np.random.default_rng(0), 0.5, 0.05, 300
    x = (rng.normal(size=(40, 1)) * [2.0, -1.0, 0.5] + rng.normal(size=(40, 3))).astype("float32")
    encoder = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(2), analytic.SigmaPointLayer(1)]
    )
    raw = float(np.log(np.expm1(np.sqrt(s2))))
    head = tfvae.layers.IndependentNormal(3, min_scale=0.0)
    decoder = keras.Sequential([keras.Input((1,)), keras.layers.Dense(3), FixedNoise(raw), head])
    vae = tfvae.VAE(encoder, decoder, seed=0)
    vae.compile(
        keras.optimizers.SGD(rate),
        tfvae.objectives.ELBO(num_samples=2),  # two points integrate a quadratic exactly
        scheme=Alternating(steps),
        jit_compile=False,
    )
    likelihoods = []
    for _ in range(4):
        w, b = (weight.numpy().astype("float64") for weight in decoder.weights)
        covariance = w.T @ w + s2 * np.eye(3)
        likelihoods.append(stats.multivariate_normal(b, covariance).logpdf(x).mean())
        vae.fit(tf.data.Dataset.from_tensors(x).repeat(steps), verbose=0)
        # The encoder has found the posterior of the decoder, which has not moved.
        np.testing.assert_array_equal(decoder.weights[0], w.astype("float32"))
        terms = vae.terms(x, 2, seed=0)
        log_p_x = stats.multivariate_normal(b, covariance).logpdf(x)
        np.testing.assert_allclose(terms.elbo, log_p_x, atol=1e-4)

        vae.fit(x, batch_size=40, verbose=0)
        inverse, centred = np.linalg.inv(covariance), x - b
        scatter = centred.T @ centred / len(x)
        ascent = w @ (inverse @ scatter @ inverse - inverse)
        np.testing.assert_allclose(decoder.weights[0], w + rate * ascent, atol=1e-5)
        np.testing.assert_allclose(
            decoder.weights[1], b + rate * inverse @ centred.mean(axis=0), atol=1e-5
        )
    assert np.all(np.diff(likelihoods) > 0.0)


def test_turns_end_when_the_information_stops_rising():
    scheme = Alternating(1, until_information_stops=2, patience=2)
    state = {name: tf.constant(value) for name, value in scheme.initial_state().items()}
    seen = []
    # Means of two: 1, 2, 1.5 (first time without a rise), 3, 3, 2.9 (second time in a row).
    for information in [0.5, 1.5, 2, 2, 1, 2, 3, 3, 3, 3, 2.9, 2.9, 9, 9]:
        state = scheme._next_state(state, tf.constant([information, information]))
        seen.append((float(state["best_information"]), float(state["aggressive"])))
    best = [0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 9]
    assert [value for value, _ in seen] == pytest.approx(best)
    assert [flag for _, flag in seen] == [1.0] * 11 + [0.0] * 3


@pytest.mark.slow
@pytest.mark.exhaustive
def test_after_that_updates_are_joint():
    vae = mlp_vae()
    # Information cannot rise at a learning rate of zero, but for the noise of one draw.
    scheme = Alternating(1, until_information_stops=2)
    vae.compile(keras.optimizers.SGD(0.0), scheme=scheme, run_eagerly=True)
    aggressive = vae.fit(X, batch_size=8, epochs=20, verbose=0).history["aggressive"]
    assert aggressive[0] == 1.0
    assert aggressive[-1] == 0.0
    assert set(vae.fit(X, verbose=0).history) > {"aggressive", "best_information"}
    assert not any(name.startswith("_") for name in vae.history.history)
    vae.optimizer.learning_rate = 0.1
    for _ in range(2):
        before = vae.get_weights()
        vae.fit(X, batch_size=8, verbose=0)
        assert all(changed(before, vae.get_weights()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), r"`encoder_steps` must be a whole number >= 1. Received: encoder_steps=0"),
        ((1, 1.5), r"`until_information_stops` must be .*1.5"),
        ((3, 3), r"Expected: at least encoder_steps \+ 1 = 4. Received: until_information_stops=3"),
        ((1, 5, 0), r"`patience` must be .*patience=0"),
    ],
)
def test_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Alternating(*arguments)


@pytest.mark.slow
def test_models_that_cannot_take_turns():
    with pytest.raises(ValueError, match="levels of its posterior depend on each other"):
        ladder().compile("adam", scheme=Alternating(1, until_information_stops=2))
    vae = mlp_vae()
    vae.decoder.trainable = False
    with pytest.raises(ValueError, match=r"no weights of p\(x, z\).*Received: VAE"):
        vae.compile("adam", scheme=Alternating(1))
    optimizer = keras.optimizers.Adam(gradient_accumulation_steps=2)
    with pytest.raises(ValueError, match=r"gradient_accumulation_steps=2. Leave it out"):
        mlp_vae().compile(optimizer, scheme=Alternating(1))
