"""Where layers start from data: with its mean, to rounding, in every family."""

import numpy as np
import pytest
import tensorflow as tf

from tests.layers.cases import CASES
from tfvae import layers
from tfvae.layers.start import start_of

RNG = np.random.default_rng(0)
GRID = np.round(np.clip(RNG.normal(0.7, 0.3, (200, 3)), 0.0, 1.0) * 7.0) / 7.0
ONE_HOT = np.eye(4)[RNG.choice(4, 300, p=[0.1, 0.2, 0.3, 0.4])]
POSITIVE = np.exp(RNG.normal([3.0, 10.0], 0.5, (300, 2)))
COUNTS = RNG.negative_binomial(2, 0.1, (300, 2)).astype(float) * (RNG.random((300, 2)) < 0.7)
REAL = RNG.normal([45.0, -0.003], [12.0, 0.0005], (300, 2))
SHARES = RNG.beta(2.0, 5.0, (300, 2))
UNIT = RNG.normal([2.0, 1.0, 0.5], 1.0, (300, 3))
UNIT /= np.linalg.norm(UNIT, axis=1, keepdims=True)

# A layer, data for it, and whether its spread is that of the data too.
EXACT = {
    "normal": (layers.IndependentNormal(2), REAL, True),
    "logistic": (layers.IndependentLogistic(2), REAL, True),
    "laplace": (layers.IndependentLaplace(2), REAL, True),
    "student": (layers.IndependentStudentT(2), REAL, True),
    "log-normal": (layers.IndependentLogNormal(2), POSITIVE, True),
    "diagonal": (layers.MultivariateNormalDiag(2), REAL, True),
    "tril": (layers.MultivariateNormalTriL(2), REAL, True),
    "low rank": (layers.MultivariateNormalLowRank(2, 1), REAL, True),
    "mixture": (layers.MixtureNormal(3, 2), REAL, True),
    "logistics": (layers.MixtureLogistic(3, 2), REAL, True),
    "same family": (layers.MixtureSameFamily(2, layers.IndependentLaplace(2)), REAL, True),
    "bernoulli": (layers.IndependentBernoulli(2), (REAL.mean(0) < REAL).astype(float), True),
    "grey": (layers.ContinuousBernoulli(2), SHARES, False),
    "beta": (layers.IndependentBeta(2), SHARES, True),
    "levels": (layers.DiscretizedLogistic(3, levels=8), GRID, False),
    "mixed levels": (layers.MixtureOfDiscretizedLogistics(3, 2, levels=8), GRID, False),
    "one-hot": (layers.OneHotCategorical(4), ONE_HOT, False),
    "mixed one-hot": (layers.CategoricalMixtureOfOneHotCategorical(4, 2), ONE_HOT, False),
    "poisson": (layers.IndependentPoisson(2), COUNTS, False),
    "negative binomial": (layers.IndependentNegativeBinomial(2), COUNTS, True),
    "zeros": (layers.ZeroInflatedPoisson(2), COUNTS, True),
    "more zeros": (layers.ZeroInflatedNegativeBinomial(2), COUNTS, True),
    "direction": (layers.PowerSpherical(3), UNIT, False),
}


def started(layer, x):
    return layers.Adapted(layer, x)(tf.zeros([1, layer._params_size()]))


@pytest.mark.parametrize("name", EXACT)
def test_zero_means_the_mean_of_the_data(name):
    layer, x, with_spread = EXACT[name]
    p = started(layer, x)
    np.testing.assert_allclose(p.mean()[0], x.mean(axis=0), rtol=2e-5)
    if with_spread:
        found = p.stddev() if name != "same family" else tf.sqrt(p.variance())
        # Variances of mixtures are differences of squares: of few digits beside a large mean.
        np.testing.assert_allclose(found[0], x.std(axis=0), rtol=0.02 if "mi" in name else 1e-3)


def test_every_family_starts_or_says_that_it_does_not():
    unknown = {
        layers.Autoregressive,
        layers.AutoregressiveTransform,
        layers.DistributionLambda,
        layers.PixelCNN,
        layers.RelaxedBernoulli,
        layers.RelaxedOneHotCategorical,
        layers.TransformedDistribution,
        layers.VonMisesFisher,
    }
    default = start_of.dispatch(object)
    assert {family for family in CASES if start_of.dispatch(family) is default} <= unknown
    with pytest.raises(TypeError, match="`RelaxedBernoulli` starts from data is not known"):
        start_of(layers.RelaxedBernoulli(2), np.zeros((3, 2)))


def test_what_nobody_has_seen_starts_in_the_middle_and_constants_stay_finite():
    for layer, x, _ in EXACT.values():
        missing = np.full_like(x[:5], np.nan)
        if not isinstance(layer, layers.PowerSpherical):
            assert all(np.isfinite(part).all() for part in start_of(layer, missing))
        constant = np.repeat(x[:1], 5, axis=0)
        assert all(np.isfinite(part).all() for part in start_of(layer, constant))


def test_categories_start_at_their_shares():
    x = np.array([[0.0], [1.0], [1.0], [np.nan]])
    p = started(layers.IndependentCategorical((1,), 2), x)
    np.testing.assert_allclose(p.distribution.probs_parameter()[0, 0], [1 / 3, 2 / 3], rtol=1e-5)
