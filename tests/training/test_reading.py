"""What `fit` and `evaluate` are given: told where it is wrong, and read by the right way."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import binary_data, mlp_vae

X = binary_data(37)


class Meddler(keras.callbacks.Callback):
    """Evaluates and trains on other data in the middle of an epoch."""

    def __init__(self):
        super().__init__()
        self.found = []

    def on_train_batch_end(self, batch, logs=None):
        if batch == 3:
            others = X[:10]
            self.found.append(self.model.evaluate(others, batch_size=4, verbose=0))
            stream = tf.data.Dataset.from_tensor_slices(others).batch(4)
            self.found.append(self.model.evaluate(stream, verbose=0))
            self.model.test_on_batch(X[:4])


@pytest.mark.slow
def test_callbacks_may_evaluate_other_data_between_steps():
    meddler = Meddler()
    vaes = []
    for callbacks in ([meddler], []):
        keras.utils.set_random_seed(1)
        vaes.append(mlp_vae(seed=3))
        vaes[-1].compile(keras.optimizers.Adam(0.02))
        vaes[-1].fit(X, batch_size=5, epochs=3, verbose=0, callbacks=callbacks)
    assert len(meddler.found) == 6
    for by_rows, by_batches in zip(meddler.found[::2], meddler.found[1::2], strict=True):
        np.testing.assert_allclose(by_rows, by_batches, rtol=1e-5)
    for mine, theirs in zip(*(vae.get_weights() for vae in vaes), strict=True):
        np.testing.assert_array_equal(mine, theirs)


class Own(tfvae.VAE):
    """Counts its steps in Python, so that Keras has to call each of them."""

    steps = 0

    def train_step(self, data):
        Own.steps += 1
        return super().train_step(data)


def test_a_step_of_the_users_own_is_taken_batch_by_batch():
    base = mlp_vae()
    vae = Own(base.encoder, base.decoder, seed=1)
    vae.compile("adam", run_eagerly=True)
    vae.fit(X[:10], batch_size=5, verbose=0)
    assert Own.steps == 2


def test_what_is_wrong_with_rows_is_said_before_any_is_read():
    vae = mlp_vae()
    vae.compile("adam", run_eagerly=True)
    before = vae.get_weights()
    with pytest.raises(ValueError, match=r"^`y` must have one row for each of `x`"):
        vae.fit(X, np.zeros(3), verbose=0)
    with pytest.raises(ValueError, match=r"^`sample_weight` must have one row for each"):
        vae.fit(X, sample_weight=np.ones(3), verbose=0)
    weights = np.ones(37)
    weights[3] = np.nan
    with pytest.raises(ValueError, match=r"^`sample_weight` must hold finite numbers"):
        vae.fit(X, sample_weight=weights, verbose=0)
    with pytest.raises(ValueError, match=r"^`validation_split` must leave rows on both sides"):
        vae.fit(X, validation_split=0.999, verbose=0)
    with pytest.raises(ValueError, match=r"`batch_size`"):
        vae.fit(X, batch_size=0, verbose=0)
    with pytest.raises(TypeError, match=r"^`fit` takes its arguments as `keras.Model.fit` does"):
        vae.fit(X, None, 5, batch_size=5)
    for old, new in zip(before, vae.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
