"""No part of the package writes code into a file: functions are registered, or refused by name."""

import inspect
import json
import math
import warnings
import zipfile
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tests.conftest import slow_but
from tfvae import flows, layers, networks, priors
from tfvae._stored import made_again, objects_config, part_config

# All arguments that take a function.
FUNCTIONS = {
    "activation",
    "kernel_initializer",
    "bias_initializer",
    "output_initializer",
    "loc_initializer",
    "initializer",
    "kernel_regularizer",
    "bias_regularizer",
    "regularizer",
    "constraint",
    "convert_to_tensor_fn",
}
MAKE = {
    layers.VariableLayer: lambda **k: layers.VariableLayer(2, **k),
    layers.Autoregressive: lambda **k: layers.Autoregressive(
        3, layers.IndependentNormal(), hidden_units=[4], **k
    ),
    layers.PixelCNN: lambda **k: layers.PixelCNN(
        (3, 3, 1), layers.IndependentNormal(), filters=2, num_blocks=1, **k
    ),
    layers.MultivariateNormalDiag: lambda **k: layers.MultivariateNormalDiag(2, **k),
    networks.MaskedDense: lambda **k: networks.MaskedDense([1, 2], [1, 2], **k),
    networks.MADE: lambda **k: networks.MADE(2, 3, hidden_units=[4], **k),
    networks.GatedPixelCNN: lambda **k: networks.GatedPixelCNN(1, (3, 3, 1), filters=2, **k),
    networks.GatedDense: lambda **k: networks.GatedDense(2, **k),
    networks.ConditionalMLP: lambda **k: networks.ConditionalMLP([4], 2, **k),
    flows.RealNVP: flows.RealNVP,
    flows.NeuralSpline: flows.NeuralSpline,
    flows.MaskedAutoregressive: flows.MaskedAutoregressive,
    flows.InverseAutoregressive: flows.InverseAutoregressive,
    priors.GaussianMixture: priors.GaussianMixture,
    priors.Autoregressive: lambda **k: priors.Autoregressive(2, **k),
    priors.Parametric: lambda **k: priors.Parametric(layers.MultivariateNormalDiag(2), **k),
    priors.RealNVP: priors.RealNVP,
    priors.NeuralSpline: priors.NeuralSpline,
    priors.MaskedAutoregressive: priors.MaskedAutoregressive,
}


@keras.saving.register_keras_serializable("tests")
def relu(x, *args, **kwargs):
    """Has the name of one of Keras's own, and is another."""
    return 0.5 * tf.nn.relu(tf.zeros(x) if isinstance(x, (tuple, list)) else x)


def takes_functions(cls):
    """Returns the arguments of a class and its bases that take a function."""
    found = set()
    for base in cls.__mro__:
        if base.__module__.startswith("tfvae") and "__init__" in vars(base):
            found |= FUNCTIONS & set(inspect.signature(base.__init__).parameters)
    return found


CASES = sorted(
    ((cls, name) for cls in MAKE for name in takes_functions(cls)),
    key=lambda case: (case[0].__module__, case[0].__name__, case[1]),
)


def test_every_class_that_takes_functions_is_here():
    public = {
        getattr(home, name) for home in (networks, flows, priors) for name in home.__all__
    } | {layers.VariableLayer, layers.Autoregressive, layers.PixelCNN}
    classes = {c for c in public if inspect.isclass(c) and takes_functions(c)}
    assert classes <= set(MAKE), classes - set(MAKE)


@pytest.mark.parametrize(("cls", "name"), CASES, ids=lambda v: getattr(v, "__name__", v))
def test_lambdas_are_refused_and_registered_functions_stored(cls, name):
    if cls in (layers.Autoregressive, layers.PixelCNN) and name == "convert_to_tensor_fn":
        made = MAKE[cls](**{name: lambda q: q.sample()})
    else:
        made = MAKE[cls](**{name: lambda x, *args, **kwargs: relu(x)})
    with pytest.raises(ValueError, match=rf"`{name}` of .*cannot be stored as data: <function"):
        made.get_config()
    config = MAKE[cls](**{name: relu}).get_config()
    assert "tests>relu" in json.dumps(config[name])
    assert getattr(cls.from_config(config), name, relu) is relu


def test_activity_regularizers_are_refused_as_well():
    layer = layers.MultivariateNormalDiag(2, activity_regularizer=lambda x: tf.reduce_sum(x))
    with pytest.raises(ValueError, match=r"`activity_regularizer` of layer .*cannot be stored"):
        layer.get_config()


def test_parts_of_keras_are_stored_as_keras_does():
    assert part_config(None, "It") is None
    assert part_config(keras.activations.relu, "It") == "relu"
    assert part_config(tf.nn.softplus, "It") == "softplus"
    stored = part_config(keras.initializers.Constant(2.0), "It")
    again: Any = keras.initializers.get(stored)
    assert again.value == 2.0

    def relu(x):
        return x

    with pytest.raises(ValueError, match=r"It cannot be stored as data: .*relu"):
        part_config(relu, "It")
    assert tfvae.networks.MADE(2, 3, activation="elu").get_config()["activation"] == "elu"


def test_objects_and_lists_of_objects_come_back():
    dense, both = keras.layers.Dense(3), [keras.layers.ReLU(), keras.layers.Dense(1)]
    stored = json.loads(json.dumps({**objects_config(first=dense, both=both, none=None), "n": 5}))
    again = made_again(stored, "first", "both", "none", "absent")
    assert again["first"].get_config() == dense.get_config()
    assert [layer.get_config() for layer in again["both"]] == [p.get_config() for p in both]
    assert (again["none"], again["n"]) == (None, 5)
    assert isinstance(stored["first"], dict)


@pytest.mark.parametrize("body", ["mlp", "conv", "conv_transpose", "lambda layer"])
def test_layers_of_keras_within_a_model_store_no_code_either(body, tmp_path):
    if body == "lambda layer":
        within: Any = keras.layers.Lambda(lambda x: 2.0 * x, name="twice")
    else:
        size = {"image_shape": (4, 4)} if body == "conv_transpose" else {}
        within = getattr(networks, body)([4], activation=lambda x: 2.0 * x, **size)
    shape = (4, 4, 1) if body == "conv" else (6,)
    encoder = keras.Sequential(
        [
            keras.Input(shape),
            within,
            keras.layers.Flatten(),
            keras.layers.Dense(4),
            layers.MultivariateNormalDiag(2),
        ]
    )
    decoder = keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(math.prod(shape)),
            layers.IndependentBernoulli(shape),
        ]
    )
    vae = tfvae.VAE(encoder, decoder)
    name = {"lambda layer": "twice", "conv": "conv"}.get(body, "dense")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=rf"Layer '{name}\w*' holds a function that cannot"):
            vae.save(tmp_path / "vae.keras")
    assert not (tmp_path / "vae.keras").exists()


def test_numbers_of_initializers_are_no_code():
    constant: Any = keras.initializers.Constant(2.0)
    dense = keras.layers.Dense(1, kernel_initializer=constant)
    assert objects_config(dense=dense)["dense"]["config"]["kernel_initializer"]["config"]


def _penalised(prior: Any, **settings: Any) -> Any:
    """Two layers with penalties of their own, which hold the same parts."""

    def penalty() -> Any:
        return layers.KLDivergenceRegularizer(prior, **settings)

    return [layers.MultivariateNormalDiag(2, activity_regularizer=penalty()) for _ in range(2)]


def _penalised_after(prior: Any, **settings: Any) -> Any:
    return [
        keras.Sequential(
            [
                layers.MultivariateNormalDiag(2),
                layers.KLDivergenceAddLoss(prior, **settings),
            ]
        )
        for _ in range(2)
    ]


def _one_penalty() -> Any:
    penalty: Any = layers.KLDivergenceRegularizer(priors.Normal(2))
    return [layers.MultivariateNormalDiag(2, activity_regularizer=penalty) for _ in range(2)]


def _one_flow() -> Any:
    flow = flows.InverseAutoregressive(1, [3])
    return [layers.TransformedDistribution(layers.MultivariateNormalDiag(2), flow) for _ in "ab"]


def _of_variable() -> Any:
    return tfp.distributions.MultivariateNormalDiag(tf.Variable([0.5, 0.0]), [1.0, 1.0])


# Each makes two layers that hold one part with weights, and says how many weights that has.
SHARING: dict[str, Any] = {
    "prior of regularizers": (lambda: _penalised(priors.Normal(2)), 2),
    "prior of layers": (lambda: _penalised_after(priors.Normal(2)), 2),
    "variable of regularizers": (
        lambda: _penalised(priors.StandardNormal(2), weight=keras.Variable(0.5)),
        1,
    ),
    "variable of layers": (
        lambda: _penalised_after(priors.StandardNormal(2), weight=tf.Variable(0.5)),
        1,
    ),
    "distribution": (lambda: _penalised(_of_variable()), 1),
    "distribution of layers": (lambda: _penalised_after(_of_variable()), 1),
    "regularizer": (_one_penalty, 2),
    "flow": (_one_flow, 4),
}


@pytest.mark.parametrize(("make", "num_weights"), slow_but(*SHARING, of=SHARING))
def test_what_two_layers_share_is_one_part_of_the_loaded_model_too(make, num_weights, tmp_path):
    first, second = make()
    inputs = keras.Input((3,))
    z = first(keras.layers.Dense(4)(inputs))
    model = keras.Model(inputs, second(keras.layers.Dense(4)(z)))
    assert len(model.weights) == 4 + num_weights
    for index, weight in enumerate(model.trainable_weights):
        weight.assign(weight + 0.1 * index)
    for name in ("once", "again"):
        model.save(tmp_path / f"{name}.keras")
    loaded: Any = keras.models.load_model(tmp_path / "once.keras")
    assert len(loaded.weights) == len(model.weights)
    for before, after in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(before, after)
    configs = [zipfile.ZipFile(path).read("config.json") for path in tmp_path.glob("*.keras")]
    assert configs[0] == configs[1]


def test_nothing_is_marked_outside_of_a_file():
    assert "shared_object_id" not in json.dumps(_one_penalty()[0].get_config())
