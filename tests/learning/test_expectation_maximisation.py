"""Expectation maximisation is that of others, never falls, and learns what can be learned."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn import mixture as sklearn_mixture

import tfvae
from tests.conftest import binary_data
from tests.models.test_finite_mixture import START, clusters, fixed
from tfvae import layers, priors


@pytest.mark.slow
def test_em_of_gaussians_is_that_of_scikit_learn():
    x, _ = clusters()
    model = tfvae.FiniteMixture(layers.IndependentNormal(2, min_scale=0.0), 3, seed=0)
    # From the same start, iteration by iteration.
    model.decoder.layers[0].kernel.assign(START)
    other = sklearn_mixture.GaussianMixture(
        3,
        covariance_type="diag",
        reg_covar=0.0,
        tol=0.0,
        max_iter=1,
        warm_start=True,
        weights_init=np.full(3, 1 / 3),
        means_init=START[:, :2],
        precisions_init=np.full([3, 2], 0.25),
    )
    for _ in range(5):
        with pytest.warns(Warning, match="converge"):
            other.fit(x.astype("float64"))
        result = model.fit_em(x, max_iterations=1, batch_size=130)
        assert result.log_likelihood[-1] == pytest.approx(other.score(x), abs=1e-5)
    p = model.decode(np.eye(3, dtype="float32"))
    np.testing.assert_allclose(p.mean(), other.means_, atol=1e-4)
    np.testing.assert_allclose(p.variance(), other.covariances_, rtol=1e-3)
    np.testing.assert_allclose(
        model.prior_distribution().mean(), other.weights_, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(model.encode(x).mean(), other.predict_proba(x), atol=1e-4)
    np.testing.assert_allclose(model.exact_log_p_x(x), other.score_samples(x), atol=1e-3)


COMPONENTS = {
    "bernoulli": (lambda: layers.IndependentBernoulli((2, 3)), binary_data(200, (2, 3))),
    "poisson": (
        lambda: layers.IndependentPoisson(4),
        np.random.default_rng(0).poisson([1, 5, 2, 9], (200, 4)).astype("float32"),
    ),
    "categorical": (
        lambda: layers.IndependentCategorical(3, 4),
        np.random.default_rng(0).integers(0, 4, (200, 3)).astype("float32"),
    ),
    "diagonal": (lambda: layers.MultivariateNormalDiag(2), clusters(200)[0]),
    # No closed form: gradient steps.
    "laplace": (lambda: layers.IndependentLaplace(2), clusters(200)[0]),
    "network": (
        lambda: keras.Sequential(
            [
                keras.Input((3,)),
                keras.layers.Dense(8, "tanh"),
                keras.layers.Dense(4),
                layers.IndependentNormal(2),
            ]
        ),
        clusters(200)[0],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPONENTS)
def test_em_never_lowers_the_likelihood(name):
    component, x = COMPONENTS[name]
    model = tfvae.FiniteMixture(component(), 3, seed=0)
    first = tfvae.log_likelihood(model, x, num_samples=1, verbose=False)
    result = model.fit_em(x, max_iterations=30, batch_size=64)
    values = np.array(result.log_likelihood)
    assert np.all(np.diff(values) >= 0.0)
    assert values[-1] > values[0] + 0.01
    last = tfvae.log_likelihood(model, x, num_samples=1, verbose=False)
    assert values[0] == pytest.approx(first.mean, abs=1e-4)
    assert values[-1] == pytest.approx(last.mean, abs=1e-4)
    # A fixed point: the gradient of log p(x) by the components vanishes where EM has converged.
    if name in ("poisson", "categorical", "diagonal"):
        model.fit_em(x, max_iterations=2000, tolerance=1e-9)
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(model.exact_log_p_x(x))
        (gradient,) = tape.gradient(value, [model.decoder.layers[0].kernel.value])
        assert np.max(np.abs(gradient)) < 5e-3


def any_other():
    """Weights that are parameters of any layer."""
    return priors.Parametric(layers.OneHotCategorical(3))


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("component", ["bernoulli", "network"])
def test_em_learns_the_weights_of_every_prior(component):
    make, x = COMPONENTS[component]
    x = x[:60] if component == "network" else (x[:60] < 0.5).astype("float32")
    x[:40] = x[0]  # most points alike: their component weighs more than a third
    model = tfvae.FiniteMixture(make(), 3, any_other(), seed=0)
    model.compile("sgd", jit_compile=False)
    result = model.fit_em(x, max_iterations=15)
    assert np.all(np.diff(result.log_likelihood) >= 0.0)
    # The maximum given the rest: each weight is the mean responsibility of its component.
    weights = np.exp(model.prior_distribution().log_prob(np.eye(3, dtype="float32")))
    np.testing.assert_allclose(weights, np.mean(model.encode(x).mean(), axis=0), atol=0.03)
    assert np.ptp(weights) > 0.1


@pytest.mark.slow
def test_em_leaves_weights_that_are_not_learned():
    model = tfvae.FiniteMixture(layers.IndependentBernoulli(6), 3, fixed(), seed=0)
    model.compile("sgd", jit_compile=False)
    model.fit_em(binary_data(30), max_iterations=3)
    np.testing.assert_allclose(model.prior_distribution().mean(), np.full(3, 1 / 3), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("frozen", ["decoder", "prior", "both"])
def test_em_leaves_what_is_frozen(frozen):
    model = tfvae.FiniteMixture(layers.IndependentBernoulli(6), 3, seed=0)
    parts = {"decoder": model.decoder, "prior": model.prior}
    for name in parts if frozen == "both" else [frozen]:
        parts[name].trainable = False
    before = {name: part.get_weights()[0] for name, part in parts.items()}
    if frozen == "both":
        with pytest.raises(ValueError, match="nothing that expectation maximisation can learn"):
            model.fit_em(binary_data(30), max_iterations=3)
    else:
        model.compile("sgd", jit_compile=False)
        result = model.fit_em(binary_data(30), max_iterations=3)
        assert np.all(np.diff(result.log_likelihood) >= 0.0)
    for name, part in parts.items():
        same = np.array_equal(before[name], part.get_weights()[0])
        assert same == (frozen in (name, "both"))
