"""A weight as a layer, and models that are priors."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tfvae.layers import (
    DistributionLambda,
    IndependentNormal,
    MultivariateNormalDiag,
    VariableLayer,
)

tfd = tfp.distributions


def test_returns_its_weight_whatever_the_input():
    layer = VariableLayer((2, 3), initializer="ones", activation="softplus")
    for inputs in (np.zeros([1]), np.zeros([5, 7], "float32")):
        np.testing.assert_allclose(layer(inputs), np.full([2, 3], np.log1p(np.e)), rtol=1e-6)
    assert layer(keras.KerasTensor((None, 4))).shape == (2, 3)
    assert [weight.path.split("/")[-1] for weight in layer.trainable_weights] == ["constant"]
    assert VariableLayer(2, dtype="float64")(np.zeros([1])).dtype == tf.float64
    assert not VariableLayer(2, trainable=False).trainable_weights
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(np.zeros([1])))
    assert np.all(np.isfinite(tape.gradient(loss, layer.trainable_weights[0].value)))


def test_round_trips(tmp_path):
    layer = VariableLayer(
        [4], None, "relu", "ones", keras.regularizers.L2(0.1), keras.constraints.NonNeg(), name="w"
    )
    assert layer.from_config(layer.get_config()).get_config() == layer.get_config()
    assert float(layer.losses[0]) == pytest.approx(0.4)
    prior = keras.Sequential([VariableLayer(4, initializer="normal"), MultivariateNormalDiag(2)])
    expected = prior(tf.zeros([1])).log_prob([0.1, 0.2])
    prior.save(tmp_path / "prior.keras")
    loaded = keras.models.load_model(tmp_path / "prior.keras")  # in safe mode
    np.testing.assert_array_equal(loaded(tf.zeros([1])).log_prob([0.1, 0.2]), expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    "loss", [lambda y, rv: -rv.log_prob(y), tfvae.NegativeLogLikelihood()], ids=["lambda", "loss"]
)
def test_a_model_without_inputs_fits_the_moments_of_the_data(loss):
    generator = np.random.default_rng(0)
    y = generator.normal([1.0, -2.0], [0.5, 2.0], size=(200, 2)).astype("float32")
    model = keras.Sequential([VariableLayer(4), IndependentNormal(2)])
    rate = keras.optimizers.schedules.CosineDecay(0.2, 300)
    model.compile(keras.optimizers.Adam(rate), loss=loss, steps_per_execution=100)
    data = tf.data.Dataset.from_tensors((tf.zeros([200, 1]), y)).repeat(300)
    model.fit(data, verbose=0, shuffle=False)
    p = model(tf.zeros([1]))
    np.testing.assert_allclose(p.mean(), y.mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(p.stddev(), y.std(axis=0), rtol=1e-3)


def test_documented_trainable_normal():
    """TFP's example of a variable layer before a function."""
    model = keras.Sequential(
        [
            VariableLayer([3, 4, 2], dtype="float64"),
            DistributionLambda(
                lambda t: tfd.Independent(
                    tfd.Normal(loc=t[..., 0], scale=tf.math.softplus(t[..., 1])), 1
                ),
                dtype="float64",
            ),
        ]
    )
    x = model(tf.zeros([1]))
    assert (x.dtype, x.batch_shape, x.event_shape) == (tf.float64, (3,), (4,))


@pytest.mark.parametrize("functional", [False, True], ids=["sequential", "functional"])
def test_a_weight_that_does_not_train_before_other_layers(functional):
    """TFP's trainable distribution of a fixed weight, a dense layer and a function."""
    parts = [
        VariableLayer([2, 3, 4], dtype="float64", initializer="ones", trainable=False),
        keras.layers.Dense(5, use_bias=False, dtype="float64"),
        DistributionLambda(
            lambda t: tfd.Independent(tfd.Normal(t[0], tf.exp(t[1])), 1), dtype="float64"
        ),
    ]
    x = keras.Input(())
    made = functools.reduce(lambda y, part: part(y), parts, x)
    model = keras.Model(x, made) if functional else keras.Sequential(parts)
    p = model(tf.zeros([1]))
    assert isinstance(p.tensor_distribution, tfd.Independent)
    assert (p.dtype, p.batch_shape, p.event_shape) == (tf.float64, (3,), (5,))
    assert [weight.shape for weight in model.trainable_weights] == [(4, 5)]
    assert [weight.shape for weight in model.non_trainable_weights] == [(2, 3, 4)]
