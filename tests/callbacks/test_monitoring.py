"""What runs during fit."""

import io
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests import analytic
from tests.conftest import binary_data, mlp_vae
from tests.evaluation.test_collapse import collapsed
from tfvae.callbacks import CollapseMonitor


@pytest.mark.slow
def test_progress_bar_shows_the_terms_of_each_epoch():
    model = analytic.LinearGaussian.random()
    vae, x = model.vae(), model.draw(30)
    vae.compile("adam")
    text = io.StringIO()
    bar = tfvae.callbacks.ProgressBar(text)
    history = vae.fit(x, epochs=4, verbose=0, validation_data=(x[:10],), callbacks=[bar]).history
    last = text.getvalue().replace("\n", "\r").rstrip("\r").split("\r")[-1]
    assert max(map(len, re.split("[\r\n]", text.getvalue()))) <= 80
    found = re.search(r"4/4 .* (\S+) = -\((\S+) \+ (\S+)\), I (\S+)  val (\S+)$", last.rstrip())
    shown = [float(number) for number in found.groups()]
    names = ("elbo", "distortion", "rate", "mutual_information", "val_elbo")
    for number, name in zip(shown, names, strict=True):
        assert abs(number - history[name][-1]) <= 0.0051, name
    assert abs(shown[0] + shown[1] + shown[2]) < 0.02


def test_progress_bar_keeps_to_80_columns_of_large_numbers():
    for size in (-999.994, -1266.53, -999_999.4, -3e38, float("-inf"), float("nan")):
        text = io.StringIO()
        bar = tfvae.callbacks.ProgressBar(text)
        bar.set_params({"epochs": 40})
        bar.on_train_begin()
        terms = {"elbo": size, "distortion": -size, "rate": -size, "mutual_information": -1.0}
        bar.on_epoch_end(38, {**terms, "val_elbo": size})
        bar.on_train_end()
        assert max(map(len, re.split("[\r\n]", text.getvalue()))) <= 80


def test_progress_bar_needs_no_terms():
    """Stock Keras models log other things: the bar then counts epochs."""
    text = io.StringIO()
    bar = tfvae.callbacks.ProgressBar(text)
    bar.set_params({"epochs": 2})
    bar.on_train_begin()
    bar.on_epoch_end(0, {"loss": 1.0})
    bar.on_epoch_end(1, {"loss": 1.0})
    bar.on_train_end()
    assert "2/2" in text.getvalue()


@pytest.mark.slow
@pytest.mark.exhaustive
def test_monitor_tells_once_and_leaves_training_alone():
    weights, histories, start = [], [], None
    for watched in (False, True):
        vae, x = collapsed("early")
        for layer in (vae.encoder, vae.decoder):
            layer.trainable = False
        vae.decoder.layers[-2].trainable = True  # its bias learns the pixels' means
        vae.compile(keras.optimizers.Adam(0.01), jit_compile=False)
        if start is not None:
            vae.set_weights(start)
        start = vae.get_weights()
        text = io.StringIO()
        monitor = CollapseMonitor(x[:20], every=2, file=text)
        stop = keras.callbacks.EarlyStopping(
            "held_out_shuffle_cost", mode="min", min_delta=-1.0, patience=99
        )
        callbacks = [monitor, stop] if watched else []
        history = vae.fit(x, epochs=5, batch_size=8, verbose=0, callbacks=callbacks).history
        weights.append(vae.get_weights())
        histories.append(history)
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(histories[0]["loss"], histories[1]["loss"])
    assert sorted(monitor.reports) == [0, 2, 4]
    lines = text.getvalue().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("Epoch 1: Posterior collapse: z says 0.00 nats of x")
    for name in ("mutual_information", "active_units", "shuffle_cost", "gap"):
        assert len(histories[1][f"held_out_{name}"]) == 5
    assert histories[1]["held_out_active_units"] == [0.0] * 5


@pytest.mark.slow
@pytest.mark.exhaustive
def test_monitor_says_nothing_of_a_model_in_use():
    exact = analytic.LinearGaussian.with_exact_posterior()
    vae, x = exact.vae(), exact.draw(100)
    vae.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    text = io.StringIO()
    monitor = CollapseMonitor({"x": x}, file=text, max_points=50)
    vae.fit(x, epochs=2, verbose=0, callbacks=[monitor])
    assert text.getvalue() == ""
    assert monitor.reports[1].num_points == 50


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (binary_data(1), "at least two points"),
        (binary_data(4, (5,)), "does not have the shape"),
        (None, "is missing"),
    ],
)
def test_monitor_is_refused_when_training_begins(data, message):
    vae = mlp_vae()
    vae.compile("adam")
    before = [w.numpy() for w in vae.weights]
    with pytest.raises(ValueError, match=message):
        vae.fit(binary_data(8), verbose=0, callbacks=[CollapseMonitor(data)])
    for one, other in zip(before, vae.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_monitor_takes_models_with_latents_alone():
    density = tfvae.DensityModel(tfvae.priors.GaussianMixture(2, 3))
    density.compile("adam")
    x = np.zeros((8, 3), "float32")
    with pytest.raises(ValueError, match="has none"):
        density.fit(x, verbose=0, callbacks=[CollapseMonitor(x)])
    stock = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    stock.compile("adam", "mse")
    with pytest.raises(TypeError, match="watches models of `tfvae`"):
        stock.fit(x, x, verbose=0, callbacks=[CollapseMonitor(x)])
    with pytest.raises(ValueError, match="`every`"):
        CollapseMonitor(x, every=0)


@pytest.mark.slow
def test_early_stopping_knows_its_direction_and_so_do_those_of_keras(tmp_path):
    vae, x = mlp_vae(), binary_data(24)
    vae.compile(keras.optimizers.SGD(-0.05))  # downhill: the first epoch is the best
    own = tfvae.callbacks.EarlyStopping(patience=2)
    assert own.mode == "max"
    watching = [
        keras.callbacks.EarlyStopping("val_elbo", patience=9),
        keras.callbacks.ReduceLROnPlateau("val_distortion"),
        keras.callbacks.ModelCheckpoint(str(tmp_path / "a.keras"), "val_elbo", save_best_only=True),
    ]
    scored = (x[:8],)
    history = vae.fit(x, epochs=6, validation_data=scored, verbose=0, callbacks=[own, *watching])
    assert [callback.mode for callback in watching] == ["max", "min", "max"]
    assert len(history.history["elbo"]) == 3
    assert own.best_epoch == watching[0].best_epoch == 0
    best = vae.evaluate(x[:8], verbose=0, return_dict=True)["elbo"]
    assert best == pytest.approx(history.history["val_elbo"][0], rel=1e-6)
    told = keras.callbacks.EarlyStopping("val_elbo", mode="min")
    vae.fit(x, validation_data=scored, verbose=0, callbacks=[told])
    assert told.mode == "min"


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_pass_of_a_stream_ends_at_its_last_step(capfd):
    vae, x = mlp_vae(), binary_data(32)
    vae.compile("adam")
    stream = tf.data.Dataset.from_tensor_slices(x).batch(1)
    vae.fit(stream, validation_data=stream.take(7), verbose=1)
    vae.evaluate(stream, verbose=1)
    shown = capfd.readouterr().out
    assert "32/32" in shown
    assert "40/32" not in shown
    assert not re.search(r"-\d+s", shown)


def test_progress_bar_of_a_model_without_information_has_no_comma():
    text = io.StringIO()
    bar = tfvae.callbacks.ProgressBar(text)
    bar.set_params({"epochs": 1})
    bar.on_train_begin()
    bar.on_epoch_end(0, {"elbo": -3.0, "distortion": 2.0, "rate": 1.0, "val_elbo": -4.0})
    bar.on_train_end()
    last = text.getvalue().rstrip().splitlines()[-1]
    assert re.search(r"00:0\d<\S+ +-3\.00 = -\(2\.00 \+ 1\.00\)  val -4\.00$", last)
