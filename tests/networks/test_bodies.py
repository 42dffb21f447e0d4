"""Ready-made bodies: shapes, the gate's formula, initial weights."""

import keras
import numpy as np
import pytest

from tfvae import networks


@pytest.mark.parametrize(
    ("make", "input_shape", "output_size", "weights"),
    [
        (lambda: networks.mlp([7, 3]), (4,), 3, [(4, 7), (7,), (7, 3), (3,)]),
        (lambda: networks.mlp([3], "tanh", name="body"), (2, 2, 1), 3, [(4, 3), (3,)]),
        (lambda: networks.gated_mlp([7, 3]), (4,), 3, [(4, 14), (14,), (7, 6), (6,)]),
        (
            lambda: networks.conv([3, 5], kernel_size=5),
            (8, 12, 2),
            2 * 3 * 5,
            [(5, 5, 2, 3), (3,), (5, 5, 3, 5), (5,)],
        ),
        (
            lambda: networks.conv_transpose([5, 3], image_shape=(8, 12, 2)),
            (4,),
            (8, 12, 3),
            [(4, 30), (30,), (3, 3, 5, 5), (5,), (3, 3, 3, 5), (3,)],
        ),
    ],
    ids=["mlp", "mlp of images", "gated_mlp", "conv", "conv_transpose"],
)
def test_bodies(make, input_shape, output_size, weights, tmp_path):
    body = make()
    x = np.random.default_rng(0).normal(size=(5, *input_shape)).astype("float32")
    y = body(x)
    shape = output_size if isinstance(output_size, tuple) else (output_size,)
    assert y.shape == (5, *shape)
    assert [tuple(w.shape) for w in body.weights] == weights
    # Symbolic in a Functional model, and through a file in safe mode.
    inputs = keras.Input(input_shape)
    model = keras.Model(inputs, body(inputs))
    assert model.output_shape == (None, *shape)
    model.save(tmp_path / "body.keras")
    loaded = keras.models.load_model(tmp_path / "body.keras")
    np.testing.assert_array_equal(loaded(x), model(x))


def test_bodies_end_with_their_activation():
    x = np.random.default_rng(0).normal(size=(50, 4)).astype("float32")
    assert np.min(networks.conv_transpose([3], image_shape=(4, 4))(x)) == 0.0
    assert np.min(networks.mlp([9])(x)) == 0.0
    assert np.min(networks.conv([3])(x.reshape(50, 2, 2, 1))) == 0.0
    assert np.min(networks.mlp([9], activation=keras.activations.tanh)(x)) < 0.0


def test_gated_dense_is_its_formula():
    layer = networks.GatedDense(3)
    x = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("float32")
    layer.build(x.shape)
    layer.bias.assign(np.arange(6.0))
    kernel, bias = layer.kernel.numpy().astype("float64"), layer.bias.numpy()
    linear, gate = x @ kernel[:, :3] + bias[:3], x @ kernel[:, 3:] + bias[3:]
    np.testing.assert_allclose(layer(x), linear / (1.0 + np.exp(-gate)), rtol=1e-5, atol=1e-6)
    assert layer.compute_output_shape((None, 4)) == (None, 3)


@pytest.mark.parametrize("seed", [None, 7])
def test_halves_of_the_gate_start_like_two_dense_layers(seed):
    layer = networks.GatedDense(200, kernel_initializer=keras.initializers.GlorotUniform(seed))
    layer.build((None, 100))
    halves = np.split(layer.kernel.numpy(), 2, axis=-1)
    bound = np.sqrt(6.0 / (100 + 200))  # of a kernel [100, 200], not [100, 400]
    for half in halves:
        assert np.max(np.abs(half)) <= bound
        assert np.max(np.abs(half)) > 0.99 * bound
        # 20,000 uniform draws: standard error of the mean of squares by hand.
        error = np.sqrt(4.0 / 45.0) * bound**2 / np.sqrt(half.size)
        assert abs(np.mean(half**2) - bound**2 / 3.0) <= 5 * error
    correlation = np.corrcoef(halves[0].ravel(), halves[1].ravel())[0, 1]
    assert abs(correlation) <= 5 / np.sqrt(halves[0].size)
    copy = networks.GatedDense.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    if seed is not None:
        copy.build((None, 100))
        np.testing.assert_array_equal(copy.kernel, layer.kernel)


def test_gated_dense_takes_initializers_of_all_kinds():
    layer = networks.GatedDense(2, kernel_initializer="ones")
    layer.build((None, 3))
    np.testing.assert_array_equal(layer.kernel, np.ones([3, 4]))
    layer = networks.GatedDense(
        2, kernel_initializer=lambda shape, dtype=None: np.full(shape, 2.0, dtype)
    )
    layer.build((None, 3))
    np.testing.assert_array_equal(layer.kernel, np.full([3, 4], 2.0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: networks.GatedDense(0), "`units` must be a whole number >= 1. Received: units=0"),
        (lambda: networks.GatedDense(2.5), "Received: units=2.5"),
        (lambda: networks.mlp([]), r"`hidden` must be a non-empty sequence.*hidden=\[\]"),
        (lambda: networks.mlp(300), "non-empty sequence of positive ints. Received: hidden=300"),
        (lambda: networks.gated_mlp([3, -1]), r"Received: hidden=-1"),
        (lambda: networks.conv([0]), r"`filters`.*Received: filters=0"),
        (
            lambda: networks.conv_transpose([4, 4], image_shape=(28, 30, 1)),
            r"multiples of 2 \*\* len\(filters\) = 4. Received: image_shape=\(28, 30, 1\)",
        ),
        (lambda: networks.conv_transpose([4], image_shape=(28,)), r"\(height, width, channels\)"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_functional_joins_inputs_in_their_order():
    network = networks.functional({"x": (2, 3), "c": 2}, keras.layers.Rescaling(2.0))
    x, c = np.arange(12.0).reshape(2, 2, 3), np.full((2, 2), 50.0)
    np.testing.assert_array_equal(network([x, c])[:, -2:], np.full((2, 2), 100.0))
    np.testing.assert_array_equal(network([x, c])[:, :6], 2.0 * x.reshape(2, 6))
    assert [part.name for part in network.inputs] == ["x", "c"]
    image = networks.functional({"x": (4, 4, 1)}, keras.layers.Conv2D(2, 3))  # not flattened
    assert image.output_shape == (None, 2, 2, 2)
    for arguments in ([{}, keras.layers.Dense(1)], [{"x": 2}]):
        with pytest.raises(ValueError, match="at least one input and one layer"):
            networks.functional(*arguments)
