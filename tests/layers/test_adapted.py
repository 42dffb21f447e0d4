"""Layers that count in units of the data: equivariance, tables, images, files."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import assert_trains_under_xla
from tfvae import layers


def table(num, seed=0):
    """Age and income, which depend on each other, and a column of each other kind."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=num)
    age = 45.0 + 12.0 * (0.9 * latent + np.sqrt(0.19) * rng.normal(size=num))
    income = np.exp(10.8 + 0.4 * (0.9 * latent + np.sqrt(0.19) * rng.normal(size=num)))
    visits = rng.poisson(np.exp(1.0 + 0.5 * latent))
    colour = (latent > 0) * 2 + rng.integers(0, 2, num)
    return np.stack([age, income, visits, colour], axis=1).astype("float32")


COLUMNS = {
    "age": layers.IndependentNormal(),
    "income": layers.IndependentLogNormal(),
    "visits": layers.IndependentPoisson(),
    "colour": layers.IndependentCategorical((), levels=4),
}


def test_density_of_data_in_other_units_is_the_same_but_for_the_units():
    x = np.random.default_rng(0).normal(size=(50, 2))
    raw = np.random.default_rng(1).normal(size=(7, 4)).astype("float32")
    unit, at = np.array([1e3, 1e-2]), np.array([5e3, 0.3])
    layer = layers.IndependentNormal(2, min_scale=0.0)
    here = layers.Adapted(layer, x)(raw).log_prob(x[:7])
    there = layers.Adapted(layer, at + unit * x)(raw).log_prob(at + unit * x[:7])
    np.testing.assert_allclose(there, here - np.log(unit).sum(), rtol=1e-3, atol=1e-3)


def test_before_data_it_is_the_layer_itself():
    layer, raw = layers.IndependentNormal(3), tf.random.normal([5, 6])
    np.testing.assert_array_equal(layers.Adapted(layer)(raw).mean(), layer(raw).mean())
    np.testing.assert_array_equal(layers.Adapted(layer)(raw).stddev(), layer(raw).stddev())


def test_streams_and_masks_give_the_numbers_of_arrays():
    x = table(30)
    x[::3, 1] = np.nan
    layer = layers.Masked(layers.Heterogeneous(COLUMNS))
    array = layers.Adapted(layer, x)
    stream = layers.Adapted(layer, tf.data.Dataset.from_tensor_slices((x, x)).batch(7))
    within = layers.Masked(layers.Adapted(layer.layer, x))
    raw = np.random.default_rng(0).normal(size=(2, array._params_size())).astype("float32")
    for other in (stream, within):
        np.testing.assert_allclose(array(raw).log_prob(x[:2]), other(raw).log_prob(x[:2]))


def test_gradients_are_finite_far_out():
    layer = layers.Adapted(layers.IndependentNormal(1), np.array([[1e6], [3e6]]))
    raw = tf.constant([[-200.0, -200.0], [200.0, 200.0], [0.0, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch(raw)
        loss = layer(raw).log_prob(tf.fill([3, 1], 2e6))
    assert np.all(np.isfinite(tape.gradient(loss, raw)))


@pytest.fixture(scope="module")
def model():
    x = table(1000)
    likelihood = layers.Adapted(layers.Masked(layers.Heterogeneous(COLUMNS)), x)
    features = layers.DataEncoder(COLUMNS)
    features.adapt(x)
    encoder = keras.Sequential(
        [
            keras.Input((4,)),
            features,
            keras.layers.Dense(32, "relu"),
            keras.layers.Dense(8),
            layers.MultivariateNormalDiag(4),
        ]
    )
    decoder = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(32, "relu"),
            keras.layers.Dense(likelihood.params_size(likelihood.layer)),
            likelihood,
        ]
    )
    keras.utils.set_random_seed(0)
    return tfvae.VAE(encoder, decoder, seed=0), x


def test_what_is_to_be_validated_is():
    layer = layers.Adapted(layers.IndependentNormal(1), np.ones([3, 1]), validate_args=True)
    assert layer(tf.zeros([1, 2])).distribution.validate_args
    assert not layer.layer.validate_args


@pytest.mark.slow
def test_the_recipe_of_tables_is_right_for_ages_and_incomes(model, tmp_path):
    vae, x = model
    vae.compile(keras.optimizers.Adam(3e-3))
    holes = np.where(np.random.default_rng(1).random(x.shape) < 0.2, np.nan, x)
    vae.fit(holes, epochs=25, verbose=0)
    test = table(300, seed=5)
    hidden = np.random.default_rng(2).random(test.shape) < 0.25
    filled = tfvae.impute(vae, np.where(hidden, np.nan, test), 100, seed=0, verbose=False).x
    for column in (0, 1):
        rows = hidden[:, column]
        error = filled[rows, column] - test[rows, column]
        of_mean = x[:, column].mean() - test[rows, column]
        assert np.mean(error**2) < 0.9 * np.mean(of_mean**2)
    drawn = vae.sample(1000, seed=3).numpy()
    assert 43.0 < drawn[:, 0].mean() < 47.0
    assert 4.6 < np.log10(drawn[:, 1]).mean() < 4.8
    vae.save(tmp_path / "table.keras")
    loaded = keras.models.load_model(tmp_path / "table.keras")
    np.testing.assert_array_equal(loaded.sample(5, seed=1), vae.sample(5, seed=1))


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.xla
def test_trains_under_xla(model):
    vae, x = model
    assert_trains_under_xla(vae, x[:12])


def test_bad_data():
    layer = layers.Adapted(layers.IndependentNormal(2))
    with pytest.raises(ValueError, match=r"data of shape \[N, 2\]. Received: shape=\[3\]"):
        layer.adapt(np.zeros(3))
    with pytest.raises(ValueError, match="is empty"):
        layer.adapt(np.zeros((0, 2)))
    with pytest.raises(ValueError, match="infinite"):
        layer.adapt(np.full((2, 2), np.inf))
    with pytest.raises(TypeError, match="`layer` of `Adapted` must be a distribution layer"):
        layers.Adapted(keras.layers.Dense(2))
