"""Distributions of other rows: the densities of rows taken are those of the rows."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae import layers
from tfvae.distributions import Hierarchy, Labelled
from tfvae.distributions.levels import Factor
from tfvae.layers.rows import UnknownRows, with_rows

tfd, tfb = tfp.distributions, tfp.bijectors
NOISE = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
ROWS = [2, 0, 0, 1, 2]


def take(values):
    return tf.gather(values, ROWS)


CASES = {
    "made by a layer": layers.MultivariateNormalDiag(2)(NOISE),
    "independent": tfd.Independent(tfd.Normal(NOISE, 2.0), 1),
    "one scale for all": tfd.MultivariateNormalDiag(NOISE, tf.ones(4)),
    "full": tfd.MultivariateNormalTriL(NOISE, tf.eye(4)),
    "mixture": tfd.MixtureSameFamily(
        tfd.Categorical(logits=NOISE), tfd.Normal(NOISE, tf.ones(4), name="parts")
    ),
    "labelled": Labelled(layers.OneHotCategorical(4)(NOISE), np.eye(4, dtype="float32")[:3]),
    "levels apart": Hierarchy(
        [
            Factor("a", (), lambda _: tfd.MultivariateNormalDiag(NOISE, tf.ones(4))),
            Factor("b", (), lambda _: tfd.Independent(tfd.Normal(-NOISE, 1.0), 1)),
        ],
        {"a": (4,), "b": (4,)},
        {"": tf.zeros([3, 0])},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_rows_have_the_densities_that_they_had(name):
    q = CASES[name]
    found = with_rows(q, take)
    assert found.batch_shape == [5]
    z = q.sample(seed=(0, 1))
    np.testing.assert_allclose(found.log_prob(take(z)), take(q.log_prob(z)), rtol=1e-6)


def test_rows_of_rows_are_known():
    found = with_rows(with_rows(CASES["made by a layer"], take), lambda x: x[:2])
    np.testing.assert_array_equal(found.mean(), take(CASES["made by a layer"].mean())[:2])


def test_what_nobody_tells_is_refused():
    maps = tfd.TransformedDistribution(tfd.MultivariateNormalDiag(NOISE), tfb.Shift(NOISE))
    with pytest.raises(UnknownRows, match=r"Received: _?TransformedDistribution"):
        with_rows(maps, take)
    factors = [
        Factor("a", (), lambda _: tfd.MultivariateNormalDiag(NOISE)),
        Factor("b", ("a",), lambda given: tfd.MultivariateNormalDiag(given["a"])),
    ]
    with pytest.raises(UnknownRows, match=r"depend on each other.*Received: a, b"):
        with_rows(Hierarchy(factors, {"a": (4,), "b": (4,)}, {"": tf.zeros([3, 0])}), take)
