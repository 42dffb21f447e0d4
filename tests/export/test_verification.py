"""A file is kept only where it answers what the model does."""

import os

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import mlp_decoder, mlp_vae, slow_but
from tests.kinds import KINDS, kind
from tfvae.export.requests import latent_inputs
from tfvae.export.verification import check_answers, example_inputs


def written(tmp_path, live, saved):
    """Returns the graph of `live`, and a SavedModel of `saved` under the same name."""
    spec = [tf.TensorSpec([None], name="x")]
    graphs = [
        tf.function(f, input_signature=spec, autograph=False).get_concrete_function()
        for f in (live, saved)
    ]
    folder = tmp_path / "written"
    module = tf.Module()
    tf.saved_model.save(module, str(folder), signatures={"f": graphs[1]})
    return {"f": graphs[0]}, folder


def refused(x):
    with tf.control_dependencies([tf.debugging.Assert(tf.size(x) < 0, ["no"])]):
        return {"y": tf.identity(x)}


NAN = float("nan")


@pytest.mark.parametrize(
    ("live", "saved", "difference"),
    [
        (lambda x: {"y": 2 * x}, lambda x: {"y": x + x}, None),
        (lambda x: {"y": x + 5e-6}, lambda x: {"y": x}, None),
        (lambda x: {"y": x + 3e-5}, lambda x: {"y": x}, r"`y` off by [23]\S*e-05, .* up to 2"),
        (lambda x: {"y": x * NAN}, lambda x: {"y": x * NAN}, None),
        (lambda x: {"y": x / 0.0}, lambda x: {"y": -x / 0.0}, r"`y` finite in other places"),
        (lambda x: {"y": x * NAN}, lambda x: {"y": x}, r"`y` off|`y` finite in other places"),
        (lambda x: {"y": x}, lambda x: {"y": x * NAN}, r"`y` off|`y` finite in other places"),
        (lambda x: {"y": x}, lambda x: {"z": x}, r"outputs \['z'\] in place of \['y'\]"),
        (lambda x: {"y": x}, lambda x: {"y": x[1:]}, r"shape \(1,\) in place of \(2,\)"),
        (refused, refused, None),
        (refused, lambda x: {"y": x}, r"an answer in place of an InvalidArgumentError"),
        (lambda x: {"y": x}, refused, r"an InvalidArgumentError in place of an answer"),
    ],
)
def test_answers_are_compared(tmp_path, live, saved, difference):
    graphs, folder = written(tmp_path, live, saved)
    inputs = {"x": tf.constant([1.0, 2.0]), "seed": tf.constant([0, 1])}
    if difference is None:
        check_answers(graphs, folder, inputs)
        return
    with pytest.raises(RuntimeError, match=f"signature `f`, .*{difference}"):
        check_answers(graphs, folder, inputs)


@pytest.mark.slow
def test_what_is_not_what_the_model_does_is_not_kept(tmp_path, monkeypatch):
    """A decoder's bias of the file is not that of the model: by what, says the message."""
    vae = mlp_vae()
    bias = vae.decoder.weights[-1]
    vae.decoder.weights[0].assign(tf.zeros([2, 6]))
    vae.export(tmp_path / "1", verbose=False)

    def save(served, folder, **settings):
        bias.assign(tf.fill([6], np.log(3.0)))
        write(served, folder, **settings)
        bias.assign(tf.zeros([6]))

    write = tf.saved_model.save
    monkeypatch.setattr(tf.saved_model, "save", save)
    expected = r"signature `serving_default`, output `reconstruction` off by 0\.25, .* up to 0\.5"
    with pytest.raises(RuntimeError, match=expected):
        vae.export(tmp_path / "1", verbose=False)
    decode = tf.saved_model.load(str(tmp_path / "1")).signatures["decode"]
    np.testing.assert_allclose(decode(z=tf.zeros([1, 2]))["x_mean"], np.full([1, 6], 0.5))
    vae.export(tmp_path / "1", verify=False, verbose=False)
    decode = tf.saved_model.load(str(tmp_path / "1")).signatures["decode"]
    np.testing.assert_allclose(decode(z=tf.zeros([1, 2]))["x_mean"], np.full([1, 6], 0.75))
    assert os.listdir(tmp_path) == ["1"]


@keras.saving.register_keras_serializable("tests")
class Noise(keras.layers.Layer):
    """Draws without a seed: no two answers are the same."""

    def call(self, inputs):
        return inputs + tf.random.normal(tf.shape(inputs))


@pytest.mark.slow
@pytest.mark.exhaustive
def test_draws_without_a_seed_are_found(tmp_path):
    tf.random.set_seed(None)  # TensorFlow makes one of this and of the place in the graph.
    encoder = keras.Sequential(
        [
            keras.Input((6,)),
            Noise(),
            keras.layers.Dense(4),
            tfvae.layers.MultivariateNormalDiag(2),
        ]
    )
    vae = tfvae.VAE(encoder, mlp_decoder(), seed=0)
    with pytest.raises(RuntimeError, match=r"was not kept.*signature `serving_default`, "):
        vae.export(tmp_path / "1", verbose=False)
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", slow_but("plain", "conditional", "regression", of={name: name for name in KINDS})
)
def test_inputs_are_made_up_that_a_model_takes(name):
    model, _ = kind(name)
    inputs = example_inputs(model)
    specs = model.data.specs(batch_size=2)
    model.data.checked_batch({part: inputs[part] for part in specs})
    for node, spec in latent_inputs(model).items():
        assert inputs[node].shape == (2, *spec.shape[1:])
        assert np.all(np.isfinite(inputs[node]))
    again = example_inputs(model)
    for part in specs if name != "directions" else ():
        np.testing.assert_array_equal(inputs[part], again[part])
