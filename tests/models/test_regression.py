"""Regression and classification as people know them: inputs, targets, means, intervals."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import tfvae
from tfvae import layers, networks
from tfvae.models.regression import described

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(60, 3)).astype("float32")
TARGETS = INPUTS.sum(axis=1, keepdims=True)


def regression():
    head = layers.IndependentNormal(1)
    network = networks.functional({"context": 3}, keras.layers.Dense(head.num_params), head)
    model = tfvae.ConditionalModel(network, seed=0)
    model.compile(keras.optimizers.SGD(0.01))
    return model


@pytest.mark.slow
def test_inputs_and_targets_train_as_data_by_name():
    start = regression().get_weights()
    found = []
    stream = tf.data.Dataset.from_tensor_slices((INPUTS, TARGETS)).batch(10)
    weights = np.linspace(0.0, 1.0, 60)
    for x, y, validation, more in [
        ({"x": TARGETS, "context": INPUTS}, None, ({"x": TARGETS, "context": INPUTS},), {}),
        (INPUTS, TARGETS, (INPUTS, TARGETS), {}),
        ((INPUTS, TARGETS), None, [INPUTS, TARGETS], {}),
        (stream, None, stream, {}),
        (INPUTS, TARGETS, (INPUTS, TARGETS, weights), {"sample_weight": np.ones(60)}),
    ]:
        model = regression()
        model.set_weights(start)
        size = {} if isinstance(x, tf.data.Dataset) else {"batch_size": 10}
        arguments = {"shuffle": False, "epochs": 2, "verbose": 0, **size, **more}
        logs = model.fit(x, y, validation_data=validation, **arguments).history
        found.append(logs)
    for logs in found[1:]:
        np.testing.assert_allclose(logs["elbo"], found[0]["elbo"], rtol=1e-5)
    for logs in found[1:4]:
        np.testing.assert_allclose(logs["val_elbo"], found[0]["val_elbo"], rtol=1e-5)
    assert found[4]["val_loss"] != found[0]["val_loss"]
    by_name = model.evaluate({"x": TARGETS, "context": INPUTS}, verbose=0)
    np.testing.assert_allclose(model.evaluate(INPUTS, TARGETS, verbose=0), by_name, rtol=1e-6)


def test_predictions_are_those_of_the_distribution():
    model = regression()
    p_y = model(INPUTS)
    found = model.predict(INPUTS, batch_size=25, interval=0.8)
    mean, stddev = np.array(p_y.mean()), np.array(p_y.stddev())
    np.testing.assert_allclose(found["mean"], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["upper"], stats.norm.ppf(0.9, mean, stddev), rtol=1e-4)
    np.testing.assert_allclose(found["lower"], stats.norm.ppf(0.1, mean, stddev), rtol=1e-4)
    data = {"x": TARGETS, "context": INPUTS}
    assert sorted(model.predict(data, verbose=0)) == ["log_prob", "mean", "stddev"]
    np.testing.assert_array_equal(model(data).mean(), p_y.mean())
    assert model.predict(INPUTS[:1])["mean"].shape == (1, 1)


def test_intervals_without_quantiles_come_from_draws():
    p = layers.MultivariateNormalTriL(2)(tf.zeros([3, 5]))
    found = described(p, 0.5)
    again = described(p, 0.5)
    np.testing.assert_array_equal(found["lower"], again["lower"])
    assert found["lower"].shape == (3, 2)
    share = np.mean((found["lower"] < 0.0) & (found["upper"] > 0.0))
    assert share == 1.0


def test_categories_have_probabilities():
    p = layers.IndependentCategorical((), 3)(tf.constant([[0.0, 1.0, 0.0], [2.0, 0.0, 0.0]]))
    found = described(p, 0.9)
    np.testing.assert_array_equal(found["mode"], [1, 0])
    np.testing.assert_allclose(found["probs"].sum(axis=-1), 1.0, rtol=1e-6)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`interval` must be between"):
        regression().predict(INPUTS, interval=90)
    with pytest.raises(ValueError, match="`x` is empty"):
        regression().predict(INPUTS[:0])
    with pytest.raises(ValueError, match="`y` is missing"):
        regression().fit(INPUTS)
