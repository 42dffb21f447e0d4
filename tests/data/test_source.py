"""Data as users hand it over: arrays, labels, weights, shares of them."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import binary_data, mlp_vae
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


class Table:
    """Columns by name, as tables of pandas have them: as one array it is one of objects."""

    def __init__(self, **columns):
        self._columns = columns
        self.columns = list(columns)

    def __getitem__(self, name):
        return self._columns[name]

    def __array__(self, dtype=None, copy=None):
        columns = [np.asarray(column, object) for column in self._columns.values()]
        return np.stack(columns, axis=-1).astype(dtype or object)


RAGGED = tf.ragged.constant([[1.0], [0.0, 1.0]])
SPARSE = tf.sparse.from_dense(binary_data(2))
MASKED = np.ma.masked_array(binary_data(4), mask=np.arange(24).reshape(4, 6) == 5)
TABLE = Table(age=np.array([1.0, 2.0]), town=np.array(["a", "b"], object))

UNREADABLE = {
    "a class": (dict, TypeError, "Received: the type 'dict'"),
    "a function": (binary_data, TypeError, "the function 'binary_data'"),
    "text": ("x.npy", TypeError, "the str 'x.npy'"),
    "ragged": (RAGGED, ValueError, "RaggedTensor. Make it dense"),
    "sparse": (SPARSE, ValueError, "SparseTensor. Make it dense"),
    "ragged batches": (tf.data.Dataset.from_tensors(RAGGED), ValueError, "RaggedTensorSpec"),
    "sparse batches": (tf.data.Dataset.from_tensors((SPARSE, 0)), ValueError, "SparseTensorSpec"),
    "hidden values": (MASKED, ValueError, "1 of 24 hidden"),
    "a column of text": (TABLE, ValueError, r"Received: town \(object\)\."),
}


@pytest.fixture(scope="module")
def vae():
    model = mlp_vae()
    model.compile("adam")
    return model


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_cannot_be_read_whole_is_refused_in_words_everywhere(case, vae):
    data, error, message = UNREADABLE[case]
    calls = {
        "x": [lambda x: vae.fit(x, verbose=0), lambda x: vae.evaluate(x, verbose=0), vae.predict],
        "validation_data": [
            lambda x: vae.fit(binary_data(4), validation_data=(x,), epochs=1, verbose=0)
        ],
        "data": [
            lambda x: tfvae.log_likelihood(vae, x, 2, verbose=False),
            lambda x: tfvae.decompose(vae, x, verbose=False),
        ],
    }
    for name, found in calls.items():
        for call in found:
            with pytest.raises(error, match=message) as caught:
                call(data)
            assert str(caught.value).startswith(f"`{name}`")
    with pytest.raises(error, match=message) as caught:
        vae.fit(({"x": data}, None), verbose=0)
    assert str(caught.value).startswith('`x["x"]`')


def test_an_array_with_a_mask_that_hides_nothing_is_data(vae):
    x = binary_data(4)
    given = np.ma.masked_array(x, mask=np.zeros_like(x, bool))
    assert vae.evaluate(given, verbose=0) == vae.evaluate(x, verbose=0)
