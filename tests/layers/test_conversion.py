"""Distributions that become tensors by a property of their class."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae import layers

tfd = tfp.distributions


@pytest.mark.parametrize(
    ("layer", "read"),
    [
        (
            layers.IndependentBernoulli((2, 2), tfd.Bernoulli.logits),
            lambda q: q.distribution.logits,
        ),
        (layers.IndependentNormal(2, tfd.Normal.loc), lambda q: q.mean()),
        (layers.MultivariateNormalDiag(2, tfd.MultivariateNormalDiag.loc), lambda q: q.mean()),
        (layers.OneHotCategorical(4, tfd.OneHotCategorical.logits), lambda q: q.logits),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_properties_convert(layer, read, tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layer(inputs))
    params = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    q = model(params)
    np.testing.assert_array_equal(np.asarray(q), read(q))
    assert model.output_shape == (None, *np.asarray(q).shape[1:])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")  # in safe mode
    np.testing.assert_array_equal(np.asarray(loaded(params)), np.asarray(q))


def test_properties_that_are_not_there_are_named():
    layer = layers.IndependentNormal(2, tfd.Bernoulli.logits)
    with pytest.raises(AttributeError, match=r"reads `logits`.*class Independent does not"):
        np.asarray(layer(np.zeros([1, 4], "float32")))


def test_methods_of_one_class_read_what_independent_is_made_of():
    logits = tf.constant([[0.5, -1.0]])
    layer = layers.IndependentBernoulli(2, tfd.Bernoulli.logits_parameter)
    np.testing.assert_allclose(tf.convert_to_tensor(layer(logits)), logits)
    again = layers.IndependentBernoulli.from_config(layer.get_config())
    np.testing.assert_allclose(tf.convert_to_tensor(again(logits)), logits)
    with pytest.raises(AttributeError, match="reads `rate_parameter`, which a distribution of cl"):
        tf.convert_to_tensor(layers.IndependentBernoulli(2, tfd.Poisson.rate_parameter)(logits))
    with pytest.raises(TypeError, match=r"logits_parameter, which is called with a distribution"):
        layers.DistributionLambda(tfd.Bernoulli.logits_parameter)


def test_methods_that_take_more_than_a_distribution_are_refused():
    for method in (tfd.Normal.quantile, tfd.Distribution.log_prob, tfd.Bernoulli.cdf):
        with pytest.raises(ValueError, match=r"needs value too.*lambda d: d\."):
            layers.IndependentNormal(2, method)
