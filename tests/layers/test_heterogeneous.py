"""Rows of a table: which parameters belong to which column, and what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tfvae import layers
from tfvae.layers import (
    Heterogeneous,
    IndependentBernoulli,
    IndependentCategorical,
    IndependentNormal,
    IndependentPoisson,
)

tfd = tfp.distributions


def columns():
    return {
        "height": IndependentNormal(),
        "scores": IndependentNormal(2),
        "visits": IndependentPoisson(),
        "colour": IndependentCategorical((), levels=3),
    }


def test_columns_take_their_parameters_in_order():
    params = np.array([[5.0, 0.0, 1.0, 2.0, 0.0, 0.0, np.log(7.5), 0.0, 0.0, 9.0]], "float32")
    p = Heterogeneous(columns())(params)
    assert p.event_shape == (5,)
    np.testing.assert_allclose(p.mode(), [[5.0, 1.0, 2.0, 7.0, 2.0]], rtol=1e-6)
    assert [part.event_shape.rank for part in p.distributions] == [0, 1, 0, 0]
    assert p.names == ("height", "scores", "visits", "colour")
    # The mean of categories is TFP's, that of their numbers; the centre is the most probable one.
    np.testing.assert_allclose(p.centre(), [[5.0, 1.0, 2.0, 7.5, 2.0]], rtol=1e-6)
    probability = np.exp([0.0, 0.0, 9.0]) / (2.0 + np.exp(9.0))
    np.testing.assert_allclose(p.mean()[0, 4], probability @ [0, 1, 2], rtol=1e-6)
    some = {name: layer for name, layer in columns().items() if name != "colour"}
    p = Heterogeneous(some)(params[:, :7])
    scale = np.log(2.0) + 1e-5
    np.testing.assert_allclose(p.mean(), [[5.0, 1.0, 2.0, 7.5]], rtol=1e-6)
    np.testing.assert_allclose(p.stddev(), [[scale, scale, scale, np.sqrt(7.5)]], rtol=1e-5)
    np.testing.assert_allclose(p.variance(), np.square(p.stddev()), rtol=1e-5)
    normals = Heterogeneous({"a": IndependentNormal(), "b": IndependentNormal(2)})
    entropy = 3 * (0.5 * np.log(2 * np.pi * np.e) + np.log(scale))
    np.testing.assert_allclose(normals(params[:, :6]).entropy(), [entropy], rtol=1e-5)


def test_rows_of_only_real_columns_carry_gradients_to_all_parameters():
    normals = Heterogeneous({"a": IndependentNormal(), "b": layers.IndependentLaplace(2)})
    params = tf.zeros([3, 6])
    with tf.GradientTape() as tape:
        tape.watch(params)
        p = normals(params)
        x = p.sample(seed=0)
    assert p.reparameterization_type == tfd.FULLY_REPARAMETERIZED
    assert np.all(tape.gradient(x, params) != 0.0)
    mixed = Heterogeneous(columns())(tf.zeros([3, 10]))
    assert mixed.reparameterization_type == tfd.NOT_REPARAMETERIZED


def test_order_of_columns_survives_a_file(tmp_path):
    given = dict(reversed(columns().items()))
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(10), Heterogeneous(given)])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = np.ones([3, 2], "float32")
    assert loaded(x).names == ("colour", "visits", "scores", "height")
    assert list(loaded.layers[-1].columns) == list(given)
    np.testing.assert_array_equal(loaded(x).sample(seed=(1, 2)), model(x).sample(seed=(1, 2)))


def test_whole_numbers_and_types_of_columns_join():
    layer = Heterogeneous(
        {"yes": IndependentBernoulli(sample_dtype="int32"), "n": IndependentPoisson()}
    )
    p = layer(np.zeros([4, 2], "float32"))
    x = p.sample(seed=0)
    assert x.dtype == "float32"
    expected = np.log(0.5) + tfd.Poisson(1.0).log_prob(x[:, 1])
    np.testing.assert_allclose(p.log_prob(x), expected, rtol=1e-6)
    np.testing.assert_allclose(p.log_prob(tf.cast(x, tf.int32)), expected, rtol=1e-6)
    assert Heterogeneous(columns(), dtype="float64")(np.zeros([2, 10])).dtype == "float64"


BAD = {
    "empty": (
        {},
        ValueError,
        r"must be a dict from name to layer.*not empty. Received: columns={}",
    ),
    "no names": ([(1, IndependentNormal())], ValueError, "name to layer"),
    "twice": (
        [("age", IndependentNormal()), ("age", IndependentPoisson())],
        ValueError,
        r"Names of columns must differ. Received more than once: \['age'\]",
    ),
    "a class": (
        {"age": IndependentNormal},
        TypeError,
        r"^Column 'age' must be a distribution layer that counts its parameters.*IndependentNormal",
    ),
    "a number": ({"colour": 3}, TypeError, r"^Column 'colour' must be .*Received: 3"),
    "a function": (
        {"a": layers.DistributionLambda(lambda t: tfd.Normal(t, 1.0))},
        TypeError,
        "^Column 'a' must be",
    ),
    "an image": (
        {"picture": IndependentNormal((2, 2))},
        ValueError,
        r"^Column 'picture' must be over scalars or vectors. Received: event_shape=\(2, 2\)",
    ),
}


@pytest.mark.parametrize(("given", "kind", "message"), BAD.values(), ids=BAD)
def test_bad_columns(given, kind, message):
    with pytest.raises(kind, match=message):
        Heterogeneous(given)


def test_distribution_of_parts_is_that_of_tfp():
    parts = [tfd.Normal(tf.zeros([4]), 2.0), tfd.MultivariateNormalTriL(tf.zeros([4, 2]))]
    p = tfvae.distributions.Heterogeneous(parts, ("a", "b"))
    other = tfd.Blockwise(
        tfd.JointDistributionSequential(
            [tfd.Independent(tfd.Normal(tf.zeros([4, 1]), 2.0), 1), parts[1]]
        )
    )
    x = np.random.default_rng(0).normal(size=[5, 4, 3]).astype("float32")
    np.testing.assert_allclose(p.log_prob(x), other.log_prob(x), rtol=1e-5)
    assert p.batch_shape == (4,)
    assert p.sample([5, 2], seed=0).shape == (5, 2, 4, 3)
