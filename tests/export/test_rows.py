"""Requests of any number of rows: each row is answered as it is alone."""

import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import slow_but
from tests.export.kinds import NUM, SERVED, served
from tfvae.export.rows import with_rows
from tfvae.export.signatures import signatures

NAMES = {name: name for name in SERVED}


def traced(model):
    """Returns the graph of each signature, of any batch size."""
    return {
        name: tf.function(function, input_signature=specs, autograph=False)
        for name, (function, specs) in signatures(model).items()
    }


def request(function, inputs, rows=slice(None)):
    """Returns the inputs of a signature, of some rows."""
    specs = function.input_signature
    return [
        inputs[str(spec.name)][rows if spec.shape.rank and spec.shape[0] is None else ...]
        for spec in specs
    ]


@pytest.mark.slow
@pytest.mark.rewriting
@pytest.mark.parametrize("name", slow_but("plain", "conditional", of=NAMES))
def test_any_number_of_rows_is_answered(name):
    model, inputs = served(name)
    for signature, function in traced(model).items():
        full = function(*request(function, inputs))
        for count in (0, 1):
            answer = function(*request(function, inputs, slice(count)))
            drawn_alone = signature == "generate" and not model.data.takes_context
            expected = NUM if drawn_alone else count
            assert answer.keys() == full.keys()
            for key, value in answer.items():
                assert value.dtype == full[key].dtype
                assert value.shape == (expected, *full[key].shape[1:]), (signature, key, count)


def test_the_row_that_stands_in_is_that_of_no_request():
    asked = []

    def answer(x, seed):
        asked.append(x.shape[0])
        return {"sum": tf.reduce_sum(x, axis=1), "seeds": tf.repeat(seed[None], x.shape[0], axis=0)}

    for count in (0, 1, 3):
        found = with_rows(answer, {"x": tf.ones([count, 4]), "seed": tf.constant([1, 2])})
        np.testing.assert_array_equal(found["sum"], np.full(count, 4.0))
        assert found["seeds"].shape == (count, 2)
    assert asked == [1, 1, 3]


@pytest.mark.rewriting
def test_convolutions_of_nothing():
    """With the rewriting, by which TensorFlow makes one operation of padding and convolution."""
    kernel = tf.ones([1, 3, 2, 4])

    @tf.function(input_signature=[tf.TensorSpec([None, 2, 3, 2])], autograph=False)
    def convolved(x):
        return with_rows(lambda x: {"y": tf.nn.conv2d(x, kernel, 1, "VALID") + 1.0}, {"x": x})

    for count in (0, 1, 3):
        y = convolved(tf.ones([count, 2, 3, 2]))["y"]
        np.testing.assert_array_equal(y, np.full([count, 2, 1, 4], 7.0))
