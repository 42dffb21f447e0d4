"""What runs during fit."""

import io
import re

import keras
import numpy as np
import pytest

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
