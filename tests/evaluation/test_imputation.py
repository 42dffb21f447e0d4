"""Imputation against the closed form of the linear Gaussian model, and sums over few categories."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

import tfvae
from tests import analytic
from tests.conftest import mlp_vae
from tfvae import layers
from tfvae.networks import FillMissing


def masked_vae(model, posterior, stddev=1.3):
    """The model of `analytic`, with an encoder that reads NaN as zero and is wide enough."""
    dims, latents = model.w.shape
    plain = model.vae()
    first, last = keras.layers.Dense(2 * latents), keras.layers.Dense(2 * dims)
    encoder = keras.Sequential(
        [
            keras.Input((dims,)),
            FillMissing(indicators=False),
            first,
            posterior(latents, min_scale=0.0),
        ]
    )
    head = layers.Masked(layers.IndependentNormal(dims, min_scale=0.0))
    decoder = keras.Sequential([keras.Input((latents,)), last, head])
    kernel, bias = plain.encoder.layers[0].get_weights()
    bias[latents:] = np.log(np.expm1(stddev))
    first.set_weights([kernel, bias])
    last.set_weights(plain.decoder.layers[0].get_weights())
    return tfvae.VAE(encoder, decoder, seed=0)


def gappy(x, seed=0):
    missing = np.random.default_rng(seed).uniform(size=x.shape) < 0.4
    missing[0], missing[1] = True, False
    return np.where(missing, np.nan, x).astype("float32")


def conditional(model, row):
    """Returns mean and covariance of what is missing, and log p of what is not."""
    o = ~np.isnan(row)
    cov = model.covariance
    gain = cov[np.ix_(~o, o)] @ np.linalg.inv(cov[np.ix_(o, o)])
    mean = model.b[~o] + gain @ (row[o].astype("float64") - model.b[o])
    covariance = cov[np.ix_(~o, ~o)] - gain @ cov[np.ix_(o, ~o)]
    log_p = (
        stats.multivariate_normal(model.b[o], cov[np.ix_(o, o)]).logpdf(row[o]) if o.any() else 0
    )
    return mean, covariance, log_p


@pytest.mark.slow
def test_means_and_evidence_by_quadrature_are_the_exact_ones():
    model = analytic.LinearGaussian.random(seed=1, dims=4, latents=1)
    x = gappy(model.draw(11))
    vae = masked_vae(model, analytic.QuantileLayer)
    # A midpoint rule of 2,500 points in one block: off by the mass beyond its last point.
    result = tfvae.impute(vae, x, 2500, batch_size=2, verbose=False)
    log_p = tfvae.log_likelihood(vae, x, 2500, batch_size=2, verbose=False).per_point
    np.testing.assert_array_equal(result.missing, np.isnan(x))
    np.testing.assert_array_equal(result.x[~result.missing], x[~result.missing])
    for i, row in enumerate(x):
        mean, _, exact = conditional(model, row)
        np.testing.assert_allclose(result.x[i, result.missing[i]], mean, atol=1e-3)
        assert log_p[i] == pytest.approx(exact, abs=1e-3)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_sampled_means_and_draws_agree_with_the_closed_form():
    model = analytic.LinearGaussian.random(seed=4, dims=5, latents=2)
    x = gappy(model.draw(6), seed=2)
    vae = masked_vae(model, layers.MultivariateNormalDiag)
    # Several blocks of 1,666 draws, the last one cut.
    result = tfvae.impute(vae, x, 20_000, num_draws=2000, batch_size=3, verbose=False)
    assert result.draws.shape == (2000, 6, 5)
    assert result.num_samples == 20_000
    for i, row in enumerate(x):
        missing = np.isnan(row)
        if not missing.any():
            continue
        mean, covariance, _ = conditional(model, row)
        stddev = np.sqrt(np.diag(covariance))
        # Of E[x|z] no more than all of x varies.
        error = stddev / np.sqrt(result.ess[i])
        assert np.all(np.abs(result.x[i, missing] - mean) < 5 * error)
        draws = result.draws[:, i, missing].astype("float64")
        # Both the choice among the weighted z and the draws from these are random.
        error = stddev * np.sqrt(1 / 2000 + 1 / result.ess[i])
        assert np.all(np.abs(draws.mean(axis=0) - mean) < 5 * error)
        spread = np.cov(draws.T).reshape(covariance.shape)
        scale = np.sqrt(
            (np.outer(stddev, stddev) ** 2 + covariance**2) * (1 / 2000 + 2 / result.ess[i])
        )
        assert np.all(np.abs(spread - covariance) < 5 * scale)
        np.testing.assert_array_equal(result.draws[7, i, ~missing], row[~missing])
    again = tfvae.impute(vae, x, 20_000, num_draws=2000, batch_size=3, verbose=False)
    np.testing.assert_array_equal(again.draws, result.draws)
    other = tfvae.impute(vae, x[:1], 100, seed=1, verbose=False)
    assert not np.array_equal(other.x, tfvae.impute(vae, x[:1], 100, verbose=False).x)
    assert "missing entries" in str(result)
    summary = result.to_dict()
    assert summary["num_missing"] == np.isnan(x).sum()
    assert summary["least_ess"] <= summary["median_ess"] <= 20_000
    assert summary["num_draws"] == 2000


@pytest.mark.slow
def test_categories_get_the_most_probable_one_over_all_latents():
    """One latent, a sigmoid of which says which category is likely: the sum is by quadrature."""
    columns = {"real": layers.IndependentNormal(), "category": layers.IndependentCategorical((), 3)}
    dense = keras.layers.Dense(5)
    decoder = keras.Sequential(
        [keras.Input((1,)), dense, layers.Masked(layers.Heterogeneous(columns))]
    )
    kernel, bias = np.array([[1.5, 0.0, -4.0, 0.0, 4.0]]), np.array([0.0, 0.0, 0.0, 2.0, 0.0])
    dense.set_weights([kernel, bias])
    encoder = keras.Sequential(
        [
            keras.Input((2,)),
            layers.DataEncoder(columns),
            keras.layers.Dense(
                2, kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(1.0)
            ),
            layers.MultivariateNormalDiag(1),
        ]
    )
    vae = tfvae.VAE(encoder, decoder, seed=0)
    x = np.array(
        [[-2.0, np.nan], [0.0, np.nan], [2.0, np.nan], [np.nan, 0], [np.nan, 2], [np.nan] * 2]
    )
    result = tfvae.impute(vae, x, 20_000, num_draws=3000, verbose=False)
    z = np.linspace(-8, 8, 20_001)
    p_z = stats.norm.pdf(z) * (z[1] - z[0])
    params = z[:, None] * kernel + bias
    normal = stats.norm(params[:, 0], np.log(2.0) + 1e-5)
    probabilities = special.softmax(params[:, 2:], axis=1)
    for i in range(3):
        w = normal.pdf(x[i, 0]) * p_z
        expected = w @ probabilities / w.sum()
        assert result.x[i, 1] == expected.argmax() == i
        drawn = np.bincount(result.draws[:, i, 1].astype(int), minlength=3) / 3000
        error = np.sqrt(expected * (1 - expected) * (1 / 3000 + 1 / result.ess[i]))
        assert np.all(np.abs(drawn - expected) < 5 * error + 1e-6)
    for i in (3, 4, 5):
        w = p_z * (probabilities[:, int(x[i, 1])] if i < 5 else 1.0)
        mean = w @ params[:, 0] / w.sum()
        spread = np.sqrt(w @ np.square(params[:, 0] - mean) / w.sum())
        assert abs(result.x[i, 0] - mean) < 5 * spread / np.sqrt(result.ess[i])


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.xla
def test_any_form_of_data_and_family():
    """Draws of this family do not compile, and entries of this table are whole."""
    inner = layers.IndependentNegativeBinomial(3)
    encoder = keras.Sequential(
        [
            keras.Input((3,)),
            FillMissing(),
            keras.layers.Dense(4),
            layers.MultivariateNormalDiag(2),
        ]
    )
    decoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(6), layers.Masked(inner)])
    vae = tfvae.VAE(encoder, decoder, seed=0)
    vae.compile(jit_compile=True)
    x = np.array([[1, np.nan, 0], [np.nan, 2, 3], [0, 0, 1]], "float32")
    result = tfvae.impute(vae, x, 10, batch_size=2, verbose=False)
    vae.compile(jit_compile=False)
    dataset = tf.data.Dataset.from_tensor_slices((x, np.zeros(3))).batch(2)
    same = tfvae.impute(vae, x, 10, batch_size=2, verbose=False)
    np.testing.assert_array_equal(tfvae.impute(vae, dataset, 10, verbose=False).x, same.x)
    assert result.x.shape == same.x.shape == (3, 3)
    assert np.all(result.draws == np.round(result.draws))
    whole = tfvae.impute(vae, np.array([[1, 2, 0]]), 10, verbose=False)
    np.testing.assert_array_equal(whole.x, [[1, 2, 0]])
    assert not whole.missing.any()
    assert tfvae.impute(vae, x.astype("float64"), 10, verbose=False).x.dtype == "float64"


@pytest.mark.slow
def test_families_without_a_mean_are_averaged_over_draws():
    """A relaxed Bernoulli variable has none that TFP knows; that of the decoder's bias is 1 / 2."""
    inner = layers.RelaxedBernoulli(2, temperature=0.5)
    encoder = keras.Sequential(
        [
            keras.Input((2,)),
            FillMissing(),
            keras.layers.Dense(2, kernel_initializer="zeros"),
            layers.MultivariateNormalDiag(1),
        ]
    )
    zeros = keras.layers.Dense(2, kernel_initializer="zeros")
    vae = tfvae.VAE(encoder, keras.Sequential([keras.Input((1,)), zeros, layers.Masked(inner)]))
    result = tfvae.impute(vae, np.array([[np.nan, 0.3]]), 4000, verbose=False)
    assert abs(result.x[0, 0] - 0.5) < 5 * 0.5 / np.sqrt(result.ess[0])


def test_bad_arguments():
    vae = mlp_vae()
    with pytest.raises(ValueError, match=r"does not take missing entries. Wrap the likelihood"):
        tfvae.impute(vae, np.zeros([4, 6]), verbose=False)
    with pytest.raises(ValueError, match=r"NaN or infinite values.*`tfvae.layers.Masked`"):
        tfvae.impute(vae, np.full([4, 6], np.nan), verbose=False)
    for arguments in ({"num_samples": 0}, {"num_samples": 1.5}, {"num_draws": 0}):
        name, value = next(iter(arguments.items()))
        message = f"`{name}` must be a whole number >= 1. Received: {name}={value}"
        with pytest.raises(ValueError, match=message):
            tfvae.impute(vae, np.zeros([4, 6]), **arguments)


@pytest.mark.slow
def test_sums_over_few_states_are_exact():
    """A mixture of three products of Gaussians, with its responsibilities by hand."""
    rng = np.random.default_rng(0)
    loc, raw = rng.normal(size=[2, 3, 2])
    loc, scale = 2 * loc, np.logaddexp(0.0, raw)
    encoder = keras.Sequential(
        [keras.Input((2,)), FillMissing(), keras.layers.Dense(3), layers.OneHotCategorical(3)]
    )
    decoder = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, use_bias=False),
            layers.Masked(layers.IndependentNormal(2, min_scale=0.0)),
        ]
    )
    decoder.layers[0].set_weights([np.concatenate([loc, raw], axis=1)])
    vae = tfvae.VAE(encoder, decoder, tfvae.priors.OneHot(), seed=0)
    x = np.array([[0.5, np.nan], [np.nan, -1.0], [np.nan, np.nan], [1.0, 2.0]])
    result = tfvae.impute(vae, x, 7, num_draws=4000, verbose=False)
    np.testing.assert_array_equal(result.ess, 7.0)
    evidence = tfvae.log_likelihood(vae, x, 7, verbose=False).per_point
    for i, row in enumerate(x):
        seen = ~np.isnan(row)
        w = np.exp(stats.norm(loc, scale).logpdf(np.nan_to_num(row))[:, seen].sum(axis=1)) / 3
        assert evidence[i] == pytest.approx(np.log(w.sum()), abs=1e-5)
        w = w / w.sum()
        mean = w @ loc
        np.testing.assert_allclose(result.x[i, ~seen], mean[~seen], rtol=1e-5)
        stddev = np.sqrt(w @ (scale**2 + loc**2) - mean**2)
        error = stddev / np.sqrt(4000)
        assert np.all(np.abs(result.draws[:, i].mean(axis=0) - mean)[~seen] < 5 * error[~seen])


@pytest.mark.slow
def test_a_mixture_likelihood_is_told_its_component_by_what_is_observed():
    """p(x|z) does not look at z: means and draws are those of the mixture given the rest."""
    loc = np.array([[-3.0, -3.0], [3.0, 3.0]])
    raw = np.log(np.expm1(0.5))
    bias = [0.0, 0.0, *loc[0], raw, raw, *loc[1], raw, raw]
    head = layers.Masked(layers.MixtureNormal(2, 2, min_scale=0.0))
    params = keras.layers.Dense(10, "linear", kernel_initializer="zeros")
    decoder = keras.Sequential([keras.Input((1,)), params, head])
    params.set_weights([np.zeros([1, 10]), np.array(bias)])
    encoder = keras.Sequential(
        [keras.Input((2,)), FillMissing(), keras.layers.Dense(2), layers.MultivariateNormalDiag(1)]
    )
    vae = tfvae.VAE(encoder, decoder, seed=0)
    vae.compile("adam", jit_compile=False)
    x = np.array([[3.0, np.nan], [np.nan, -3.0], [0.1, np.nan]], "float32")
    result = tfvae.impute(vae, x, 50, num_draws=400, batch_size=2, verbose=False)
    w = special.expit(stats.norm.logpdf(0.1, 3, 0.5) - stats.norm.logpdf(0.1, -3, 0.5))
    means = np.array([3.0, -3.0, 6.0 * w - 3.0])
    missing = np.array([1, 0, 1])
    np.testing.assert_allclose(result.x[[0, 1, 2], missing], means, atol=1e-3)
    drawn = result.draws[:, [0, 1, 2], missing]
    stddev = np.sqrt(0.25 + np.array([0.0, 0.0, 36 * w * (1 - w)]))
    assert np.all(np.abs(drawn.mean(axis=0) - means) < 5 * stddev / np.sqrt(400))


@pytest.mark.slow
def test_a_context_says_what_is_missing():
    """The decoder copies the context: nothing else is known of an empty row."""
    first, context = keras.Input((2,)), keras.Input((2,))
    filled = keras.layers.Concatenate()([FillMissing()(first), context])
    encoder = keras.Model(
        [first, context], layers.MultivariateNormalDiag(1)(keras.layers.Dense(2)(filled))
    )
    z = keras.Input((1,))
    params = keras.layers.Dense(4, use_bias=False)
    joined = keras.layers.Concatenate()([z, context])
    head = layers.Masked(layers.IndependentNormal(2))
    decoder = keras.Model([z, context], head(params(joined)))
    params.set_weights([np.array([[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]], "float32")])
    vae = tfvae.VAE(encoder, decoder, seed=0)
    c = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], "float32")
    x = np.array([[np.nan, np.nan], [7.0, np.nan], [np.nan, 8.0]], "float32")
    result = tfvae.impute(vae, {"x": x, "context": c}, 50, batch_size=2, verbose=False)
    np.testing.assert_allclose(result.x, np.where(np.isnan(x), c, x), rtol=1e-6)
    with pytest.raises(ValueError, match="`context` holds NaN or infinite values"):
        tfvae.impute(vae, {"x": x, "context": x}, 50, verbose=False)


@pytest.mark.slow
def test_models_without_latents_fill_from_their_one_density():
    columns = {"real": layers.IndependentNormal(2), "kind": layers.IndependentCategorical((), 3)}
    head = layers.Masked(layers.Heterogeneous(columns))
    x = np.array([[1.0, np.nan, np.nan], [np.nan, 2.0, 0.0], [np.nan, np.nan, np.nan]], "float32")
    model = tfvae.DensityModel(tfvae.priors.Parametric(head), seed=0)
    p_x = model.density.distribution()
    result = tfvae.impute(model, x, 10, batch_size=2, verbose=False)
    np.testing.assert_allclose(result.x, np.where(np.isnan(x), p_x.impute(x), x), rtol=1e-6)
    assert np.isfinite(result.draws).all()
    log_p = tfvae.log_likelihood(model, x, 1, verbose=False).per_point
    np.testing.assert_allclose(log_p, p_x.log_prob(x), rtol=1e-6)
    assert log_p[2] == 0.0


@pytest.mark.slow
def test_all_numbers_of_draws_share_a_program():
    """And the first draws of many are those of few: one draw stands for itself."""
    model = analytic.LinearGaussian.random(seed=1)
    vae, x = masked_vae(model, layers.MultivariateNormalDiag), gappy(model.draw(4))
    found = {s: tfvae.impute(vae, x, s, verbose=False) for s in (1, 7, 2000)}
    keys = {key for key in vae.functions._made if key[0] == "imputation"}
    assert keys == {("imputation", 5, 1250)}
    np.testing.assert_allclose(found[1].ess, 1.0)
    assert np.all((found[7].ess >= 1.0) & (found[7].ess <= 7.0))
    mean, _, _ = conditional(model, x[2])
    missing = np.isnan(x[2])
    errors = [np.abs(found[s].x[2][missing] - mean).max() for s in (1, 2000)]
    assert errors[1] < errors[0]
    assert errors[1] < 5 / np.sqrt(found[2000].ess[2])
