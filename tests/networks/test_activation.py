"""Which activations leave units apart: of Keras's own, all but those over an axis."""

import keras
import pytest

import tfvae
from tfvae.networks import MADE, MaskedDense
from tfvae.networks.activation import elementwise_activation

MIXING = {"glu", "log_softmax", "softmax", "sparsemax"}
NAMES = set(dir(keras.activations)) - {"deserialize", "get", "serialize", "threshold"}
ALL = sorted(name for name in NAMES if not name.startswith("_"))


def test_all_activations_of_keras():
    assert set(ALL) > MIXING
    for name in ALL:
        if name in MIXING:
            with pytest.raises(ValueError, match=rf"by itself.*Received: activation='{name}'"):
                elementwise_activation(name)
        else:
            assert elementwise_activation(name) is keras.activations.get(name)


@pytest.mark.parametrize(
    "activation",
    [
        "softmax",
        keras.layers.Softmax(),
        keras.layers.PReLU(),
        lambda x: x - keras.ops.mean(x, axis=0),  # examples of a batch
        lambda x: keras.random.dropout(x, 0.5),
        lambda x: x[..., :1],
    ],
    ids=["softmax", "layer", "weights", "batch", "draws", "shape"],
)
def test_what_mixes_units_is_refused_by_masked_networks(activation):
    element = tfvae.layers.IndependentNormal()
    for make in (
        lambda: MADE(2, 4, hidden_units=[8], activation=activation),
        lambda: MaskedDense([1, 2], [1, 2], activation=activation),
        lambda: tfvae.layers.Autoregressive(4, element, activation=activation),
        lambda: tfvae.flows.MaskedAutoregressive(1, [8], activation=activation).build((4,), 0),
    ):
        with pytest.raises(ValueError, match="`activation` of a masked network must treat each"):
            make()


def test_layers_without_weights_will_do():
    layer = keras.layers.LeakyReLU(0.2)
    assert elementwise_activation(layer) is layer
    assert elementwise_activation(None) is keras.activations.linear
