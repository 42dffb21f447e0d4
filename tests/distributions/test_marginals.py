"""Densities of what was observed; those of all families are in `layers/test_masked.py`."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import special, stats

from tests.conftest import real_data
from tfvae.distributions import Heterogeneous, Masked, given_observed, marginals_of

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


def two_products(seed=0, batch=()):
    """Returns a mixture of two products of Gaussians over three numbers, and its parameters."""
    rng = np.random.default_rng(seed)
    logits, loc = rng.normal(size=(*batch, 2)), 2.0 * rng.normal(size=(*batch, 2, 3))
    scale = np.exp(0.5 * rng.normal(size=(*batch, 2, 3)))
    logits, loc, scale = (part.astype("float32") for part in (logits, loc, scale))
    each = tfd.Independent(tfd.Normal(loc, scale), 1)
    return tfd.MixtureSameFamily(tfd.Categorical(logits), each), logits, loc, scale


def by_hand(logits, loc, scale, x):
    """Returns the weights of the components given what is observed of one event, in float64."""
    seen = ~np.isnan(x)
    log_w = stats.norm(loc[:, seen], scale[:, seen]).logpdf(x[seen]).sum(axis=1) + logits
    return special.softmax(log_w.astype("float64"))


@pytest.mark.parametrize("batch", [(), (4,)])
def test_of_mixtures_the_observed_entries_tell_the_component(batch):
    """With one distribution for all rows, and with one for each."""
    mixture, logits, loc, scale = two_products(batch=batch)
    x = np.array([[1.0, np.nan, np.nan], [np.nan] * 3, [np.nan, -2.0, 0.5], [0.3, 0.2, 0.1]])
    x = x.astype("float32")
    found = given_observed(mixture, tf.constant(x))
    for i, row in enumerate(x):
        own = [part[i] if batch else part for part in (logits, loc, scale)]
        mean = by_hand(*own, row) @ own[1]
        np.testing.assert_allclose(found.mean()[i], mean, rtol=1e-4, atol=1e-5)
        filled = np.where(np.isnan(row), mean, row)
        np.testing.assert_allclose(Masked(mixture).impute(x)[i], filled, rtol=1e-4, atol=1e-5)
    # Nothing observed says nothing, and what is missing has the density of the rest.
    np.testing.assert_allclose(found.mean()[1], mixture[1:2].mean()[0] if batch else mixture.mean())
    y = np.random.default_rng(7).normal(size=x.shape)
    joint = marginals_of(mixture)(np.where(np.isnan(x), y, x).astype("float32"))
    rest = marginals_of(found)(np.where(np.isnan(x), y, np.nan).astype("float32"))
    np.testing.assert_allclose(joint - marginals_of(mixture)(x), rest, rtol=1e-4, atol=1e-5)


def test_columns_and_independent_mixtures_are_given_their_own_entries():
    mixture, *parameters = two_products()
    table = Heterogeneous([mixture, tfd.Normal(3.0, 1.0)], ["three", "one"])
    x = np.array([1.0, np.nan, 0.5, np.nan], "float32")
    mean = by_hand(*parameters, x[:3]) @ parameters[1]
    expected = [1.0, mean[1], 0.5, 3.0]
    np.testing.assert_allclose(Masked(table).impute(x), expected, rtol=1e-4)
    rows = tfd.Independent(
        tfd.MixtureSameFamily(
            tfd.Categorical(np.tile(parameters[0], [2, 1])),
            tfd.Independent(tfd.Normal(np.tile(parameters[1], [2, 1, 1]), parameters[2]), 1),
        ),
        1,
    )
    np.testing.assert_allclose(
        Masked(rows).impute(np.stack([x[:3], x[:3]])), [expected[:3]] * 2, rtol=1e-4
    )


def test_draws_of_rows_are_their_own_where_one_distribution_is_for_all():
    """They were one draw, repeated over all rows."""
    x = tf.fill([2000, 3], np.nan)
    mixture, *_ = two_products()
    for p in (mixture, tfd.Independent(tfd.Normal(tf.zeros(3), 1.0), 1)):
        drawn = Masked(p).impute(x, seed=1).numpy()
        error = p.stddev().numpy() / np.sqrt(len(drawn))
        assert np.all(np.abs(drawn.mean(axis=0) - p.mean()) < 5 * error)
        assert len(np.unique(drawn[:, 0])) > 1900


def test_dependent_elements_without_a_description_are_not_completed():
    p = FirstOrder(tf.zeros(2), tf.eye(2))
    with pytest.raises(ValueError, match=r"FirstOrder.*given_observed.register"):
        Masked(p).impute(tf.constant([1.0, np.nan]))
