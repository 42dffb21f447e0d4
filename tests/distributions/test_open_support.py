"""Draws held inside of open supports: an end stands for all that lies beyond it."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae.distributions.open_support import (
    OpenBeta,
    OpenLogNormal,
    OpenRelaxedBernoulli,
    OpenRelaxedOneHot,
    opened,
)

tfd = tfp.distributions

FAMILIES = {
    "Beta": (lambda dtype: OpenBeta(tf.constant(0.05, dtype), 0.02), scipy.stats.beta(0.05, 0.02)),
    "LogNormal": (
        lambda dtype: OpenLogNormal(tf.constant(3.0, dtype), 50.0),
        scipy.stats.lognorm(s=50.0, scale=math.exp(3.0)),
    ),
    "RelaxedBernoulli": (
        lambda dtype: OpenRelaxedBernoulli(tf.constant(0.1, dtype), logits=0.7),
        None,
    ),
}


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_end_has_the_mass_of_all_beyond_it(name, dtype):
    """The ends by SciPy, and so often as they say among draws; between them TFP's density."""
    make, oracle = FAMILIES[name]
    p = make(dtype)
    low, high = p._limits()
    if oracle is None:
        logits = 0.1 * scipy.special.logit(np.array([low, high])) - 0.7
        under, over = scipy.special.expit(logits[0]), scipy.special.expit(-logits[1])
    else:
        under, over = oracle.cdf(low), oracle.sf(high)
    ends = np.array([low, high], dtype)
    widths = [low, high if name == "LogNormal" else 1.0 - high]
    expected = np.log([under, over]) - np.log(widths)
    np.testing.assert_allclose(p.log_prob(ends), expected, rtol=1e-4)
    x = p.sample(4000, seed=[1, 2])
    for end, mass in zip(ends, (under, over), strict=True):
        error = math.sqrt(mass * (1 - mass) / 4000)
        assert np.mean(np.equal(x, end)) == pytest.approx(mass, abs=5 * error)
    inside = tf.constant([1e-20, 1e-3, 0.5, 0.999], dtype)
    plain = type(p).__mro__[2](**p.parameters)
    np.testing.assert_allclose(p.log_prob(inside), plain.log_prob(inside), rtol=1e-6)
    # Outside of the support, too, all is as it was.
    outside = tf.constant([-1.0], dtype)
    np.testing.assert_array_equal(p.log_prob(outside), plain.log_prob(outside))


def test_faces_of_the_simplex():
    """Three categories, of which some are too small for floats: all masses together are one."""
    temperature, logits = 0.02, np.array([0.3, -0.2, 0.1])
    p = OpenRelaxedOneHot(temperature, tf.constant(logits, tf.float32))
    x = p.sample(20_000, seed=[1, 2])
    low = np.min(x)
    larger = np.asarray(x > low)
    # Of a face with one larger element, log p is its probability.
    for k in range(3):
        corner = np.full(3, low, "float32")
        corner[k] = 1.0
        mass = math.exp(float(p.log_prob(corner)) + 2 * math.log(low))  # over the corner's volume
        share = np.mean(np.all(larger == np.eye(3, dtype=bool)[k], axis=-1))
        assert share == pytest.approx(mass, abs=5 * math.sqrt(mass * (1 - mass) / 20_000))
    # Of two, it is a density along the edge.
    t = np.linspace(math.log(low), 0.0, 4001)[1:-1] / 2
    for pair in ((0, 1), (0, 2), (1, 2)):
        total = 0.0
        for first, second in (pair, pair[::-1]):
            points = np.full((len(t), 3), low, "float64")
            points[:, first] = np.exp(2 * t)
            points[:, second] = 1.0 - np.exp(2 * t)
            inner = points[:, first] < 0.5
            log_density = np.asarray(p.log_prob(points[inner].astype("float32")), "float64")
            density = np.exp(log_density + math.log(low))
            steps = 2 * (t[1] - t[0]) * points[inner, first]
            total += np.sum(density * steps)
        share = np.mean(np.all(larger[:, list(pair)], axis=-1) & (larger.sum(axis=-1) == 2))
        assert share == pytest.approx(total, abs=5 * math.sqrt(share / 20_000) + 2e-4)
    # Inside it is TFP's.
    plain = tfd.RelaxedOneHotCategorical(temperature, p.logits)
    inside = np.array([[0.2, 0.3, 0.5], [1e-9, 1e-3, 0.999]], "float32")
    np.testing.assert_allclose(p.log_prob(inside), plain.log_prob(inside), rtol=1e-5)


@pytest.mark.parametrize("name", ["Beta", "RelaxedBernoulli"])
def test_a_rate_to_a_density_without_ends_is_that_of_the_masses(name):
    """KL(q || p) of p = N(0, 1): over the inside by quadrature, of each end by its two masses."""
    q = FAMILIES[name][0]("float32")
    low, high = q._limits()
    y = np.linspace(scipy.special.logit(low), scipy.special.logit(high), 400_001)[1:-1]
    x = scipy.special.expit(y)
    if name == "Beta":
        a, b = 0.05, 0.02
        log_q = a * np.log(x) + b * scipy.special.log_expit(-y) - scipy.special.betaln(a, b)
        under, over = FAMILIES[name][1].cdf(low), FAMILIES[name][1].sf(high)
    else:  # 0.1 y is logistic about 0.7
        t = 0.1 * y - 0.7
        log_q = math.log(0.1) + scipy.special.log_expit(t) + scipy.special.log_expit(-t)
        under, over = scipy.special.expit(t[0]), scipy.special.expit(-t[-1])
    log_slope = scipy.special.log_expit(y) + scipy.special.log_expit(-y)  # dx = x (1 - x) dy
    inside = np.exp(log_q) * (log_q - log_slope - scipy.stats.norm.logpdf(x))
    rate = scipy.integrate.trapezoid(inside, y)
    normal = scipy.stats.norm
    ends = (under, normal.pdf(0.0) * low), (over, normal.cdf(1.0) - normal.cdf(high))
    rate += sum(mass * math.log(mass / other) for mass, other in ends)
    z, log_q_z = q.experimental_sample_and_log_prob(40_000, seed=[1, 2])
    found = np.asarray(log_q_z - tfd.Normal(0.0, 1.0).log_prob(z), "float64")
    assert found.mean() == pytest.approx(rate, abs=5 * found.std() / 200)


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        (tfd.RelaxedBernoulli, {"temperature": 0.01, "logits": [30.0, -30.0]}),
        (tfd.RelaxedOneHotCategorical, {"temperature": 0.01, "probs": [0.7, 0.3]}),
        (tfd.Beta, {"concentration1": [1e-3, 1.0], "concentration0": [1e-3, 2.0]}),
        (tfd.LogNormal, {"loc": [0.0, 80.0], "scale": [1.0, 9.0]}),
    ],
)
def test_families_of_tfp_give_way_to_those_whose_draws_have_densities(family, settings):
    plain = family(**settings, name="mine")
    found = opened(plain)
    assert isinstance(found, family)
    assert found.name == "mine"
    draws = found.sample(200, seed=[0, 1])
    assert np.all(np.isfinite(found.log_prob(draws)))
    middle = tf.fill(plain.batch_shape + plain.event_shape, 0.5)
    np.testing.assert_allclose(found.log_prob(middle), plain.log_prob(middle), rtol=1e-5)
    assert opened(found) is found
    if plain.event_shape.rank == 0:
        joint = opened(tfd.Independent(plain, 1))
        assert isinstance(joint.distribution, type(found))
        assert joint.event_shape == [2]


def made_of(make):
    """Returns what TFP makes of distributions over vectors of two, one of each kind."""
    shares = tfd.Categorical([0.3, -0.3])
    pair = tfd.Independent(make([2]), 1)
    return {
        "independent": tfd.Independent(make([3, 2]), 2),
        "sample": tfd.Sample(make([]), [2]),
        "sample of sample": tfd.Sample(tfd.Sample(make([]), [2]), [3]),
        "reshape": tfd.Independent(tfd.BatchReshape(make([6]), [3, 2]), 2),
        "broadcast": tfd.Independent(tfd.BatchBroadcast(make([1]), [2]), 1),
        "blockwise": tfd.Blockwise([pair, tfd.Sample(make([]), [2])]),
        "mixture": tfd.MixtureSameFamily(shares, tfd.Independent(make([2, 2]), 1)),
        "mixture of lists": tfd.Mixture(shares, [pair, tfd.Sample(make([]), [2])]),
    }


@pytest.mark.parametrize("name", list(made_of(lambda shape: tfd.Normal(tf.zeros(shape), 1.0))))
def test_what_is_made_of_such_families_draws_what_has_a_density(name):
    closed = made_of(lambda shape: tfd.RelaxedBernoulli(0.01, logits=tf.fill(shape, 30.0)))[name]
    found = opened(closed)
    assert type(found) is type(closed)
    draws = found.sample(100, seed=[0, 1])
    assert draws.shape == [100, *closed.batch_shape, *closed.event_shape]
    assert np.all(np.isfinite(found.log_prob(draws)))
    middle = tf.fill(closed.event_shape, 0.5)
    np.testing.assert_allclose(found.log_prob(middle), closed.log_prob(middle), rtol=1e-5)
    assert opened(found) is found
    normal = made_of(lambda shape: tfd.Normal(tf.zeros(shape), 1.0))[name]
    assert opened(normal) is normal


def test_others_stay_as_they_are():
    distribution = tfd.Normal(0.0, 1.0)
    assert opened(distribution) is distribution
