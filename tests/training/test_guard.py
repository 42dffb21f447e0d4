"""Training that goes wrong ends with a sentence and weights that are finite."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import binary_data, mlp_encoder, mlp_vae

X = binary_data(200)


def exploding(rate=1e12, **settings):
    keras.utils.set_random_seed(2)
    decoder = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(12), tfvae.layers.IndependentNormal(6)]
    )
    vae = tfvae.VAE(mlp_encoder(), decoder, seed=1)
    vae.compile(keras.optimizers.SGD(rate), jit_compile=False, **settings)
    return vae


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"run_eagerly": True}, {"steps_per_execution": 1}])
@pytest.mark.parametrize("stream", [False, True])
def test_a_loss_that_is_not_finite_ends_training_with_the_weights_of_before(settings, stream):
    vae = exploding(**settings)
    before = [np.copy(w) for w in vae.variables]
    data = tf.data.Dataset.from_tensor_slices(X).batch(10) if stream else X
    size = {} if stream else {"batch_size": 10}
    with pytest.raises(FloatingPointError, match=r"after \d+ updates: not finite are loss, elbo"):
        vae.fit(data, epochs=3, verbose=0, **size)
    for old, new in zip(before, vae.variables, strict=True):
        np.testing.assert_array_equal(old, new)
    assert int(vae.optimizer.iterations) == 0
    assert np.isfinite(vae.evaluate(X, verbose=0)[0])
    # It can be trained from there.
    vae.compile(keras.optimizers.SGD(1e-3), jit_compile=False)
    assert np.isfinite(vae.fit(X, verbose=0).history["loss"][0])


class Exploding(keras.callbacks.Callback):
    """Raises the learning rate in an epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 12:
            self.model.optimizer.learning_rate = 1e20


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 7])
def test_the_state_that_training_goes_back_to_is_at_most_200_updates_old(steps):
    vae, same = (exploding(1e-3, steps_per_execution=steps) for _ in range(2))
    with pytest.raises(FloatingPointError, match=r"state after (\d+) updates") as caught:
        vae.fit(X, batch_size=10, epochs=15, shuffle=False, callbacks=[Exploding()], verbose=0)
    updates = int(vae.optimizer.iterations)
    assert 240 - 200 - steps < updates <= 242
    assert f"after {updates} updates" in str(caught.value)
    # Weights, slots and seeds are those of an undisturbed run of so many updates.
    batches = np.split(np.tile(X, [13, 1]), 260)[:updates]
    same.compile(keras.optimizers.SGD(1e-3), jit_compile=False)
    same.fit(np.concatenate(batches), batch_size=10, shuffle=False, verbose=0)
    for mine, theirs in zip(vae.variables, same.variables, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)


@pytest.mark.slow
def test_a_weight_that_only_the_last_update_spoils_is_found():
    vae = exploding(1e39)
    with pytest.raises(FloatingPointError, match="not finite are the weights"):
        vae.fit(X[:10], batch_size=10, verbose=0)
    assert all(np.all(np.isfinite(w)) for w in vae.get_weights())


def test_weights_that_are_not_finite_from_the_beginning_are_named():
    vae = exploding(1e-3)
    weights = vae.get_weights()
    weights[0][0, 0] = np.nan
    vae.set_weights(weights)
    said = r"not finite are loss.*from the beginning were \S+kernel\."
    with pytest.raises(FloatingPointError, match=said):
        vae.fit(X, verbose=0)


@pytest.mark.slow
def test_loss_scaling_skips_what_overflows_as_keras_does():
    vae = mlp_vae(seed=3)
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(1e-3), initial_scale=2.0**127
    )
    vae.compile(optimizer, jit_compile=False)
    vae.fit(X, batch_size=10, verbose=0)
    assert all(np.all(np.isfinite(w)) for w in vae.get_weights())


class Silent(tfvae.VAE):
    """Logs nothing of its steps."""

    def train_step(self, data):
        return {"steps": super().train_step(data)["loss"]}


def test_a_step_of_the_users_own_need_not_log_a_loss():
    made = mlp_vae(seed=3)
    vae = Silent(made.encoder, made.decoder, seed=1)
    vae.compile("adam", run_eagerly=True)
    vae.fit(X[:20], batch_size=10, verbose=0)
    assert int(vae.optimizer.iterations) == 2


@pytest.mark.slow
def test_nothing_is_kept_after_training():
    vae = exploding(1e-3)
    vae.fit(X, verbose=0)
    assert vae.guard._kept == []
    assert vae._reader._rows == {}
