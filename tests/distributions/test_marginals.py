"""Densities of what was observed; those of all families are in `layers/test_masked.py`."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.conftest import real_data
from tfvae.distributions import Heterogeneous, Masked, marginals_of

tfd = tfp.distributions


class FirstOrder(tfd.MultivariateNormalTriL):
    """A family whose elements depend on each other, and whose marginals somebody knows."""


@marginals_of.register(FirstOrder)
def _(distribution):
    mean, covariance = distribution.mean(), distribution.covariance()

    def log_marginal(x):
        # What is missing is made independent, put at its mode, and its density taken off.
        missing = tf.math.is_nan(x)
        seen = tf.cast(~missing, x.dtype)
        kept = covariance * seen[..., None] * seen[..., None, :]
        kept += tf.linalg.diag(1.0 - seen)
        whole = tfd.MultivariateNormalFullCovariance(mean, kept)
        at_mode = 0.5 * np.log(2 * np.pi) * tf.reduce_sum(1.0 - seen, axis=-1)
        return whole.log_prob(tf.where(missing, mean, x)) + at_mode

    return log_marginal


def test_a_family_that_somebody_describes_is_masked_alone_in_mixtures_and_among_columns():
    scale = np.linalg.cholesky([[1.0, 0.8], [0.8, 2.0]]).astype("float32")
    p, x = FirstOrder(tf.zeros(2), scale), tf.constant([[1.0, np.nan], [np.nan, 1.0]])
    expected = [tfd.Normal(0.0, s).log_prob(1.0).numpy() for s in (1.0, np.sqrt(2.0))]
    np.testing.assert_allclose(Masked(p).log_prob(x), expected, rtol=1e-5)
    np.testing.assert_allclose(Masked(tfd.Independent(p, 0)).log_prob(x), expected, rtol=1e-5)
    both = FirstOrder(tf.zeros([3, 2]), scale)
    mixture = tfd.MixtureSameFamily(tfd.Categorical(tf.zeros(3)), both)
    np.testing.assert_allclose(Masked(mixture).log_prob(x), expected, rtol=1e-5)
    table = Masked(Heterogeneous([p, tfd.Normal(0.0, 1.0)], ["pair", "one"]))
    row = tf.concat([x, [[0.0], [np.nan]]], axis=-1)
    own = [tfd.Normal(0.0, 1.0).log_prob(0.0).numpy(), 0.0]
    np.testing.assert_allclose(table.log_prob(row), np.add(expected, own), rtol=1e-5)


def test_without_a_description_the_reason_and_the_way_out():
    with pytest.raises(ValueError, match=r"MultivariateNormalTriL.*marginals_of.register"):
        marginals_of(tfd.MultivariateNormalTriL(tf.zeros(2), tf.eye(2)))


def test_nothing_observed_is_certain():
    loc = real_data(2, (3,))
    mixture = tfd.MixtureSameFamily(tfd.Categorical(tf.zeros(3)), tfd.Gamma(tf.exp(loc), 1.0))
    for p in (tfd.Independent(tfd.Normal(loc, 1.0), 1), tfd.Independent(mixture, 1)):
        assert np.all(marginals_of(p)(tf.fill([2, *p.event_shape], np.nan)) == 0.0)
