"""Distributions from functions: any input, Keras weights that the function uses, and storage."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae import FiniteMixture
from tfvae.layers import DistributionLambda, IndependentNormal, MixtureSameFamily, VariableLayer
from tfvae.priors import Parametric

tfd = tfp.distributions

global_layer = VariableLayer([2], name="global_layer")


@keras.saving.register_keras_serializable("tests")
def make_normal(t):
    return tfd.Normal(t[..., 0], tf.math.softplus(t[..., 1]))


@keras.saving.register_keras_serializable("tests")
def make_normal_of_two(inputs):
    loc, raw = inputs
    return tfd.Independent(tfd.Normal(loc, tf.math.softplus(raw)), 1)


def test_documented_example():
    """TFP's first example: five draws in front of the batch."""
    model = keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(2),
            DistributionLambda(make_normal, lambda s: s.sample(5)),
        ]
    )
    assert model.output_shape == (5, None)
    y = model(np.ones([7, 2], "float32"))
    assert isinstance(y, tfd.Normal)
    assert y.batch_shape == 7
    assert tf.convert_to_tensor(y).shape == (5, 7)
    assert type(y.tensor_distribution) is tfd.Normal


def test_several_inputs_and_file(tmp_path):
    loc, raw = keras.Input((3,)), keras.Input((3,))
    model = keras.Model([loc, raw], DistributionLambda(make_normal_of_two)([loc, raw]))
    assert model.output_shape == (None, 3)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")  # in safe mode
    inputs = [np.ones([4, 3], "float32"), np.zeros([4, 3], "float32")]
    np.testing.assert_array_equal(loaded(inputs).mean(), model(inputs).mean())


@pytest.mark.slow
def test_joint_distributions_of_a_variable():
    """TFP's joint distribution without an input: its tensor is a list of tensors, part by part."""
    inputs = keras.Input(())
    params = VariableLayer([2, 4, 3], initializer="normal")(inputs)
    joint = DistributionLambda(
        lambda t: tfd.JointDistributionSequential(
            [
                tfd.Gamma(tf.exp(t[..., 0]), tf.exp(t[..., 1])),
                tfd.Normal(t[..., 2], 1.0),
                lambda m, s: tfd.Normal(loc=m, scale=s),
            ]
        )
    )
    model = keras.Model(inputs, joint(keras.layers.Dense(5, use_bias=False)(params)))
    p = model(np.zeros([1]))
    assert isinstance(p, tfd.JointDistributionSequential)
    assert p.log_prob(p.sample()).shape == (2, 4)
    assert len(model.trainable_weights) == 2


def test_functions_that_are_not_registered_are_refused():
    layer = DistributionLambda(lambda t: tfd.Normal(t, 1.0), name="head")
    with pytest.raises(
        ValueError, match=r"`make_distribution_fn` of layer 'head' cannot be st"
    ) as e:
        layer.get_config()
    assert "keras.saving.register_keras_serializable()" in str(e.value)
    layer = MixtureSameFamily(2, lambda t: tfd.Normal(t[..., 0], 1.0), name="mix")
    assert layer(np.zeros([3, 4], "float32")).batch_shape == 3
    with pytest.raises(ValueError, match=r"`component_layer` of layer 'mix' cannot be stored"):
        layer.get_config()


@pytest.mark.parametrize("size", [(), (2,), (2, 3)])
def test_as_component_of_a_mixture(size):
    components = DistributionLambda(
        lambda t: tfd.Independent(tfd.Normal(tf.reshape(t, [*t.shape[:-1], *size]), 1.0), len(size))
    )
    layer = MixtureSameFamily(4, components)
    params = np.random.default_rng(0).normal(size=(5, 4 * (1 + int(np.prod(size)))))
    p = layer(params.astype("float32"))
    assert (p.batch_shape, p.event_shape) == ((5,), size)
    assert layer(keras.KerasTensor((5, params.shape[1]))).shape == (5, *size)
    assert tf.convert_to_tensor(p).shape == (5, *size)


def test_other_results_are_refused():
    with pytest.raises(TypeError, match=r"of layer 'head' must return a tfp distribution.*Tensor"):
        DistributionLambda(lambda t: t, name="head")(np.zeros([3, 2], "float32"))


def test_layers_and_variables_of_the_function_are_trained_and_stored():
    dense = keras.layers.Dense(2)
    shift = keras.Variable(tf.zeros([2]), name="shift")
    helper = functools.partial(lambda t, layer: layer(t) + shift, layer=dense)
    layer = DistributionLambda(
        lambda t: tfd.Independent(tfd.Normal(helper(t) + global_layer(t), 1.0))
    )
    model = keras.Sequential([keras.Input((3,)), layer])
    assert len(model.trainable_weights) == 4  # kernel, bias, shift and the global layer's weight
    model.compile("sgd", loss=lambda y, rv: -tf.reduce_sum(rv.log_prob(y), axis=-1))
    before = [weight.numpy() for weight in model.trainable_weights]
    model.fit(np.ones([8, 3]), np.ones([8, 2]), verbose=0)
    for old, weight in zip(before, model.trainable_weights, strict=True):
        assert not np.array_equal(old, weight.numpy()), weight.path


def test_functions_may_use_the_model_that_holds_them():
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.scale = self.add_weight(shape=(), initializer="ones", name="scale")
            self.head = DistributionLambda(lambda t: tfd.Normal(t, self.scale.value))

        def call(self, x):
            return self.head(x)

    model = Model()
    assert model(np.zeros([3, 2], "float32")).batch_shape == (3, 2)
    assert len(model.trainable_weights) == 1


def test_precision():
    layer = DistributionLambda(lambda t: tfd.Normal(t, 1.0), dtype="mixed_float16")
    assert layer(np.zeros([3, 2], "float32")).dtype == tf.float32


@pytest.mark.slow
@pytest.mark.xla
def test_plain_functions_as_losses_and_metrics():
    """Keras hands them a tensor: it answers as the distribution that it was drawn from."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), IndependentNormal(2)])
    x, y = np.ones([40, 3], "float32"), np.ones([40, 2], "float32")
    for jit_compile in (False, True):
        model.compile(
            "sgd",
            loss=lambda y, rv: -rv.log_prob(y),
            metrics=[lambda y, rv: rv.tensor_distribution.log_prob(y)],
            jit_compile=jit_compile,
        )
        expected = -np.mean(model(x).log_prob(y))
        history = model.fit(x, y, batch_size=40, verbose=0).history
        assert history["loss"][0] == pytest.approx(expected, rel=1e-5)
        assert -history["lambda"][0] == pytest.approx(expected, rel=1e-5)
    prediction = model.predict(x, verbose=0)
    assert isinstance(prediction, np.ndarray)
    assert prediction.shape == (40, 2)


@pytest.mark.parametrize("make", [Parametric, lambda layer: FiniteMixture(layer, 3)])
def test_what_counts_parameters_is_not_given_a_function(make):
    layer = DistributionLambda(lambda t: tfd.Independent(tfd.Normal(t, 1.0), 1))
    with pytest.raises(TypeError, match=r"nobody can count its parameters.*`params_size`"):
        make(layer)
