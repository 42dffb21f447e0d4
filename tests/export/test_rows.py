"""Requests of any number of rows: each row is answered as it is alone, wherever it stands."""

import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import slow_but
from tests.export.kinds import NUM, SERVED, served
from tfvae.export.rows import answered, with_rows
from tfvae.export.signatures import signatures

NAMES = {name: name for name in SERVED}
SEEDS = tf.constant([[row, 3 * row + 5] for row in range(NUM)])


class Signature:
    """The graph of a signature, of any batch size, and how it is asked of some rows."""

    def __init__(self, function, specs, inputs, num_samples):
        self.names = [str(spec.name) for spec in specs]
        self.function = tf.function(function, input_signature=specs, autograph=False)
        # As in requests that a server merges, all inputs have rows.
        self.inputs = {**inputs, "seed": SEEDS, "num_samples": tf.fill([NUM], num_samples)}

    def __call__(self, rows, **others):
        inputs = {name: tf.gather(self.inputs[name], rows) for name in self.names}
        inputs |= {name: value for name, value in others.items() if name in inputs}
        answer = self.function(*(inputs[name] for name in self.names))
        return {name: value.numpy() for name, value in answer.items()}


def assert_same(answer, expected):
    assert answer.keys() == expected.keys()
    for name, value in expected.items():
        assert answer[name].dtype == value.dtype
        np.testing.assert_allclose(answer[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


def joined(*answers):
    return {name: np.concatenate([a[name] for a in answers]) for name in answers[0]}


@pytest.mark.slow
@pytest.mark.rewriting
@pytest.mark.parametrize("name", slow_but("plain", of=NAMES))
def test_rows_know_nothing_of_each_other(name):
    """Two requests merged by a server, as one batch, in another order, and row by row."""
    model, inputs = served(name)
    for signature, (function, specs) in signatures(model).items():
        num_samples = 1 if signature == "generate" else 3
        ask = Signature(function, specs, inputs, num_samples)
        whole = ask(range(NUM))
        assert all(len(value) == NUM for value in whole.values())
        assert_same(joined(ask([0, 1, 2]), ask([3, 4, 5, 6])), whole)
        order = [4, 0, 6, 2, 5, 1, 3]
        assert_same(ask(order), {name: value[order] for name, value in whole.items()})
        alone = ask([5], seed=SEEDS[5], num_samples=tf.constant(num_samples))
        assert_same(alone, {name: value[5:6] for name, value in whole.items()})
        nothing = ask(tf.zeros([0], tf.int32))
        assert_same(nothing, {name: value[:0] for name, value in whole.items()})
        if "seed" in ask.names and (signature != "generate" or model.data.takes_context):
            together = ask(range(NUM), seed=SEEDS[5], num_samples=tf.constant(num_samples))
            assert all(len(value) == NUM for value in together.values())


def noise(x, seed):
    return {"y": x + tf.random.stateless_normal(tf.shape(x), seed)}


def test_a_seed_for_each_row_is_that_of_the_row_alone():
    x, seeds = tf.constant([[1.0], [2.0], [3.0]]), tf.constant([[0, 1], [0, 2], [0, 1]])
    y = answered(noise, {"x": x, "seed": seeds})["y"]
    expected = [noise(x[row : row + 1], seeds[row])["y"][0] for row in range(3)]
    np.testing.assert_allclose(y, expected)
    together = answered(noise, {"x": x, "seed": seeds[0]})["y"]
    np.testing.assert_allclose(together, noise(x, seeds[0])["y"])


def test_noise_without_a_seed_is_that_of_every_row():
    x = tf.constant([[1.0, 4.0], [2.0, 4.0], [3.0, 4.0]])
    y = answered(lambda x: noise(x, [0, 1]), {"x": x})["y"]
    np.testing.assert_allclose(y - x, np.tile(noise(x[:1], [0, 1])["y"] - x[:1], [3, 1]), rtol=1e-5)


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
