"""What 32 bits merge is told, by its column, and nothing else is."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import mlp_decoder, mlp_encoder
from tfvae.data.digits import tell_lost_digits

NOW = 1.7e9
SECONDS = NOW + np.arange(300.0)
OTHERS = np.linspace(-1.0, 1.0, 300)


def test_seconds_since_1970_are_told_by_column():
    x = np.stack([OTHERS, SECONDS], axis=1)
    assert len(np.unique(SECONDS.astype("float32"))) == 3
    with pytest.warns(UserWarning, match=r"`x` loses .* in column 1: .*multiples of 128\."):
        tell_lost_digits(x, "x")
    with pytest.warns(UserWarning, match="in column 'ts'"):
        tell_lost_digits(x, "x", ["u", "ts"])
    with pytest.warns(UserWarning, match=r"at \[1, 0\]"):
        tell_lost_digits(x[..., None], "x")
    with pytest.warns(UserWarning, match="and 1 more such"):
        tell_lost_digits(np.stack([SECONDS, SECONDS], axis=1).astype("int64"), "x")


@pytest.mark.parametrize(
    "column",
    [
        SECONDS.astype("float32"),
        NOW + 1e5 * np.arange(300.0),
        np.where(np.arange(300) % 2, np.nan, OTHERS),
        np.full(300, NOW + 0.3),
        0.3 + 6e-17 * (np.arange(300) % 3),
        2.0**24 + 2.0 * np.arange(300),
        np.arange(300),
        np.arange(300) % 2 == 0,
        np.where(np.arange(300) == 7, np.nan, 2.0**24 + 2.0 * np.arange(300)),
        np.full(300, np.nan),
        np.array(["a"] * 300),
        np.zeros(0),
        SECONDS[:9],
        1e39 + 1e33 * np.arange(300),
    ],
)
def test_nothing_is_said_of_what_stays_apart(column):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tell_lost_digits(column, "x")
        tell_lost_digits(column[:, None], "x")
        tell_lost_digits(np.float64(3.0) * np.ones([]), "x")


def test_wide_models_lose_nothing():
    keras.config.set_floatx("float64")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tell_lost_digits(SECONDS, "x")
    finally:
        keras.config.set_floatx("float32")


def test_whoever_gives_data_is_told_once_and_where():
    x = np.stack([SECONDS, *[OTHERS] * 5], axis=1)
    vae = tfvae.VAE(mlp_encoder(), mlp_decoder(likelihood=tfvae.layers.IndependentNormal), seed=0)
    vae.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    for use in (
        lambda: vae.fit(x[:20], verbose=0),
        lambda: vae.fit((1e3 * x[:20]).astype("int64"), verbose=0),
        lambda: vae.evaluate(x[:20], verbose=0),
        lambda: tfvae.log_likelihood(vae, x[:20], 2, verbose=False),
    ):
        with pytest.warns(UserWarning, match="loses digits in float32 in column 0") as said:
            use()
        assert len([w for w in said if "digits" in str(w.message)]) == 1
        assert said[0].filename == __file__
    stream = tf.data.Dataset.from_tensor_slices(np.repeat(x, 2, axis=0)).batch(20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tfvae.log_likelihood(vae, stream, 2, verbose=False)
    table = tfvae.check(vae, x[:20], num_samples=8, verbose=False)
    assert (table["data"].level, "loses digits" in table["data"].found) == ("warning", True)
