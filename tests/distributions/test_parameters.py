"""The parameters of every family of a layer make the same distribution again."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.layers.cases import CASES
from tfvae.distributions.parameters import parameters_of

tfd = tfp.distributions


@pytest.mark.parametrize("cls", list(CASES), ids=lambda cls: cls.__name__)
def test_parameters_of_layers_have_all_batch_axes(cls):
    case = CASES[cls][0]
    layer = case.layer(*case.args, **case.kwargs)
    d = layer(tf.random.stateless_normal([3, case.params_size], (0, 1)))
    found = parameters_of(d)
    assert found, "a family of layers has parameters"
    for name, value in found.items():
        assert value.shape[0] == 3, name
        assert np.all(np.isfinite(value)), name


def test_parameters_left_to_broadcasting_have_a_row_for_each():
    d = tfd.Independent(tfd.Normal(tf.zeros([4, 2]), tf.constant([1.0, 2.0])), 1)
    found = parameters_of(d)
    np.testing.assert_array_equal(found["scale"], [[1.0, 2.0]] * 4)
    assert set(parameters_of(tfd.Independent(tfd.Normal(tf.zeros([4, 2]), 1.0), 1))) == {"loc"}


def test_mixtures_tell_weights_and_components():
    mixture = tfd.MixtureSameFamily(
        tfd.Categorical(tf.zeros([5, 3])),
        tfd.MultivariateNormalDiag(tf.zeros([5, 3, 2]), tf.ones(2)),
    )
    assert {name: tuple(value.shape) for name, value in parameters_of(mixture).items()} == {
        "mixture_logits": (5, 3),
        "component_loc": (5, 3, 2),
        "component_scale_diag": (5, 3, 2),
    }


def test_what_a_map_makes_has_none():
    normal = tfd.Normal(tf.zeros([2]), tf.ones([2]))
    assert parameters_of(tfd.TransformedDistribution(normal, tfp.bijectors.Exp())) == {}
    assert set(parameters_of(tfd.LogNormal(tf.zeros([2]), tf.ones([2])))) == {"loc", "scale"}
