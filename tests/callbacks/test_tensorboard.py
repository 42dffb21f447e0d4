"""What the callback writes is read back from its event files."""

import importlib.util

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import mlp_vae, slow_but
from tests.kinds import BITS, KINDS
from tfvae.callbacks import TensorBoard


def events(folder, run="held_out"):
    """Returns tag → step → what was written, of one run."""
    found = {}
    for path in sorted((folder / run).glob("events.*")):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                tensor = tf.make_ndarray(value.tensor)
                assert event.step not in found.get(value.tag, {}), value.tag
                found.setdefault(value.tag, {})[event.step] = tensor
    return found


def fitted(folder, model, data, epochs=3, **settings):
    model.compile("adam", run_eagerly=True)
    board = TensorBoard(folder, data, **settings)
    history = model.fit(
        data, validation_data=(data,), epochs=epochs, batch_size=12, verbose=0, callbacks=[board]
    )
    return history.history


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    model = mlp_vae()
    history = fitted(folder, model, BITS, image_shape=(2, 3), num_images=5, every=2)
    runs = {run: events(folder, run) for run in ("held_out", "train", "validation")}
    for run in runs:  # TensorBoard follows one growing file of a folder
        assert len(list((folder / run).glob("events.*"))) == 1
    return runs, history, model


@pytest.mark.slow
def test_terms_are_those_of_the_history(written):
    runs, history, _ = written
    for name in ("elbo", "distortion", "rate", "mutual_information", "marginal_kl"):
        for run, prefix in (("train", ""), ("validation", "val_")):
            values = runs[run][f"epoch_{name}"]
            np.testing.assert_allclose([values[e] for e in range(3)], history[prefix + name])


@pytest.mark.slow
def test_latents_are_those_of_the_model(written):
    runs, _, model = written
    found = runs["held_out"]
    terms = model.terms(BITS, seed=0)
    assert set(found["latents/active_units"]) == {0, 2}  # every second epoch
    rates = np.asarray(terms.dimension_rates).mean(axis=0)
    buckets = found["latents/rate_per_dimension"][2]  # [left, right, count]
    assert buckets[:, 2].sum() == 2
    np.testing.assert_allclose((buckets[0, 0], buckets[-1, 1]), np.sort(rates), rtol=1e-4)
    spread = np.asarray(model.encode(BITS).mean()).var(axis=0)
    assert found["latents/active_units"][2] == np.sum(spread > 0.01)
    buckets = found["latents/activity"][2]
    np.testing.assert_allclose((buckets[0, 0], buckets[-1, 1]), np.sort(spread), rtol=1e-4)


@pytest.mark.slow
def test_images_are_data_and_what_becomes_of_it(written):
    runs, _, model = written
    found = runs["held_out"]
    width, height, *encoded = found["reconstructions"][2]
    pixels = tf.io.decode_png(encoded[0]).numpy()
    side = 11  # three columns of 11 pixels make 32 or more
    assert (int(width), int(height)) == (5 * (3 * side + 1), 2 * (2 * side + 1))
    middle = slice(side // 2, None, side)
    of_first = pixels[: 2 * side, : 3 * side, 0][middle, middle]
    np.testing.assert_array_equal(of_first, 255 * (1 - BITS[0].reshape(2, 3)))
    below = pixels[2 * side + 1 :, : 3 * side, 0][middle, middle]
    expected = 255 * (1 - np.asarray(model.reconstruct(BITS[:1])).reshape(2, 3))
    np.testing.assert_allclose(below, expected, atol=1)
    assert found["samples"][2].shape == (3,)


@pytest.mark.slow
def test_training_is_the_same_without_it(tmp_path):
    weights = []
    for callbacks in ([], [TensorBoard(tmp_path, BITS, image_shape=(2, 3))]):
        keras.utils.set_random_seed(0)
        model = mlp_vae()
        model.compile("adam", run_eagerly=True)
        model.fit(BITS, epochs=2, batch_size=6, verbose=0, callbacks=callbacks)
        weights.append(model.get_weights())
    for plain, watched in zip(*weights, strict=True):
        np.testing.assert_array_equal(plain, watched)


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but(of=list(KINDS)))
def test_every_kind_of_model(name, tmp_path):
    model, data = KINDS[name]()
    shape = None if name == "tables" else (2, 3)
    draws = tfvae.objectives.ELBO(num_samples=2, gradient=tfvae.objectives.LeaveOneOut())
    model.compile("adam", draws if name == "drawn_bits" else None, run_eagerly=True)
    board = TensorBoard(tmp_path, data, image_shape=shape)
    model.fit(data, epochs=1, batch_size=12, verbose=0, callbacks=[board])
    found = events(tmp_path)
    assert any(tag.startswith("samples") for tag in found)
    assert ("latents/active_units" in found) == bool(model.graph.latents)
    assert any(tag.startswith("reconstructions") for tag in found) == bool(model.graph.latents)
    for each in model.graph.rate_names:
        assert f"latents/{each}" in found


def test_without_data_there_are_samples_alone(tmp_path):
    model = mlp_vae()
    model.compile("adam", run_eagerly=True)
    board = TensorBoard(str(tmp_path), image_shape=(2, 3))
    model.fit(BITS, epochs=1, batch_size=12, verbose=0, callbacks=[board])
    assert set(events(tmp_path)) == {"samples"}


def test_messages(tmp_path):
    with pytest.raises(ValueError, match="every"):
        TensorBoard(tmp_path, every=0)
    stock = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
    stock.compile("adam", "mse")
    with pytest.raises(TypeError, match=r"there is Keras's\. Received: Sequential"):
        stock.fit(BITS, BITS[:, :1], verbose=0, callbacks=[TensorBoard(tmp_path)])
    model = mlp_vae()
    model.compile("adam", run_eagerly=True)
    with pytest.raises(ValueError, match="data"):
        model.fit(BITS, verbose=0, callbacks=[TensorBoard(tmp_path, BITS[:, :3])])


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "tfvae\[tensorboard\]"'):
        TensorBoard("logs")
