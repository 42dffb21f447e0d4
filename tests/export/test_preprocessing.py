"""Data as clients have it: it becomes data of the model within the file."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import mlp_vae
from tfvae.export.preprocessing import Preprocessing
from tfvae.export.signatures import signatures

GREYS = np.random.default_rng(0).integers(0, 256, (7, 2, 3)).astype("uint8")
BITS = (GREYS >= 127.5).reshape(-1, 6).astype("float32")
SEED = np.array([3, 4], "int32")


def bits_of_greys():
    return keras.Sequential(
        [
            keras.Input((2, 3), dtype="uint8"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Discretization(bin_boundaries=[0.5]),
            keras.layers.Reshape((6,)),
        ]
    )


def real_vae(context=False):
    """Returns a model of three real numbers, given one of three categories or nothing."""
    layers, networks = tfvae.layers, tfvae.networks
    given = {"context": 3} if context else {}
    encoder = networks.functional(
        {"x": 3, **given}, keras.layers.Dense(4), layers.MultivariateNormalDiag(2)
    )
    decoder = networks.functional(
        {"z": 2, **given}, keras.layers.Dense(6), layers.IndependentNormal(3)
    )
    return tfvae.VAE(encoder, decoder, seed=0)


@pytest.mark.slow
def test_clients_send_what_they_have(tmp_path):
    vae, names = mlp_vae(), ["encode", "elbo", "interpolate"]
    vae.export(tmp_path / "1", signatures=names, preprocessing=bits_of_greys(), verbose=False)
    served, live = tf.saved_model.load(str(tmp_path / "1")).signatures, signatures(vae, names)
    draws = {"num_samples": tf.constant(5), "seed": tf.constant(SEED)}
    for name in names:
        others = {"elbo": draws, "interpolate": {"num_steps": tf.constant(3)}}.get(name, {})
        for rows in (7, 1, 0):
            found, expected = ({"x": tf.constant(data[:rows]), **others} for data in (GREYS, BITS))
            if name == "interpolate":
                found["x_end"], expected["x_end"] = (
                    tf.constant(data[::-1][:rows]) for data in (GREYS, BITS)
                )
            answer, specs = live[name]
            expected = answer(*(expected[str(spec.name)] for spec in specs))
            found = served[name](**found)
            assert set(found) == set(expected)
            for key, value in expected.items():
                np.testing.assert_allclose(found[key], value, rtol=1e-5, atol=1e-6, err_msg=name)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"`encode`: `x` .*\[batch, 2, 3\]"):
        served["encode"](x=tf.zeros([2, 6], tf.uint8))
    card = json.loads((tmp_path / "1" / "assets.extra" / "model_card.json").read_text())
    assert card["preprocessing"]["x"]["shape"] == [None, 2, 3]
    assert card["signatures"]["encode"]["inputs"][0]["dtype"] == "uint8"


@pytest.mark.slow
def test_numbers_and_categories_are_looked_up_and_checked(tmp_path):
    """Weights and tables of what comes before go into the file with it."""
    vae = real_vae(context=True)
    x = np.random.default_rng(1).normal(50.0, 9.0, (5, 3)).astype("float32")
    scale = keras.layers.Normalization()
    scale.adapt(x)
    lookup = keras.layers.IntegerLookup(
        vocabulary=[10, 20, 30], num_oov_indices=0, output_mode="one_hot"
    )
    before = {
        "x": keras.Sequential([keras.Input((3,)), scale]),
        "context": keras.Sequential([keras.Input((1,), dtype="int64"), lookup]),
    }
    kinds = np.array([[30], [10], [20], [20], [10]], "int64")
    vae.export(tmp_path / "1", signatures=["encode"], preprocessing=before, verbose=False)
    encode = tf.saved_model.load(str(tmp_path / "1")).signatures["encode"]
    found = encode(x=tf.constant(x), context=tf.constant(kinds))["z_mean"]
    given = np.eye(3, dtype="float32")[kinds[:, 0] // 10 - 1]
    expected = vae.encode((x - x.mean(axis=0)) / x.std(axis=0), given).mean()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    bad = np.where(np.arange(15).reshape(5, 3) == 4, np.nan, x).astype("float32")
    with pytest.raises(tf.errors.InvalidArgumentError, match="Signature `encode`: `x`"):
        encode(x=tf.constant(bad), context=tf.constant(kinds))


@pytest.mark.slow
def test_what_comes_of_it_is_checked_as_data_is(tmp_path):
    vae, twice = mlp_vae(), keras.Sequential([keras.Input((6,)), keras.layers.Rescaling(2.0)])
    vae.export(tmp_path / "1", signatures=["encode"], preprocessing=twice, verbose=False)
    encode = tf.saved_model.load(str(tmp_path / "1")).signatures["encode"]
    np.testing.assert_allclose(
        encode(x=0.5 * tf.constant(BITS))["z_mean"], vae.encode(BITS).mean(), rtol=1e-5, atol=1e-6
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="`encode`, after preprocessing: `x`"):
        encode(x=tf.constant(BITS))


class Some(keras.layers.Layer):
    """Returns the first rows, or those of even numbers alone."""

    def __init__(self, first=None):
        super().__init__()
        self.first = first

    def call(self, inputs):
        even = tf.reduce_all(inputs % 2 == 0, axis=1)
        return inputs[: self.first] if self.first else tf.boolean_mask(inputs, even)

    def compute_output_shape(self, shape):
        return shape


def test_what_drops_rows_is_refused(tmp_path):
    """As soon as it can be known: answers would belong to other rows than were sent."""
    vae, numbers = mlp_vae(), keras.Input((6,), dtype="int32")
    with pytest.raises(ValueError, match=r"one example of each.*'two'.*Received: 2 of 3"):
        Preprocessing(vae, keras.Model(numbers, Some(first=2)(numbers), name="two"))
    even = keras.Model(numbers, Some()(numbers), name="even")
    vae.export(tmp_path / "1", signatures=["encode"], preprocessing=even, verbose=False)
    encode = tf.saved_model.load(str(tmp_path / "1")).signatures["encode"]
    assert len(encode(x=tf.zeros([3, 6], tf.int32))["z_mean"]) == 3
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"`encode`: .*Received: 2 of 3"):
        encode(x=tf.repeat([[0], [1], [0]], 6, axis=1))


def test_what_does_not_fit_is_refused(tmp_path):
    vae, dense = mlp_vae(), keras.layers.Dense(6)
    for given, message in [
        ({"y": bits_of_greys()}, r"parts of the data.*Expected: x\. Received: y"),
        (keras.Sequential([keras.Input((3,)), keras.layers.Dense(5)]), r"from \(3,\) to \(5,\)"),
        (
            keras.Sequential([keras.Input((None, 6)), keras.layers.GlobalAveragePooling1D()]),
            r"of a known shape.*from \(None, 6\) to \(6,\)",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            vae.export(tmp_path / "1", preprocessing=given, verbose=False)
    for given in (dense, keras.layers.Rescaling, lambda x: x):
        with pytest.raises(TypeError, match="must be a Keras model of one input"):
            Preprocessing(vae, given)
    with pytest.raises(ValueError, match="portable_encode are for other runtimes"):
        vae.export(
            tmp_path / "1",
            signatures=["portable_encode"],
            preprocessing=bits_of_greys(),
            verbose=False,
        )
    assert not (tmp_path / "1").exists()
