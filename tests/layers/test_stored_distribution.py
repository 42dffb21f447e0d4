"""Which distributions can be written as data, and that they come back as they were."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae import distributions as own
from tfvae.layers.stored_distribution import distribution_config, distribution_from_config

tfd = tfp.distributions
ones, zeros = tf.ones, tf.zeros

STORED = {
    "floats": lambda: tfd.Normal(0.0, 1.0),
    "float64": lambda: tfd.Normal(np.zeros(2), 1.0),
    "lists": lambda: tfd.VonMisesFisher([1.0, 0.0, 0.0], 2.0),
    "SphericalUniform": lambda: tfd.SphericalUniform(3),
    "SphericalUniform of a batch": lambda: tfd.SphericalUniform(3, batch_shape=[2]),
    "Bernoulli": lambda: tfd.Bernoulli(zeros(2)),
    "Bernoulli of floats": lambda: tfd.Bernoulli(probs=[0.5, 0.2], dtype=np.float32),
    "Categorical": lambda: tfd.Categorical(zeros(3)),
    "OneHotCategorical": lambda: tfd.OneHotCategorical(zeros(3), dtype=tf.float32),
    "Poisson": lambda: tfd.Poisson(log_rate=zeros(2)),
    "NegativeBinomial": lambda: tfd.NegativeBinomial(3.0, zeros(2)),
    "Geometric": lambda: tfd.Geometric(zeros(2)),
    "FiniteDiscrete": lambda: tfd.FiniteDiscrete([1.0, 2.0], probs=[0.5, 0.5]),
    "Mixture": lambda: tfd.Mixture(
        tfd.Categorical(zeros(2)), [tfd.Normal(0.0, 1.0), tfd.Normal(1.0, 1.0)]
    ),
    "MixtureSameFamily": lambda: tfd.MixtureSameFamily(
        tfd.Categorical(zeros(2)), tfd.Normal(zeros(2), 1.0)
    ),
    "Sample": lambda: tfd.Sample(tfd.Normal(0.0, 1.0), tf.TensorShape([3])),
    "Independent": lambda: tfd.Independent(tfd.Bernoulli(zeros(2)), 1),
    "no loc": lambda: tfd.MultivariateNormalDiag(scale_diag=ones(2)),
    "FullNormal": lambda: own.FullNormal(zeros(2), tf.eye(2)),
    "ZeroInflated": lambda: own.ZeroInflated(tfd.Poisson(ones(2)), zeros(2)),
    "DiscretizedLogistic": lambda: own.DiscretizedLogistic(zeros(2), ones(2), levels=16),
    "NormalMixture": lambda: own.NormalMixture(zeros(2), zeros([2, 3]), ones([2, 3])),
    "Heterogeneous": lambda: own.Heterogeneous(
        [tfd.Normal(0.0, 1.0), tfd.Poisson(1.0)], ["a", "b"], tf.float32
    ),
    "Masked": lambda: own.Masked(tfd.Independent(tfd.Normal(zeros(2), 1.0), 1)),
}


@pytest.mark.parametrize("name", STORED)
def test_what_is_made_from_numbers_comes_back(name):
    before = STORED[name]()
    config = json.loads(json.dumps(distribution_config(before, "It")))
    after = distribution_from_config(config)
    assert type(after) is type(before)
    assert after.dtype == before.dtype
    x = before.sample(3, seed=[1, 2])
    np.testing.assert_array_equal(after.log_prob(x), before.log_prob(x))


@pytest.mark.parametrize(
    "make",
    [
        lambda: tfd.TransformedDistribution(tfd.Normal(0.0, 1.0), tfp.bijectors.Exp()),
        lambda: tfd.Autoregressive(lambda x: tfd.Independent(tfd.Normal(x, 1.0), 1), zeros(2)),
        lambda: tfd.Masked(tfd.Normal(zeros(2), 1.0), [True, False]),
    ],
    ids=["bijector", "function", "masked"],
)
def test_what_holds_code_is_refused(make):
    with pytest.raises(ValueError, match=r"The prior cannot be stored as data: it holds <.*Keras"):
        distribution_config(make(), "The prior")


def test_variables_come_back_once_each():
    loc, scale = tf.Variable(1.0), tf.Variable(2.0, trainable=False)
    parts = [tfd.Normal(loc, scale), tfd.Normal(loc, 1.0)]
    before = tfd.Mixture(tfd.Categorical(zeros(2)), parts)
    config = json.loads(json.dumps(distribution_config(before, "It")))
    after = distribution_from_config(config)
    assert [(v.numpy(), v.trainable) for v in after.variables] == [(1.0, True), (2.0, False)]
    code = tfd.Normal(0.0, tfp.util.TransformedVariable(1.0, tfp.bijectors.Exp()))
    with pytest.raises(ValueError, match=r"The prior cannot be .* a TransformedVariable, which is"):
        distribution_config(code, "The prior")


def test_names_of_files_are_looked_up_among_distributions_alone():
    config = distribution_config(tfd.Normal(0.0, 1.0), "It")
    with pytest.raises(ValueError, match=r"Not a known distribution\. Received: 'RegisterKL'"):
        distribution_from_config({**config, "class_name": "RegisterKL"})
