"""Draws that are those of their density are told from those that are not."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.layers.cases import CASES, mostly_slow
from tfvae import layers
from tfvae.checking.swaps import match
from tfvae.distributions import support_of

tfd = tfp.distributions
SEED = tf.constant([3, 4])


class Wrong(tfd.Distribution):
    """Draws of one distribution, with the density of another and a constant."""

    def __init__(self, drawn, scored, constant=0.0):
        self._drawn, self._scored, self._constant = drawn, scored, constant
        super().__init__(drawn.dtype, tfd.NOT_REPARAMETERIZED, False, True, name="Wrong")

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        return {}

    def _event_shape(self):
        return self._drawn.event_shape

    def _batch_shape(self):
        return self._drawn.batch_shape

    def _sample_n(self, n, seed=None):
        return self._drawn.sample(n, seed=seed)

    def _log_prob(self, value):
        return self._scored.log_prob(value) + self._constant


NORMAL = tfd.Normal(tf.zeros([4, 3]), 1.0)
PAIRS = {
    "scale": (NORMAL, tfd.Normal(tf.zeros([4, 3]), 1.5)),
    "place": (NORMAL, tfd.Normal(tf.fill([4, 3], 0.3), 1.0)),
    "tails": (tfd.StudentT(2.0, tf.zeros([4, 3]), 1.0), NORMAL),
    "gamma": (tfd.Gamma(tf.fill([4, 3], 2.0), 1.0), tfd.Gamma(tf.fill([4, 3], 2.0), 2.0)),
    "beta": (tfd.Beta(tf.fill([4, 3], 2.0), 2.0), tfd.Beta(tf.fill([4, 3], 2.0), 4.0)),
    "bits": (tfd.Bernoulli(tf.zeros([4, 3])), tfd.Bernoulli(tf.ones([4, 3]))),
    "counts": (tfd.Poisson(tf.fill([4, 3], 30.0)), tfd.Poisson(tf.fill([4, 3], 34.0))),
    "states": (
        tfd.Categorical(tf.zeros([4, 3, 5])),
        tfd.Categorical([[[0.0, 1, 2, 0, 1]] * 3] * 4),
    ),
}


@pytest.mark.slow
@pytest.mark.each_case
@pytest.mark.parametrize("name", PAIRS)
def test_draws_of_another_density_are_told(name):
    drawn, scored = (tfd.Independent(each, 1) for each in PAIRS[name])
    assert match(drawn, 2000, SEED).fits
    assert not match(Wrong(drawn, scored), 2000, SEED).fits


@pytest.mark.slow
def test_draws_on_the_sphere_and_the_simplex_are_told():
    towards = tf.math.l2_normalize(tf.constant([[1.0, 2.0, 3.0]]), axis=-1)
    sphere = [tfd.VonMisesFisher(towards, c) for c in (4.0, 8.0)]
    simplex = [tfd.Dirichlet([[1.0, 2.0, 3.0]]), tfd.Dirichlet([[2.0, 4.0, 6.0]])]
    for drawn, scored in (sphere, simplex, [tfd.Dirichlet([[3.0, 2.0, 1.0]]), simplex[0]]):
        assert match(drawn, 1024, SEED).fits
        wrong = Wrong(drawn, scored)
        give_support(wrong, drawn)
        assert not match(wrong, 1024, SEED).fits


def give_support(wrong, of):
    """Gives one distribution, by a class of its own, the support of another."""
    wrong.__class__ = type("Wrong", (Wrong,), {})
    support_of.register(type(wrong), lambda _: support_of(of))


@pytest.mark.parametrize(
    "case", mostly_slow([family[0] for family in CASES.values()]), ids=lambda case: case.label
)
def test_every_family_fits_its_own_draws(case):
    found = match(case.make()(case.params(3)), 128, SEED)
    assert found.not_finite == 0.0
    assert found.fits, found
    assert found.adds_up, found


class Unnormalised(tfd.Normal):
    """Without the constant that "mean squared error" lacks."""

    def _log_prob(self, x):
        return super()._log_prob(x) + 0.5 * np.log(2.0 * np.pi)


def test_a_density_without_its_constant_is_told():
    for drawn in (NORMAL, PAIRS["bits"][0], PAIRS["counts"][0], PAIRS["gamma"][0]):
        found = match(tfd.Independent(drawn, 1), 256, SEED)
        assert abs(found.inverse - 1.0) < 5.0 * found.error
    found = match(tfd.Independent(Unnormalised(tf.zeros([4, 3]), 1.0), 1), 256, SEED)
    assert found.fits
    assert not found.adds_up
    assert found.inverse == pytest.approx((2.0 * np.pi) ** -1.5, abs=5.0 * found.error)
    assert found.total == 1.0 / found.inverse


@pytest.mark.slow
def test_the_deviation_is_that_of_a_standard_normal():
    """Under the right density a single pair's deviation is within what 200 of them would be."""
    found = [match(tfd.Normal(tf.zeros([8]), 1.0), 64, tf.constant([i, 0])) for i in range(40)]
    deviations = np.array([each.deviation for each in found])
    assert deviations.max() < 4.5  # of 40 * 8 pairs
    assert deviations.max() > 0.5


def test_draws_without_a_density_are_counted():
    holes = Wrong(tfd.Normal(tf.zeros([4]), 1.0), tfd.Uniform(0.0, 10.0))
    assert match(holes, 256, SEED).not_finite == pytest.approx(0.5, abs=0.1)


def test_draws_that_are_all_the_same_say_nothing():
    same = tfd.Independent(tfd.Normal(tf.zeros([4, 2]), 1e-30), 1)
    found = match(same, 64, SEED)
    assert found.fits
    sure = tfd.Independent(tfd.Bernoulli(tf.fill([4, 2], 50.0)), 1)
    assert match(sure, 64, SEED).fits
    assert match(tfd.OneHotCategorical(tf.zeros([4, 1])), 64, SEED).fits


@pytest.mark.slow
def test_densities_that_pile_up_at_a_border_add_up():
    """On a scale on which they do not."""
    for concentration in (0.05, 0.3, 30.0):
        raw = tf.fill([4, 6], float(np.log(np.expm1(concentration))))
        found = match(layers.IndependentBeta.new(raw, 3), 128, SEED)
        assert found.fits
        assert found.adds_up
        assert found.not_finite == 0.0
