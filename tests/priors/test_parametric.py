"""Any distribution layer as a prior, with all of its weights from the beginning."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.layers.cases import CASES
from tfvae import layers
from tfvae.priors import Parametric


def flow():
    return layers.TransformedDistribution(
        layers.MultivariateNormalDiag(2), tfvae.flows.RealNVP(2, [4])
    )


LAYERS = {
    **{cls.__name__: family[0].make for cls, family in CASES.items()},
    "TransformedDistribution": flow,
    "mixture of flows": lambda: layers.MixtureSameFamily(2, flow()),
    "Autoregressive": lambda: layers.Autoregressive(
        3, layers.IndependentBernoulli(), 2, hidden_units=[4]
    ),
    "PixelCNN": lambda: layers.PixelCNN(
        (3, 3, 1), layers.IndependentBernoulli(), 2, filters=2, num_blocks=1
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_all_weights_are_there_before_the_first_distribution(name):
    prior = Parametric(LAYERS[name]())
    before = [weight.path for weight in prior.weights]
    assert prior.distribution().event_shape == prior.event_shape
    assert [weight.path for weight in prior.weights] == before


@pytest.mark.slow
def test_weights_of_a_flow_train_and_are_stored(tmp_path):
    model = tfvae.DensityModel(Parametric(flow()))
    x = np.random.default_rng(0).normal(size=(8, 2)).astype("float32")
    model.compile("sgd", jit_compile=False)
    start = [weight.numpy() for weight in model.trainable_weights]
    assert len(start) > 1
    model.fit(x, verbose=0)
    pairs = zip(start, model.trainable_weights, strict=True)
    assert sum(np.any(old != new.numpy()) for old, new in pairs) > 1
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    densities = [
        tf.reduce_sum(m.distribution().log_prob(x)) for m in (model.density, loaded.density)
    ]
    np.testing.assert_array_equal(*densities)
