"""Filling of missing entries, by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfvae.networks import FillMissing

X = np.array([[1.0, np.nan], [np.nan, np.nan], [2.0, 3.0]], "float32")
FILLED = np.array([[1.0, -5.0], [-5.0, -5.0], [2.0, 3.0]])


@pytest.mark.xla
def test_numbers_and_indicators():
    missing = np.isnan(X)
    for layer, expected in [
        (FillMissing(-5.0), np.concatenate([FILLED, missing], axis=1)),
        (FillMissing(-5.0, indicators=False), FILLED),
    ]:
        for call in (layer, tf.function(layer), tf.function(layer, jit_compile=True)):
            np.testing.assert_array_equal(call(X), expected)
        assert layer.compute_output_shape((None, 2)) == (None, expected.shape[1])
        copy = type(layer).from_config(layer.get_config())
        np.testing.assert_array_equal(copy(X), expected)
    image = np.where(np.arange(24).reshape(1, 4, 3, 2) % 5, 1.0, np.nan)
    filled = FillMissing()(image)
    assert filled.shape == (1, 4, 3, 4)
    np.testing.assert_array_equal(filled[..., 2:], np.isnan(image))
    np.testing.assert_array_equal(filled[..., :2], np.nan_to_num(image))


def test_in_models_and_files(tmp_path):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(3)(FillMissing()(inputs)))
    assert model.layers[-1].kernel.shape == (4, 3)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(X), model(X))
    assert np.all(np.isfinite(model(X)))
    assert FillMissing(dtype="mixed_float16")(X).dtype == tf.float16


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_value_must_be_finite(value):
    with pytest.raises(
        ValueError, match=f"`value` must be a finite number. Received: value={value}"
    ):
        FillMissing(value)
