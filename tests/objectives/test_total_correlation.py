"""The three parts of the rate: closed forms of a Gaussian, and all batches of a small data set."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy.special import logsumexp

import tfvae
from tests.conftest import binary_data, mlp_vae
from tests.models.test_finite_latents import MODELS as FINITE
from tests.objectives.test_elbo import make_terms
from tfvae.objectives import (
    ELBO,
    BetaTC,
    MinibatchStratified,
    MinibatchWeighted,
    split_rate,
)

tfd = tfp.distributions


def terms_of(q_z, num_samples=1, seed=(1, 2)):
    zeros = tf.zeros(q_z.event_shape, q_z.dtype)
    p_z = tfd.Independent(tfd.Normal(zeros, tf.ones_like(zeros)), len(q_z.event_shape))
    z, log_q_z = q_z.experimental_sample_and_log_prob(num_samples, seed=seed)
    log_p_x = tf.reduce_sum(tf.sin(z), axis=list(range(2, len(z.shape))))
    return tfvae.Terms(log_p_x, p_z.log_prob(z), log_q_z, None, z, q_z, p_z)


@pytest.mark.slow
def test_parts_of_a_gaussian_have_their_closed_forms():
    """z = A x + noise with Gaussian x: the aggregated posterior is a correlated Gaussian."""
    size, rng = 1000, np.random.default_rng(0)
    cause = np.array([[0.9, 0.0], [0.7, 0.5]])
    loc = rng.normal(size=(size, 2)) @ cause.T
    scale = np.array([0.6, 0.8])
    terms = terms_of(tfd.MultivariateNormalDiag(loc, np.tile(scale, (size, 1))))
    covariance = np.cov(loc.T, bias=True) + np.diag(scale**2)
    variances, mean = np.diag(covariance), loc.mean(axis=0)
    log_det = np.linalg.slogdet(covariance)[1]
    exact = {
        "mutual_information": 0.5 * (log_det - np.log(scale**2).sum()),
        "total_correlation": 0.5 * (np.log(variances).sum() - log_det),
        "dimension_wise_kl": 0.5 * (variances + mean**2 - 1 - np.log(variances)).sum(),
    }
    parts = split_rate(terms, size, MinibatchStratified())._asdict()
    for name, expected in exact.items():
        values = parts[name].numpy()
        error = values.std() / np.sqrt(size)
        # A mixture of 1,000 is not quite the Gaussian: the number of its distinguishable points,
        # exp(I), is about three in a thousand of them.
        assert abs(values.mean() - expected) < 5 * error + 0.005, name
        assert expected > 0.02
    total = sum(np.asarray(part) for part in parts.values())
    np.testing.assert_allclose(total, terms.sampled_rate, rtol=1e-9)


def all_estimates(weights, batch_size, terms, i):
    """Returns log q(z_i) estimated from every batch that holds point i, and its exact value."""
    log_q = terms.q_z.log_prob(tf.expand_dims(terms.z, 2))[0].numpy()[i]  # [N]
    size = len(log_q)
    log_weights = weights(batch_size, size).numpy()
    others = [j for j in range(size) if j != i]
    estimates = [
        logsumexp(log_weights[0] + log_q[[i, *batch]])
        for batch in itertools.combinations(others, batch_size - 1)
    ]
    return np.array(estimates), logsumexp(log_q) - np.log(size)


def test_stratified_weights_are_unbiased_over_all_batches():
    loc = np.random.default_rng(0).normal(size=(7, 2))
    terms = terms_of(tfd.MultivariateNormalDiag(loc, np.full((7, 2), 0.5)))
    for batch_size, i in ((2, 0), (3, 4), (7, 6)):
        estimates, exact = all_estimates(MinibatchStratified(), batch_size, terms, i)
        assert np.exp(estimates).mean() == pytest.approx(np.exp(exact), rel=1e-5)
        assert estimates.mean() <= exact + 1e-6
        weighted, _ = all_estimates(MinibatchWeighted(), batch_size, terms, i)
        assert weighted.mean() < exact
    # All points are no sample any more.
    assert estimates == pytest.approx([exact], rel=1e-5)


def test_rows_of_weights():
    for batch_size in (1, 4, tf.constant(4)):
        rows = np.exp(MinibatchStratified()(batch_size, 10))
        np.testing.assert_allclose(np.diag(rows), 0.1, rtol=1e-5)
        assert rows.sum(axis=1) == pytest.approx(1.0 if len(rows) > 1 else 0.1, rel=1e-5)
        weighted = np.exp(MinibatchWeighted()(batch_size, 10))
        np.testing.assert_allclose(weighted.sum(axis=1), 0.1, rtol=1e-5)


def test_all_weight_of_a_data_set_of_one_point_is_its_own():
    np.testing.assert_array_equal(np.exp(MinibatchStratified()(1, 1)), [[1.0]])
    np.testing.assert_array_equal(np.exp(MinibatchStratified()(3, 1)), np.eye(3))
    loc = tf.Variable([[0.3, -0.5]])
    with tf.GradientTape() as tape:
        terms = terms_of(tfd.MultivariateNormalDiag(loc, [[0.5, 2.0]]))
        parts = split_rate(terms, 1, MinibatchStratified())
        bound = BetaTC(dataset_size=1)(terms)
    assert np.all(np.isfinite(tape.gradient(bound, loc)))
    # One posterior is the aggregated one, and factorises.
    np.testing.assert_allclose(parts[:2], np.zeros([2, 1]), atol=1e-6)


@pytest.mark.parametrize("weights", [MinibatchStratified(), MinibatchWeighted()], ids=str)
def test_weights_of_one_make_the_sampled_elbo(weights):
    terms = make_terms(4)
    objective = BetaTC(dataset_size=100, beta=1.0, weights=weights)
    np.testing.assert_allclose(objective(terms), ELBO(analytic_kl=False)(terms), rtol=1e-5)
    parts = split_rate(terms, 100, weights)
    other = BetaTC(dataset_size=100, beta=5.0, alpha=2.0, gamma=0.5, weights=weights)
    rate = 2.0 * parts[0] + 5.0 * parts[1] + 0.5 * parts[2]
    np.testing.assert_allclose(other(terms), -terms.distortion - rate, rtol=1e-5)


def test_latents_of_any_shape():
    loc = np.random.default_rng(0).normal(size=(6, 2, 3)).astype("float32")
    matrix = terms_of(tfd.Independent(tfd.Normal(loc, 0.5), 2))
    flat = tf.reshape(loc, [6, 6])
    q_z, z = tfd.MultivariateNormalDiag(flat, tf.fill([6, 6], 0.5)), tf.reshape(matrix.z, [1, 6, 6])
    vector = matrix._replace(q_z=q_z, z=z)
    one, other = (split_rate(terms, 50, MinibatchStratified()) for terms in (matrix, vector))
    for first, second in zip(one, other, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-5)


def test_sums_over_few_states_have_no_noise():
    vae, x = FINITE["two categorical"](), binary_data(12)
    terms = vae.terms(x)
    parts = split_rate(terms, 12, MinibatchStratified())
    np.testing.assert_allclose(sum(parts), terms.kl, rtol=1e-4, atol=1e-5)
    # All of the data in one batch: the parts are those of the aggregated posterior, by hand.
    states = terms.z[:, 0]  # [9, 2]
    q = np.exp(vae.encode(x).log_prob(states[:, None])).mean(axis=1)  # [9]
    table = q.reshape(3, 3)
    product = np.outer(table.sum(axis=1), table.sum(axis=0)).ravel()
    correlation = np.sum(q * np.log(q / product))
    assert np.mean(parts.total_correlation) == pytest.approx(correlation, rel=1e-3)
    objective = BetaTC(dataset_size=12, beta=1.0)
    np.testing.assert_allclose(objective(terms), ELBO()(terms), rtol=1e-5)


def test_the_number_of_points_comes_from_the_data_of_fit(tmp_path):
    vae, x = mlp_vae(), binary_data(20)
    vae.compile("adam", 0.5 * BetaTC(4.0) + 0.5 * ELBO())
    with pytest.raises(ValueError, match=r"needs the number of points.*dataset_size=N"):
        vae.fit(tf.data.Dataset.from_tensor_slices(x).batch(10), verbose=0)
    vae.fit(x, batch_size=10, validation_split=0.25, verbose=0)
    assert vae.objective.objectives[0].dataset_size == 15
    vae.evaluate(x, verbose=0)  # what training has told stands
    assert vae.objective.objectives[0].dataset_size == 15
    told = mlp_vae()
    told.compile("adam", BetaTC(4.0, dataset_size=20))
    asking = mlp_vae()
    asking.compile("adam", BetaTC(4.0))
    asking.set_weights(told.get_weights())
    losses = [model.fit(x, batch_size=10, verbose=0).history["loss"] for model in (told, asking)]
    assert losses[0] == losses[1]
    asking.save(tmp_path / "beta.keras")
    loaded = keras.models.load_model(tmp_path / "beta.keras")
    assert loaded.objective == BetaTC(4.0)  # other data may have another number
    for number in (8, 20, 8):  # of an evaluation that no training comes before, its own
        loaded.evaluate(x[:number], verbose=0)
        assert loaded.objective.dataset_size == number
    loaded.fit(x, verbose=0)
    loaded.evaluate(x[:8], verbose=0)
    assert loaded.objective.dataset_size == 20
    loaded.compile("sgd", loaded._reader.asked)
    for number in (12, 10):
        loaded.evaluate(x[:number], verbose=0)
        assert loaded.objective.dataset_size == number


def test_config_round_trip():
    objective = BetaTC(4.0, dataset_size=1000, weights=MinibatchWeighted(), num_samples=2)
    stored = keras.saving.serialize_keras_object(objective)
    assert keras.saving.deserialize_keras_object(stored) == objective


def mixture_prior():
    p_z = tfvae.priors.GaussianMixture(3, make_terms(1).z.shape[-1]).distribution()
    return make_terms(1)._replace(p_z=p_z)


def full_covariance():
    q_z = tfd.MultivariateNormalTriL(tf.zeros([5, 2]), tf.eye(2, batch_shape=[5]))
    return make_terms(1)._replace(q_z=q_z)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: BetaTC(dataset_size=0),
            ValueError,
            "whole number.*dataset_size=0",
        ),
        (
            lambda: BetaTC(beta=-1.0),
            ValueError,
            "`beta` must be a number >= 0. .*beta=-1.0",
        ),
        (lambda: BetaTC(alpha=None), ValueError, "Received: alpha=None"),
        (lambda: BetaTC(gamma=float("inf")), ValueError, "Received: gamma=inf"),
        (
            lambda: BetaTC(weights="mss"),
            TypeError,
            r"`MinibatchStratified\(\)`.*weights='mss'",
        ),
        (lambda: BetaTC(num_samples=0), ValueError, "num_samples=0"),
        (
            lambda: BetaTC(dataset_size=10)(full_covariance()),
            ValueError,
            "posterior that factorises over the dimensions.*Received: MultivariateNormalTriL",
        ),
        (
            lambda: BetaTC(dataset_size=10)(mixture_prior()),
            ValueError,
            "takes a prior that factorises over the dimensions.*Received: NormalMixture",
        ),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()
