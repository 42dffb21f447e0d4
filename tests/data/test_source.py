"""Data as users hand it over: arrays, labels, weights, shares of them."""

import warnings

import keras
import numpy as np
import pytest

import tfvae
from tfvae.data.source import Source


def test_sources_are_split_row_by_row():
    source = Source.of(({"x": np.arange(10.0), "context": np.arange(20.0)[::2]}, None, np.ones(10)))
    first, last = source.split(0.25)
    assert (first.num_rows, last.num_rows) == (7, 3)
    np.testing.assert_array_equal(last.x["context"], 2.0 * last.x["x"])
    assert first.x["x"].dtype == keras.config.floatx()
    assert last.y is None
    np.testing.assert_array_equal(last.for_keras()[1], np.zeros(3))


def test_numbers_beyond_the_type_of_the_model_are_told():
    """Finite in float64, infinite where it is computed with them."""
    encoder = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(4), tfvae.layers.MultivariateNormalDiag(2)]
    )
    decoder = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(4), tfvae.layers.IndependentNormal(2)]
    )
    vae = tfvae.VAE(encoder, decoder)
    vae.compile("adam")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="infinite values: 1 in 1 of 3"):
            vae.fit(np.array([[1.0, 2.0], [1e300, 0.0], [0.0, 0.0]]), verbose=0)
