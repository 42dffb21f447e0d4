"""The estimator of scikit-learn: its own checks, pipelines, searches, and the numbers behind."""

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.6")

from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

import tfvae
from tfvae.sklearn import LatentDensity

# Check → why it does not hold: all of them do.
EXPECTED_FAILURES: dict[str, str] = {}
# Those that every run takes; the others are marked `exhaustive`.
ALWAYS = {
    "check_dtype_object",
    "check_estimator_cloneable",
    "check_estimators_nan_inf",
    "check_fit1d",
    "check_methods_subset_invariance",
    "check_n_features_in",
    "check_parameters_default_constructible",
    "check_transformer_general",
}


def tiny(**settings):
    given = {"hidden": (3,), "epochs": 1, "batch_size": 1000, "n_samples": 2, "random_state": 0}
    return LatentDensity(1, **{**given, **settings})


def test_numbers_beyond_32_bits_are_refused():
    rows = np.random.default_rng(0).normal(size=(20, 2))
    density = tiny().fit(rows)
    for use in (density.transform, density.score_samples, density.fit):
        with pytest.raises(ValueError, match=r"X must hold numbers of at most 3.4e\+38"):
            use(1e39 * rows)
    with pytest.raises(ValueError, match="Codes must hold numbers of at most"):
        density.inverse_transform([[1e39]])
    with pytest.warns(UserWarning, match="`X` loses digits in float32 in column 0"):
        density.score_samples(rows + np.array([1e9, 0.0]))


def test_parts_that_are_none_are_refused():
    rows = np.random.default_rng(0).normal(size=(20, 2))
    with pytest.raises(TypeError, match="`likelihood` must be a distribution layer"):
        tiny(likelihood="normal").fit(rows)
    with pytest.raises(TypeError, match="`hidden` must hold the units of each"):
        tiny(hidden=8).fit(rows)
    with pytest.raises(ValueError, match="hidden"):
        tiny(hidden=(0,)).fit(rows)


def checks():
    found = estimator_checks_generator(tiny(), expected_failed_checks=EXPECTED_FAILURES)
    for estimator, check in found:
        name = check.func.__name__ if hasattr(check, "func") else check.__name__
        kept = [] if name in ALWAYS else [pytest.mark.exhaustive]
        marks = [pytest.mark.slow, *kept]
        # What scikit-learn warns of itself, such as optional packages, is no matter of the check.
        yield pytest.param(estimator, check, id=name, marks=marks)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("estimator", "check"), list(checks()))
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


def test_checks_that_are_named_exist():
    names = {parameter.id for parameter in checks()}
    assert names >= ALWAYS | set(EXPECTED_FAILURES)


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(200, 1))
    rows = [100.0, 0.01] + [20.0, 0.002] * (
        np.sqrt(0.9) * z + np.sqrt(0.1) * rng.normal(size=(200, 2))
    )
    return LatentDensity(1, epochs=30, learning_rate=0.01, random_state=0).fit(rows), rows


@pytest.mark.slow
def test_numbers_are_those_of_the_model(fitted):
    density, rows = fitted
    x = rows.astype("float32")
    np.testing.assert_allclose(density.transform(rows), density.model_.encode(x).mean(), rtol=1e-5)
    evidence = tfvae.log_likelihood(density.model_, x, 500, verbose=False)
    # The noise of 100 draws, the same for all rows.
    assert density.score(rows) == pytest.approx(evidence.mean, abs=0.15)
    # Units of columns are those of the data, and their dependence is found.
    gaussian = -0.5 * np.log(2 * np.pi * np.e * rows.var(axis=0)).sum()
    assert density.score(rows) > gaussian + 0.3
    new = density.sample(2000, random_state=1)
    np.testing.assert_allclose(new.mean(axis=0), rows.mean(axis=0), rtol=0.1)
    np.testing.assert_allclose(new.std(axis=0), rows.std(axis=0), rtol=0.3)
    again = density.inverse_transform(density.transform(rows))
    assert np.corrcoef(again[:, 0], rows[:, 0])[0, 1] > 0.8
    np.testing.assert_array_equal(new, density.sample(2000, random_state=1))


@pytest.mark.slow
@pytest.mark.exhaustive
def test_pipelines_searches_and_pickles(fitted):
    density, rows = fitted
    kept = pickle.loads(pickle.dumps(density))
    np.testing.assert_array_equal(kept.score_samples(rows[:5]), density.score_samples(rows[:5]))
    pipeline = make_pipeline(StandardScaler(), tiny())
    search = GridSearchCV(pipeline, {"latentdensity__n_latents": [1, 2]}, cv=2).fit(rows)
    assert search.best_params_["latentdensity__n_latents"] in (1, 2)
    assert np.isfinite(search.best_score_)
    assert search.best_estimator_.transform(rows[:3]).shape[0] == 3


@pytest.mark.slow
@pytest.mark.exhaustive
def test_parts_of_ones_own_are_copied_and_trained():
    likelihood = tfvae.layers.IndependentBernoulli(4)
    rows = np.random.default_rng(0).integers(0, 2, (50, 4))
    density = tiny(likelihood=likelihood, prior=tfvae.priors.GaussianMixture(2)).fit(rows)
    assert density.model_.decoder.layers[-1].layer is not likelihood
    assert set(np.unique(density.sample(20, random_state=0))) <= {0.0, 1.0}
    assert clone(density).likelihood is not None
    with pytest.raises(ValueError, match=r"shape \[N, 1\]. Received: \[3, 2\]"):
        density.inverse_transform(np.zeros((3, 2)))
