"""Arguments of layers in all the forms that `tfp.layers` takes them in, over all layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tests.layers.cases import CASES, mostly_slow
from tfvae import layers

tfd = tfp.distributions

over_all_families = pytest.mark.parametrize(
    "case", mostly_slow([family[0] for family in CASES.values()]), ids=lambda case: case.label
)


def as_tensors(value):
    """Returns whole numbers and shapes as eager tensors, and all else as it is."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int) or (isinstance(value, tuple) and value):
        return tf.constant(value)
    return value


@over_all_families
def test_whole_numbers_may_be_tensors(case):
    args = tuple(as_tensors(value) for value in case.args)
    sizes = case.args if case.size_args is None else case.size_args
    size = case.layer.params_size(*map(as_tensors, sizes))
    assert (type(size), size) == (int, case.params_size)
    kwargs = {name: as_tensors(value) for name, value in case.kwargs.items()}
    assert case.layer(*args, **kwargs, name="a").get_config() == case.make(name="a").get_config()
    new_kwargs = {name: as_tensors(value) for name, value in case.new_kwargs.items()}
    params = case.params(2)
    plain = case.layer.new(params, *case.args, **case.new_kwargs)
    x = tf.cast(case.values(2), plain.dtype)
    made = case.layer.new(params, *args, **new_kwargs)
    np.testing.assert_array_equal(made.log_prob(x), plain.log_prob(x))


NUMBERS = {
    "Autoregressive": lambda n: layers.Autoregressive(
        n([2, 2]), layers.IndependentBernoulli(), n(3), hidden_units=[n(4)], order_seed=0
    ),
    "PixelCNN": lambda n: layers.PixelCNN(
        n([4, 4, 1]),
        layers.IndependentBernoulli(),
        n(3),
        filters=n(2),
        num_blocks=n(1),
        kernel_size=n(3),
        first_kernel_size=n(5),
    ),
    "TransformedDistribution": lambda n: layers.TransformedDistribution(
        layers.MultivariateNormalDiag(n(2)), tfvae.flows.RealNVP(), n(3)
    ),
    "VariableLayer": lambda n: layers.VariableLayer(n([2, 3])),
    "MADE": lambda n: tfvae.networks.MADE(
        n(2), n(3), hidden_units=[n(4)], context_size=n(2), seed=0
    ),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_whole_numbers_of_other_layers_may_be_tensors(name):
    configs = []
    for form in (lambda value: value, tf.constant):
        keras.backend.clear_session()  # Names are numbered anew.
        configs.append(NUMBERS[name](form).get_config())
    assert configs[0] == configs[1]


@over_all_families
def test_new_takes_validate_args_after_the_structure(case):
    params = case.params(2)
    options = {name: value for name, value in case.new_kwargs.items() if name != "dtype"}
    for given in (True, np.True_):
        made = case.layer.new(params, *case.args, given, **options)
        assert made.validate_args
        assert made.dtype == tf.float32
    assert not case.layer.new(params, *case.args, **options).validate_args


def test_new_takes_the_type_of_draws_where_tfp_does():
    logits = tf.zeros([2, 4])
    for made in (
        layers.IndependentBernoulli.new(logits, 4, tf.int32),
        layers.OneHotCategorical.new(logits, 4, tf.int32),
        layers.IndependentCategorical.new(logits, 2, 2, tf.int32),
    ):
        assert made.dtype == tf.int32
        assert not made.validate_args
    with pytest.raises(tf.errors.InvalidArgumentError):
        layers.IndependentBernoulli.new(logits, 4, True).log_prob([0.5] * 4)


def symbolic(*shape):
    return keras.KerasTensor((None, *shape))


OTHERS = {
    "Autoregressive": (lambda: NUMBERS["Autoregressive"](lambda v: v), lambda: symbolic(3)),
    "PixelCNN": (lambda: NUMBERS["PixelCNN"](lambda v: v), lambda: symbolic(3)),
    "TransformedDistribution": (
        lambda: NUMBERS["TransformedDistribution"](lambda v: v),
        lambda: symbolic(7),
    ),
    "AutoregressiveTransform": (
        lambda: layers.AutoregressiveTransform(tfvae.networks.MADE(2, hidden_units=[4])),
        lambda: layers.MultivariateNormalDiag(2)(symbolic(4)),
    ),
    "DistributionLambda": (
        lambda: layers.DistributionLambda(lambda t: tfd.Normal(t, 1.0)),
        lambda: symbolic(3),
    ),
    "VariableLayer": (lambda: layers.VariableLayer([4]), lambda: symbolic(3)),
    "ImageParameters": (
        lambda: layers.ImageParameters(layers.IndependentNormal([2, 2, 1])),
        lambda: symbolic(2, 2, 2),
    ),
    "KLDivergenceAddLoss": (
        lambda: layers.KLDivergenceAddLoss(tfd.MultivariateNormalDiag([0.0, 0.0])),
        lambda: layers.MultivariateNormalDiag(2)(symbolic(4)),
    ),
    "DataEncoder": (
        lambda: layers.DataEncoder({"a": layers.IndependentNormal(2)}),
        lambda: symbolic(2),
    ),
}


def every_layer():
    """Yields a name, a layer and a symbolic input of each class that is called."""
    for cls, family in CASES.items():
        yield cls.__name__, family[0].make(), symbolic(family[0].params_size)
    for name, (make, inputs) in OTHERS.items():
        yield name, make(), inputs()


@pytest.mark.slow
def test_every_layer_takes_training_on_symbolic_inputs():
    seen = set()
    for name, layer, inputs in every_layer():
        expected = layer(inputs)
        for training in (True, False):
            found = layer(inputs, training=training)
            assert (found.shape, found.dtype) == (expected.shape, expected.dtype), name
        seen.add(name)
    abstract = {"DistributionLayer", "IndependentLayer", "KLDivergenceRegularizer", "start_of"}
    assert seen == set(layers.__all__) - abstract
