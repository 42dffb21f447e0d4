"""Joint distributions of codes: they sum to one, and become that of the data."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import binary_data
from tfvae.layers import IndependentBernoulli, IndependentCategorical
from tfvae.objectives import ELBO, LeaveOneOut
from tfvae.priors import Autoregressive

N, K = 3, 3
NUMBERS = np.array(list(itertools.product(range(K), repeat=N)), "float32")  # [27, 3]


def made(one_hot=False, context_size=None, **settings):
    shape = (N, K) if one_hot else (N,)
    levels = None if one_hot else K
    prior = Autoregressive(
        levels, shape, context_size=context_size, hidden_units=[7, 9], activation="tanh", **settings
    )
    for weight in prior.trainable_weights:
        weight.assign(tf.random.normal(weight.shape, seed=1))
    return prior


@pytest.mark.parametrize("one_hot", [False, True], ids=["numbers", "one-hot"])
@pytest.mark.parametrize("context_size", [None, 2], ids=["free", "given"])
def test_sums_to_one_and_is_drawn_as_it_says(one_hot, context_size):
    prior = made(one_hot, context_size)
    states = np.eye(K, dtype="float32")[NUMBERS.astype(int)] if one_hot else NUMBERS
    context = None if context_size is None else tf.constant([[0.5, -2.0], [1.0, 3.0]])
    p_z = prior.distribution(context)
    batch = () if context is None else (2,)
    assert p_z.batch_shape == batch
    values = states if context is None else np.repeat(states[:, None], 2, axis=1)
    probs = np.exp(p_z.log_prob(values))
    np.testing.assert_allclose(probs.sum(axis=0), 1.0, rtol=1e-5)
    if context is not None:
        assert np.abs(probs[:, 0] - probs[:, 1]).max() > 0.01

    draw = tf.function(lambda: p_z.sample(4000, seed=[0, 1]), jit_compile=True)
    draws = draw().numpy().reshape(4000, -1, *states.shape[1:])
    for column in range(draws.shape[1]):
        same = (draws[:, None, column] == states).reshape(4000, 27, -1).all(axis=-1)
        assert (same.sum(axis=1) == 1).all()
        p = probs.reshape(27, -1)[:, column]
        error = np.sqrt(p * (1 - p) / 4000)
        assert np.all(np.abs(same.mean(axis=0) - p) < 5 * error + 1e-3)


def test_each_code_sees_those_before_it_and_the_context():
    prior = made(context_size=2)
    codes, context = tf.Variable(tf.one_hot([[0, 1, 2]], K)), tf.Variable([[0.3, -1.0]])
    with tf.GradientTape(persistent=True) as tape:
        logits = prior.distribution(context)._logits_fn(codes)
        rows = [tf.reduce_sum(logits[0, i] * [1.0, 2.0, 4.0]) for i in range(N)]
    for i, row in enumerate(rows):
        seen = np.abs(tape.gradient(row, codes))[0].sum(axis=-1) > 0.0
        np.testing.assert_array_equal(seen, np.arange(N) < i)
        assert np.all(tape.gradient(row, context) != 0.0)


def test_numbers_and_one_hot_vectors_have_the_same_law():
    numbers, vectors = made(), made(one_hot=True)
    vectors.set_weights(numbers.get_weights())
    expected = numbers.distribution().log_prob(NUMBERS)
    one_hot = np.eye(K, dtype="float32")[NUMBERS.astype(int)]
    np.testing.assert_allclose(vectors.distribution().log_prob(one_hot), expected, rtol=1e-6)
    assert numbers.distribution().log_prob([0.0, 7.0, 1.0]) == -np.inf


def test_reaches_the_joint_of_data_that_independent_codes_cannot():
    joint = np.array([[0.4, 0.1], [0.05, 0.45]])
    data = np.repeat([[0, 0], [0, 1], [1, 0], [1, 1]], (joint.ravel() * 100).astype(int), axis=0)
    model = tfvae.DensityModel(Autoregressive(2, (2,), hidden_units=[16]))
    model.compile(keras.optimizers.Adam(0.05))
    history = model.fit(data.astype("float32"), epochs=150, batch_size=100, verbose=0).history
    entropy = -np.sum(joint * np.log(joint))
    np.testing.assert_allclose(history["loss"][-1], entropy, atol=1e-3)


def encoder(levels):
    return keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(IndependentCategorical.params_size(N, levels)),
            IndependentCategorical(N, levels),
        ]
    )


@pytest.mark.parametrize("levels", [2, 20], ids=["summed", "drawn"])
def test_codes_of_a_vae_are_summed_or_drawn(levels):
    decoder = keras.Sequential(
        [
            keras.Input((N,)),
            keras.layers.Embedding(levels, 4),
            keras.layers.Flatten(),
            keras.layers.Dense(6),
            IndependentBernoulli(6),
        ]
    )
    vae = tfvae.VAE(encoder(levels), decoder, Autoregressive(levels, hidden_units=[8]), seed=0)
    x = binary_data(30)
    if levels == 2:
        vae.compile(keras.optimizers.Adam(0.02), jit_compile=True)
        states = np.array(list(itertools.product(range(2), repeat=N)), "float32")
        log_joint = vae.decode(states).log_prob(x[:, None]) + vae.prior_distribution().log_prob(
            states
        )
        exact = tfvae.log_likelihood(vae, x, num_samples=1, verbose=False)
        expected = tf.reduce_logsumexp(log_joint, axis=1)
        np.testing.assert_allclose(exact.per_point, expected, rtol=1e-5)
    else:
        with pytest.raises(ValueError, match="needs draws that carry a gradient"):
            vae.compile("adam")
        vae.compile(keras.optimizers.Adam(0.02), ELBO(gradient=LeaveOneOut(), num_samples=8))
    start = [weight.numpy() for weight in vae.prior.trainable_weights]
    history = vae.fit(x, epochs=20, verbose=0).history
    assert history["elbo"][-1] > history["elbo"][0]
    assert not any(
        np.array_equal(a, b) for a, b in zip(start, vae.prior.trainable_weights, strict=True)
    )


def test_a_context_is_needed_and_of_its_size():
    prior = made(context_size=2)
    with pytest.raises(ValueError, match="needs a context"):
        prior.distribution()
    with pytest.raises(ValueError, match="context_size=2"):
        prior.distribution(tf.zeros([4, 3]))
    with pytest.raises(ValueError, match="`levels`"):
        Autoregressive(0)
