"""Dense networks with a context."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfvae.networks import ConditionalMLP


def values(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.mark.parametrize("context_size", [0, 3])
def test_is_the_formula(context_size):
    network = ConditionalMLP([5, 7], (2, 3), "tanh", output_stddev=0.5)
    x, context = values(6, 4), values(6, 3, seed=1) if context_size else None
    y = network(x) if context is None else network(x, context)
    weights = {w.path.split("/", 1)[1]: w.numpy() for w in network.weights}
    assert len(weights) == 6 + bool(context_size)
    kernels = [w for w in network.get_weights() if w.ndim == 2]
    first = kernels.pop(0)
    h = x @ first
    if context is not None:
        h = h + context @ kernels.pop(0)
    for kernel in kernels:
        h = np.tanh(h) @ kernel  # biases start at zero
    np.testing.assert_allclose(y, h.reshape(6, 2, 3), rtol=1e-4, atol=1e-5)


def test_leading_axes_broadcast():
    network = ConditionalMLP([5, 4], 3)
    x, context = values(2, 6, 1, 4), values(7, 2, seed=1)
    y = network(x, context)
    assert y.shape == (2, 6, 7, 3)
    np.testing.assert_allclose(y[1, 2, 5], network(x[1, 2, 0], context[5]), rtol=1e-4, atol=1e-7)
    symbolic = network(keras.Input((6, 1, 4)), keras.Input((1, 7, 2)))
    assert symbolic.shape == (None, 6, 7, 3)

    @tf.function(input_signature=[tf.TensorSpec([None, 4]), tf.TensorSpec([None, 2])])
    def run(x, context):
        assert network(x, context).shape.as_list() == [None, 3]
        return network(x, context)

    expected = network(x[0, :, 0], context[:6])
    np.testing.assert_allclose(run(x[0, :, 0], context[:6]), expected, rtol=1e-5, atol=1e-7)


def test_outputs_start_near_zero():
    network = ConditionalMLP([64, 64], 5)
    assert 0.0 < np.max(np.abs(network(values(100, 3)))) < 0.05


def test_round_trips(tmp_path):
    inputs, context = keras.Input((4,)), keras.Input((2,))
    network = ConditionalMLP([5], (2, 3), "tanh", output_stddev=0.1)
    model = keras.Model([inputs, context], network(inputs, context))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = [values(6, 4), values(6, 2)]
    np.testing.assert_array_equal(loaded(x), model(x))
    assert ConditionalMLP.from_config(network.get_config()).get_config() == network.get_config()


def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match=r"at least one layer. Received: none"):
        ConditionalMLP([], 2)
    with pytest.raises(ValueError, match=r"`hidden_units` must be .* hidden_units=0"):
        ConditionalMLP([0], 2)
