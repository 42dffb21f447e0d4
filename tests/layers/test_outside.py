"""Data that a likelihood cannot have produced is named, in eager code and once per fit."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import binary_data, mlp_vae
from tfvae import layers

GREY = np.random.default_rng(0).uniform(size=(64, 4)).astype("float32")


def model(layer=None):
    layer = layers.IndependentBernoulli(4) if layer is None else layer
    size = layer._params_size()
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(size), layer])


@pytest.mark.slow
@pytest.mark.parametrize(
    "loss", [tfvae.NegativeLogLikelihood(), lambda x, rv: -rv.log_prob(x)], ids=["class", "lambda"]
)
def test_once_per_fit(loss):
    bernoulli = model()
    bernoulli.compile("adam", loss=loss)
    with pytest.warns(
        UserWarning, match=r"a Bernoulli likelihood cannot.*binarise.*Continuous"
    ) as w:
        bernoulli.fit(GREY, GREY, batch_size=8, epochs=2, verbose=0)
    assert len(w) == 1
    bernoulli.compile("adam", loss=loss)
    bernoulli.fit(np.round(GREY), np.round(GREY), verbose=0)  # nothing to say
    other = model(layers.ContinuousBernoulli(4))
    other.compile("adam", loss=loss)
    other.fit(GREY, GREY, verbose=0)


@pytest.mark.slow
def test_eagerly():
    p_x = model()(GREY)
    with pytest.warns(UserWarning, match=r"`ContinuousBernoulli` for values from 0 to 1"):
        fractions = p_x.log_prob(GREY)
    assert np.all(np.isfinite(fractions))
    p_x.log_prob(np.round(GREY))
    p_x.log_prob(np.round(GREY).astype("int32"))
    with pytest.warns(UserWarning, match="a Poisson likelihood cannot"):
        layers.IndependentPoisson(4)(GREY).log_prob(-np.ones([64, 4], "float32"))
    beta = layers.IndependentBeta(2)(GREY)
    with pytest.warns(UserWarning, match="a Beta likelihood cannot"):
        beta.log_prob(np.zeros([64, 2], "float32"))
    levels = layers.DiscretizedLogistic(2)(GREY)
    levels.log_prob(np.full([64, 2], 17 / 255, "float32"))
    with pytest.warns(UserWarning, match="a DiscretizedLogistic likelihood cannot"):
        levels.log_prob(np.full([64, 2], 17.4 / 255, "float32"))
    layers.IndependentNormal(2)(GREY).log_prob(GREY[:, :2])


@pytest.mark.slow
@pytest.mark.xla
def test_compiled_code_and_models_are_left_alone():
    bernoulli = model()

    @tf.function(jit_compile=True)
    def compiled(x):
        return -tf.reduce_mean(tf.convert_to_tensor(bernoulli(x)).log_prob(x))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(compiled(tf.constant(GREY)))
    # A model of this package has checks of its own, and no call back in its steps.
    vae = mlp_vae()
    vae.compile(jit_compile=False)
    step = tf.function(vae.train_step, autograph=False)
    graph = step.get_concrete_function(tf.constant(binary_data())).graph
    assert not any("PyFunc" in op.type for op in graph.get_operations())
