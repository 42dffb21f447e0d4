"""Weights that are not trained are named, whatever the reason."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tests.conftest import binary_data, mlp_decoder, mlp_encoder, mlp_vae
from tfvae.learning import Alternating, WakeSleep

tfd = tfp.distributions
X = binary_data(12)


def compiled(vae, **settings):
    vae.compile("adam", run_eagerly=True, **settings)
    return vae


def with_prior(prior):
    return compiled(tfvae.VAE(mlp_encoder(), mlp_decoder(), prior, seed=0))


def with_layer(layer):
    encoder = keras.Sequential([keras.Input((6,)), layer, *mlp_encoder().layers])
    return compiled(tfvae.VAE(encoder, mlp_decoder(), seed=0))


@pytest.mark.parametrize("when", ["before compile", "after compile", "after fit"])
def test_a_frozen_model_is_a_sentence(when):
    vae = mlp_vae()
    if when == "before compile":
        vae.trainable = False
    compiled(vae)
    if when == "after fit":
        vae.fit(X, verbose=0)
    vae.trainable = False
    with pytest.raises(ValueError, match=r"has no weights that can be trained: all of its parts"):
        vae.fit(X, verbose=0)


def test_what_is_frozen_after_compile_stays_as_it_is_and_is_named_once():
    vae = mlp_vae()
    vae.compile("adam", jit_compile=False)
    vae.fit(X, verbose=0)
    vae.encoder.trainable = False
    before = vae.get_weights()
    with pytest.warns(
        UserWarning, match=r"^The weights \S+ \S+ \S+ and \d+ more were frozen since"
    ):
        vae.fit(X, verbose=0)
    frozen = {id(weight) for weight in vae.encoder.weights}
    for weight, old in zip(vae.weights, before, strict=True):
        assert np.array_equal(weight, old) == (id(weight) in frozen), weight.path
    vae.fit(X, verbose=0)  # warnings are errors here
    vae.encoder.trainable = True
    with pytest.raises(ValueError, match=r"were frozen when the model was compiled, .* Call `comp"):
        vae.fit(X, verbose=0)


@pytest.mark.parametrize("scheme", [Alternating(2), WakeSleep()])
def test_schemes_of_two_sides_want_both(scheme):
    vae = mlp_vae()
    vae.encoder.trainable = False
    with pytest.raises(ValueError, match=r"encoder|posterior"):
        compiled(vae, scheme=scheme)


class Unknown(tfvae.priors.Prior):
    """Keeps a variable that Keras does not find."""

    def __init__(self, trainable=True):
        super().__init__()
        self.kept = {"deep": [tf.Variable([0.0, 0.0], trainable=trainable, name="mine")]}

    def distribution(self, context=None):
        return tfd.Independent(tfd.Normal(self.kept["deep"][0], 1.0), 1)


class UnknownLayer(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.mine = tf.Variable(1.0, name="mine")

    def call(self, x):
        return x * self.mine


def test_variables_that_keras_does_not_know_are_named_before_anything_changes():
    for vae in (with_prior(Unknown()), with_layer(UnknownLayer())):
        before = vae.get_weights()
        with pytest.raises(ValueError, match=r"never be trained nor stored: mine:0. Make them by"):
            vae.fit(X, verbose=0)
        for old, new in zip(before, vae.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
    with_prior(Unknown(trainable=False)).fit(X, verbose=0)


class Snapshot(tfvae.priors.Prior):
    """Makes its distribution once."""

    def _build(self, event_shape):
        self.loc = self.add_weight(shape=event_shape)
        self.made = tfd.Independent(tfd.Normal(self.loc.value, 1.0), 1)

    def distribution(self, context=None):
        return self.made


def test_a_prior_that_was_made_once_and_for_all_is_named():
    with pytest.raises(ValueError, match=r"\(Snapshot\) returns the same distribution each time"):
        with_prior(Snapshot())


class Unused(keras.layers.Layer):
    def build(self, input_shape):
        self.unused = self.add_weight(shape=(3,), name="unused")

    def call(self, x):
        return x


def test_weights_without_a_gradient_are_named_once():
    vae = with_layer(Unused())
    with pytest.warns(UserWarning, match=r"unused get no gradient and stay as they are") as told:
        vae.fit(X, batch_size=3, epochs=2, verbose=0)
    assert len([w for w in told if "gradient" in str(w.message)]) == 1


class Cut(keras.layers.Layer):
    def call(self, x):
        return tf.stop_gradient(x)


def test_a_model_none_of_whose_weights_gets_a_gradient_is_refused():
    head = tfvae.layers.IndependentBernoulli(6)
    decoder = keras.Sequential([keras.Input((3,)), keras.layers.Dense(6), Cut(), head])
    model = compiled(tfvae.ConditionalModel(decoder, seed=0))
    with pytest.raises(ValueError, match="No weight of this model gets a gradient"):
        model.fit({"x": X, "context": X[:, :3]}, verbose=0)
