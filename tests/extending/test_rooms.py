"""An objective, a model and an estimator from outside are each one small class in one room."""

import ast
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import binary_data, mlp_decoder, mlp_encoder, mlp_vae
from tests.extending.antithetic import Antithetic
from tests.extending.robust import RobustELBO
from tests.extending.two_views import TwoViews
from tfvae.layers import IndependentNormal, Masked
from tfvae.objectives import ELBO

HERE = pathlib.Path(__file__).parent
X = binary_data(12)


@pytest.mark.parametrize("name", ["robust", "two_views", "antithetic"])
def test_each_is_small(name):
    tree = ast.parse((HERE / f"{name}.py").read_text())
    (cls,) = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    assert cls.end_lineno - cls.lineno < 60


def test_the_robust_bound_tends_to_the_elbo_and_is_bounded():
    vae = mlp_vae()
    terms = vae.terms(X, 3, 0)
    near = RobustELBO(
        1e-3,
    )(terms)
    np.testing.assert_allclose(near, terms.elbo, rtol=5e-3)
    sure = keras.Sequential([keras.Input((2,)), *mlp_decoder().layers])
    sure.layers[0].set_weights([np.zeros([2, 6]), np.full(6, 100.0)])
    certain = tfvae.VAE(mlp_encoder(), sure, seed=0).terms(np.zeros_like(X), 3, 0)
    assert np.all(certain.elbo < -500.0)
    assert np.all(RobustELBO(0.5)(certain) + certain.rate >= -6 * 1.5 / 0.5 - 1e-3)


@pytest.mark.slow
def test_the_robust_bound_trains_any_model_of_binary_data():
    for make in (mlp_vae, lambda: tfvae.FiniteMixture(tfvae.layers.IndependentBernoulli(6), 3)):
        model = make()
        model.compile("adam", RobustELBO(0.3), run_eagerly=True)
        history = model.fit(X, batch_size=12, epochs=2, verbose=0).history
        assert np.all(np.isfinite(history["loss"]))


def two_views():
    numbers = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(6), Masked(IndependentNormal(3))]
    )
    decoders = [mlp_decoder(), numbers]
    return TwoViews(mlp_encoder(), decoders, tfvae.priors.StandardNormal(), seed=0)


@pytest.mark.slow
def test_two_views_are_scored_where_they_are_observed(tmp_path):
    w = np.random.default_rng(0).normal(size=(12, 3)).astype("float32")
    w[5:] = np.nan
    model, data = two_views(), {"x": X, "w": w}
    model.compile(keras.optimizers.Adam(0.01), run_eagerly=True)
    history = model.fit(data, batch_size=12, epochs=3, verbose=0).history
    assert history["elbo"][-1] > history["elbo"][0]
    terms = model.terms(**model.data.as_batch(data), num_samples=2, seed=1)
    np.testing.assert_array_equal(terms.log_p["w"][:, 5:], np.zeros([2, 7]))
    np.testing.assert_allclose(terms.log_p_x, terms.log_p["x"] + terms.log_p["w"], rtol=1e-6)
    assert np.all(terms.log_p["w"][:, :5] < 0.0)
    model.save(tmp_path / "model.keras")
    custom = {"TwoViews": TwoViews}
    loaded = keras.models.load_model(tmp_path / "model.keras", custom_objects=custom)
    again = loaded.terms(**model.data.as_batch(data), num_samples=2, seed=1)
    np.testing.assert_array_equal(again.log_w, terms.log_w)
    assert set(model.sample(3, seed=0)) == {"x", "w"}
    found = tfvae.log_likelihood(model, data, num_samples=10)
    assert np.all(np.isfinite(found.per_point))


@pytest.mark.slow
def test_mirrored_draws_have_no_noise_in_what_is_linear():
    vae = mlp_vae()
    vae.build((None, 6))
    q_z = vae.encode(X)
    z = Antithetic().draw(q_z, 4, tf.constant([0, 1])).z
    np.testing.assert_allclose(np.mean(z, axis=0), q_z.mean(), atol=1e-6)
    vae.compile("adam", ELBO(num_samples=4, gradient=Antithetic()), run_eagerly=True)
    assert np.isfinite(vae.fit(X, batch_size=12, verbose=0).history["loss"][0])
    with pytest.raises(ValueError, match="in pairs"):
        ELBO(num_samples=3, gradient=Antithetic())
