"""Moving averages of the weights: worked out by hand, seen by evaluation alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import binary_data, mlp_vae
from tfvae.learning import Alternating
from tfvae.training.averages import averaged_weights

X, MOMENTUM = binary_data(24), 0.8


class Recorder(keras.callbacks.Callback):
    """Keeps the weights after each update, and before each epoch."""

    def __init__(self):
        super().__init__()
        self.weights, self.starts = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.weights.append([w.numpy() for w in self.model.trainable_weights])

    def on_epoch_begin(self, epoch, logs=None):
        self.starts.append([w.numpy() for w in self.model.trainable_weights])


def averages(recorded):
    """The averages after each update: the first weights, then a share of each that follows."""
    found = [recorded[0]]
    for weights in recorded[1:]:
        pairs = zip(found[-1], weights, strict=True)
        found.append([MOMENTUM * old + (1.0 - MOMENTUM) * new for old, new in pairs])
    return found


def trained(use_ema, scheme=None, **settings):
    keras.utils.set_random_seed(1)
    vae, recorder = mlp_vae(), Recorder()
    optimizer = keras.optimizers.Adam(0.05, use_ema=use_ema, ema_momentum=MOMENTUM)
    vae.compile(optimizer, scheme=scheme, **settings)
    history = vae.fit(
        X,
        batch_size=8,
        epochs=3,
        shuffle=False,
        validation_data=(X,),
        callbacks=[recorder],
        verbose=0,
    ).history
    return vae, recorder, history


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("settings", "scheme"),
    [
        pytest.param({"jit_compile": True}, None, marks=pytest.mark.xla),
        ({"run_eagerly": True}, Alternating(1)),
    ],
    ids=["xla", "alternating"],
)
def test_evaluation_sees_the_averages_and_training_the_weights(settings, scheme):
    vae, recorder, history = trained(True, scheme, **settings)
    by_hand = averages(recorder.weights)
    other = mlp_vae()
    other.compile("adam", **settings)
    for epoch in range(3):
        last = 3 * epoch + 2
        for weight, value in zip(other.trainable_weights, by_hand[last], strict=True):
            weight.assign(value)
        expected = other.evaluate(X, batch_size=8, verbose=0, return_dict=True)
        assert history["val_elbo"][epoch] == pytest.approx(expected["elbo"], rel=1e-5)
        if epoch < 2:  # Validation left the weights as they were.
            for after, start in zip(
                recorder.weights[last], recorder.starts[epoch + 1], strict=True
            ):
                np.testing.assert_array_equal(after, start)
    # The end of `fit` puts the averages in the place of the weights, and evaluation stays.
    for weight, value in zip(vae.trainable_weights, by_hand[-1], strict=True):
        np.testing.assert_allclose(weight, value, rtol=1e-5, atol=1e-6)
    logs = vae.evaluate(X, batch_size=8, verbose=0, return_dict=True)
    assert logs["elbo"] == pytest.approx(history["val_elbo"][-1], rel=1e-6)
    # Until there, training has not known of any averages.
    _, plain, _ = trained(False, scheme, **settings)
    for one, same in zip(recorder.weights[-1], plain.weights[-1], strict=True):
        np.testing.assert_array_equal(one, same)


@pytest.mark.slow
def test_a_checkpoint_holds_both(tmp_path):
    keras.utils.set_random_seed(1)
    vae = mlp_vae()
    optimizer = keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=MOMENTUM)
    vae.compile(optimizer, run_eagerly=True)
    path = tmp_path / "vae.keras"
    checkpoint = keras.callbacks.ModelCheckpoint(path)
    history = vae.fit(
        X, batch_size=8, validation_data=(X,), callbacks=[checkpoint], verbose=0
    ).history
    loaded = keras.models.load_model(path)  # as it was before the end of `fit`
    assert np.any(loaded.get_weights()[0] != vae.get_weights()[0])
    before = loaded.get_weights()
    logs = loaded.evaluate(X, batch_size=8, verbose=0, return_dict=True)
    assert logs["elbo"] == pytest.approx(history["val_elbo"][0], rel=1e-5)
    for one, same in zip(before, loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, same)
    # What is stored at the end goes on to equal numbers.
    vae.save(path)
    loaded = keras.models.load_model(path)
    for model in (vae, loaded):
        model.fit(X, batch_size=8, shuffle=False, verbose=0)
    for one, same in zip(vae.variables, loaded.variables, strict=True):
        np.testing.assert_array_equal(one, same)


@pytest.mark.slow
def test_weights_come_back_after_an_error_and_stay_without_updates():
    vae = mlp_vae()
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=MOMENTUM), initial_scale=16.0
    )
    vae.compile(optimizer, run_eagerly=True)
    start = vae.get_weights()
    vae.evaluate(X, verbose=0)  # the averages are still zeros
    np.testing.assert_array_equal(vae.get_weights()[0], start[0])
    vae.train_on_batch(X)
    vae.train_on_batch(X)
    before = vae.get_weights()
    with pytest.raises(ValueError, match="NaN"):
        vae.evaluate(tf.data.Dataset.from_tensors(np.full([4, 6], np.nan, "float32")), verbose=0)
    for one, same in zip(before, vae.get_weights(), strict=True):
        np.testing.assert_array_equal(one, same)
    with averaged_weights(vae.optimizer):
        assert np.any(vae.get_weights()[0] != before[0])
    with averaged_weights(None), averaged_weights(keras.optimizers.SGD()):
        np.testing.assert_array_equal(vae.get_weights()[0], before[0])
