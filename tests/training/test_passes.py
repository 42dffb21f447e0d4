"""What can be read once, ends too early or weighs nothing is told, and no pass disturbs another."""

import io
import threading
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import binary_data, mlp_decoder, mlp_encoder, mlp_vae, real_data
from tfvae.training import passes

X = real_data(40)
BITS = binary_data(40)
NOTHING = np.zeros(40, "float32")
pytestmark = pytest.mark.filterwarnings("ignore:Your input ran out of data", "ignore:.shuffle=True")


def batches(times=1):
    return ((X[start : start + 10],) for _ in range(times) for start in range(0, 40, 10))


def stream(*parts):
    return tf.data.Dataset.from_tensor_slices(parts if len(parts) > 1 else parts[0]).batch(10)


def model():
    decoder = mlp_decoder(likelihood=tfvae.layers.IndependentNormal)
    vae = tfvae.VAE(mlp_encoder(), decoder, seed=0)
    vae.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    return vae


# Keras keeps the first two batches of a generator, and gives them again when it has ended.
def test_a_generator_is_read_once():
    with pytest.raises(ValueError, match="`x` can be read once, and `fit` was to read all of it 3"):
        model().fit(batches(), epochs=3, verbose=0)
    with pytest.raises(ValueError, match=r"`validation_data` can be read once.*a generator"):
        model().fit(X, epochs=3, validation_data=batches(), verbose=0)
    once = {"validation_data": batches(), "validation_freq": 2, "epochs": 2, "verbose": 0}
    vae = model()
    (found,) = vae.fit(X, **once).history["val_elbo"]
    known = vae.evaluate(X, batch_size=10, verbose=0, return_dict=True)["elbo"]
    assert found == pytest.approx(known)
    vae = model()
    vae.fit(batches(2), steps_per_epoch=4, epochs=2, verbose=0)
    assert int(vae.optimizer.iterations) == 8


class _Notes(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        logs["note"] = ["words", None, {"a": 1}][epoch]


def test_callbacks_log_what_they_like():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        history = model().fit(X, epochs=3, callbacks=[_Notes()], verbose=0).history
    assert history["note"] == ["words", None, {"a": 1}]


class Endless(keras.utils.PyDataset):
    @property
    def num_batches(self):
        return None

    def __getitem__(self, index):
        return (X[:10],)


def test_data_without_end_needs_a_number_of_steps():
    vae = model()
    for endless in (stream(X).repeat(), Endless()):
        with pytest.raises(ValueError, match=r"`x` has no end.*no `steps_per_epoch`\. Say"):
            vae.fit(endless, verbose=0)
        with pytest.raises(ValueError, match=r"`validation_data` has no end.*`validation_steps`"):
            vae.fit(X, validation_data=endless, verbose=0)
        with pytest.raises(ValueError, match=r"`x` has no end.*no `steps`"):
            vae.evaluate(endless, verbose=0)
    given = {"validation_data": stream(X).repeat(), "validation_steps": 2, "verbose": 0}
    assert len(vae.fit(stream(X).repeat(), steps_per_epoch=3, **given).history["val_elbo"]) == 1


def test_validation_after_every_0_epochs_is_refused():
    with pytest.raises(ValueError, match=r"`validation_freq` must be 1 or more.*Received: 0"):
        model().fit(X, validation_data=X, validation_freq=0, verbose=0)
    assert len(model().fit(X, validation_freq=0, verbose=0).history["elbo"]) == 1


def test_waiting_for_another_thread_is_told(monkeypatch):
    monkeypatch.setattr(passes, "_LONG", 0.0)
    vae, found = model(), []
    thread = threading.Thread(target=lambda: found.append(vae.evaluate(X, verbose=0)))

    def meet(*_):
        thread.start()
        while thread.is_alive() and not told:  # `join` would never return
            pass

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        vae.fit(X, callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=meet)], verbose=0)
        thread.join()
    alone = vae.evaluate(X, verbose=0)
    assert "Evaluating this model waits" in str(told[0].message)
    assert found == [alone]


def test_an_epoch_without_batches_is_no_epoch():
    vae = model()
    with pytest.raises(ValueError, match="came to its end before this epoch"):
        vae.fit(batches(), steps_per_epoch=4, epochs=2, verbose=0)
    assert int(vae.optimizer.iterations) == 4


@pytest.mark.slow
def test_epochs_that_an_earlier_run_has_done_need_no_batches(tmp_path):
    found = []
    for path, runs in ((tmp_path / "1", (1, 3)), (tmp_path / "2", (3,))):
        for epochs in runs:
            keras.utils.set_random_seed(1)
            vae = mlp_vae(seed=3)
            vae.compile("adam", jit_compile=False)
            kept = tfvae.callbacks.Checkpoint(path, file=io.StringIO())
            x = tf.data.Dataset.from_tensor_slices(BITS).shuffle(40, seed=1).batch(7)
            x = x.filter(lambda x: True)  # of a length that nobody knows
            data = {"validation_data": (BITS[:9],), "epochs": epochs, "verbose": 0}
            history = vae.fit(x, callbacks=[kept], **data).history
        found.append([*history["val_elbo"], *map(float, vae.get_weights()[0].ravel())])
    assert found[0] == found[1]


def test_weights_that_are_all_zero_weigh_nothing_in_streams_either():
    vae = model()
    for use in (
        lambda: vae.evaluate(stream(X, X, NOTHING), verbose=0),
        lambda: vae.fit(X, validation_data=stream(X, X, NOTHING), verbose=0),
        lambda: vae.fit(X, sample_weight=NOTHING + (np.arange(40) < 30), validation_split=0.2),
    ):
        with pytest.raises(ValueError, match=r"`sample_weight` must be above 0.* all (of them )?0"):
            use()


@pytest.mark.filterwarnings("ignore:The weights")
def test_scores_that_are_no_numbers_are_told_where_they_are_asked_for():
    vae = model()
    vae.decoder.set_weights([weight * 1e21 + 1e21 for weight in vae.decoder.get_weights()])
    with pytest.warns(UserWarning, match="Not finite are loss, elbo, distortion") as told:
        assert vae.evaluate(X, verbose=0, return_dict=True)["elbo"] == -np.inf
    assert told[0].filename == __file__
    vae, far = model(), X.copy()
    vae.decoder.set_weights([weight - 10.0 for weight in vae.decoder.get_weights()])
    far[3] = 1e18  # so many of its small deviations that the square is no number of 32 bits
    with pytest.warns(UserWarning, match="Not finite are val_loss, val_elbo") as told:
        vae.fit(X, validation_data=far, epochs=2, verbose=0)
    assert told[0].filename == __file__
    vae = model()
    vae.encoder.set_weights([weight * 1e22 + 1e22 for weight in vae.encoder.get_weights()])
    vae.decoder.set_weights([weight * 1e-11 for weight in vae.decoder.get_weights()])
    vae.compile(keras.optimizers.SGD(0.0), tfvae.objectives.MMD())  # whose loss has no rate
    with pytest.warns(UserWarning, match="Not finite are elbo, marginal_kl") as told:
        assert np.isfinite(vae.fit(X, verbose=0).history["loss"][0])
    assert told[-1].filename == __file__


@pytest.mark.slow
def test_threads_that_evaluate_and_train_one_model_do_not_meet():
    vae = mlp_vae()
    vae.compile(keras.optimizers.SGD(0.0))
    x = np.random.default_rng(0).integers(0, 2, (60, 6)).astype("float32")
    x[20:] = x[:1]  # no two batches alike in their scores
    alone = vae.evaluate(x, batch_size=10, verbose=0)
    found = []

    def evaluate():
        found.extend(vae.evaluate(x, batch_size=10, verbose=0) for _ in range(3))

    threads = [threading.Thread(target=evaluate) for _ in range(6)]
    threads += [threading.Thread(target=lambda: vae.fit(x, batch_size=10, epochs=3, verbose=0))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [alone] * 18
