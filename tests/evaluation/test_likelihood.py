"""The evidence against closed forms, quadrature and known rates of importance sampling."""

import dataclasses
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special

import tfvae
from tests import analytic
from tests.conftest import binary_data, mlp_decoder, mlp_vae


@pytest.mark.slow
def test_equals_log_p_x_under_the_exact_posterior():
    model = analytic.LinearGaussian.with_exact_posterior()
    x = model.draw(13)
    result = tfvae.log_likelihood(model.vae(), x, num_samples=7, batch_size=5, verbose=False)
    np.testing.assert_allclose(result.per_point, model.log_p_x(x), atol=2e-5)
    np.testing.assert_allclose(result.ess, 7.0, rtol=1e-4)
    np.testing.assert_allclose(result.per_point_standard_error, 0.0, atol=1e-2)
    assert result.mean == pytest.approx(model.log_p_x(x).mean(), abs=2e-5)
    deviation = model.log_p_x(x).std(ddof=1) / np.sqrt(13)
    assert result.standard_error == pytest.approx(deviation, rel=1e-4)
    assert result.bits_per_dimension == pytest.approx(-result.mean / (5 * np.log(2)))


def chi_square(model, x):
    """Chi-square divergence of the posterior from q: E_q[w**2] / p(x)**2 - 1, in closed form."""
    p, s = model.posterior_covariance, np.diag(model.s)
    difference = (x - model.b) @ model.posterior_matrix.T - model.loc(x)
    inner = 2 * s - p
    assert np.linalg.eigvalsh(inner).min() > 0
    exponent = np.einsum("nk,kl,nl->n", difference, np.linalg.inv(inner), difference)
    determinants = np.linalg.det(s) / np.sqrt(np.linalg.det(p) * np.linalg.det(inner))
    return determinants * np.exp(exponent) - 1.0


@pytest.mark.slow
def test_error_ess_and_bias_have_their_known_rates():
    model = analytic.LinearGaussian.random(seed=4)
    # Wide enough that the weights have the variance that the closed form speaks of.
    model = dataclasses.replace(model, s=1.2 * np.diag(model.posterior_covariance))
    x = np.repeat(model.draw(1), 20_000, axis=0)
    vae, chi2 = model.vae(), chi_square(model, x[:1])[0]
    num = 64
    result = tfvae.log_likelihood(vae, x, num, batch_size=1000, verbose=False)
    # 20,000 independent estimates of one number: their spread is what the standard error claims.
    spread = result.per_point.std()
    assert spread == pytest.approx(np.sqrt(chi2 / num), rel=0.1)
    assert np.sqrt((result.per_point_standard_error**2).mean()) == pytest.approx(spread, rel=0.1)
    assert (result.ess / num).mean() == pytest.approx(1 / (1 + chi2), rel=0.05)
    bias = model.log_p_x(x[:2])[0] - result.mean
    assert abs(bias - chi2 / (2 * num)) < 5 * result.standard_error < chi2 / (2 * num)


@pytest.mark.slow
def test_blocks_and_batches_do_not_change_what_is_estimated():
    model = analytic.LinearGaussian.random()
    x, vae = model.draw(11), model.vae()
    expected = model.log_p_x(x)
    # 7,001 draws of 11 or 3 points are cut into blocks with a remainder.
    for batch_size in (11, 3):
        result = tfvae.log_likelihood(vae, x, 7001, batch_size=batch_size, verbose=False)
        z = (result.per_point - expected) / result.per_point_standard_error
        assert np.abs(z).max() < 5
        again = tfvae.log_likelihood(vae, x, 7001, batch_size=batch_size, verbose=False)
        np.testing.assert_array_equal(result.per_point, again.per_point)
    other = tfvae.log_likelihood(vae, x, 7001, batch_size=3, seed=1, verbose=False)
    assert np.abs(other.per_point - again.per_point).min() > 0


@pytest.mark.slow
def test_more_samples_raise_the_bound_towards_log_p_x():
    model = analytic.LinearGaussian.random(seed=4)
    x, vae = model.draw(2000), model.vae()
    exact = model.log_p_x(x)
    results = [
        tfvae.log_likelihood(vae, x, num, batch_size=1000, verbose=False) for num in (1, 4, 16, 64)
    ]
    gaps = [exact - result.per_point for result in results]
    # S = 1 is the ELBO.
    error = gaps[0].std() / np.sqrt(len(x))
    assert abs(gaps[0].mean() - model.gap(x).mean()) < 5 * error
    for looser, tighter in itertools.pairwise(gaps):
        assert looser.mean() > tighter.mean() > 0


@pytest.mark.slow
def test_matches_quadrature_for_a_trained_nonlinear_decoder():
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, np.pi, 500)
    curve = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    x = (curve + 0.1 * rng.normal(size=(500, 2))).astype("float32")
    layers = tfvae.layers
    encoder = keras.Sequential(
        [
            keras.Input((2,)),
            tfvae.networks.mlp([32], "tanh"),
            keras.layers.Dense(2),
            layers.MultivariateNormalDiag(1),
        ]
    )
    decoder = keras.Sequential(
        [
            keras.Input((1,)),
            tfvae.networks.mlp([32], "tanh"),
            keras.layers.Dense(4),
            layers.IndependentNormal(2, min_scale=0.05),
        ]
    )
    vae = tfvae.VAE(encoder, decoder, seed=0)
    vae.compile(keras.optimizers.Adam(0.01))
    vae.fit(x, epochs=60, batch_size=50, verbose=0)

    points = x[:40]
    grid = np.linspace(-9, 9, 20_001)
    z = np.repeat(grid[:, None, None], 40, axis=1).astype("float32")  # [S, B, 1]
    blocks = [vae.graph.log_p_observed({"x": points}, {"z": some}) for some in np.split(z[1:], 20)]
    blocks.insert(0, vae.graph.log_p_observed({"x": points}, {"z": z[:1]}))
    log_p_x_given_z = np.concatenate(blocks).astype("float64")
    log_joint = log_p_x_given_z - 0.5 * grid[:, None] ** 2 - 0.5 * np.log(2 * np.pi)
    step = grid[1] - grid[0]
    log_p_x = special.logsumexp(log_joint, axis=0) + np.log(step)

    # KL(q || posterior) on the same grid.
    q = vae.encode(points)
    log_q = q.log_prob(grid[:, None, None].astype("float32")).numpy().astype("float64")
    mass = np.exp(log_q) * step
    gap = np.sum(mass * (log_q - log_joint + log_p_x), axis=0)
    result = tfvae.log_likelihood(vae, points, num_samples=20_000, verbose=False)
    # Draws from q cannot see posterior mass far out in its tails: there the estimate is too low,
    # and its standard error does not know. Everywhere else they agree.
    standardised = (grid[:, None] - q.mean().numpy()[:, 0]) / q.stddev().numpy()[:, 0]
    posterior = np.exp(log_joint - log_p_x) * step
    unseen = np.sum(posterior * (np.abs(standardised) > 4.5), axis=0)
    deviation = (result.per_point - log_p_x) / result.per_point_standard_error
    assert deviation.max() < 5
    assert np.sum(unseen < 1e-3) >= 15
    assert np.abs(deviation[unseen < 1e-3]).max() < 5
    assert np.all(result.per_point - log_p_x > np.log1p(-unseen) - 0.1)
    assert np.median(result.per_point_standard_error) < 0.01

    # The whole balance: ELBO = log p(x) - KL(q || posterior).
    ledger = tfvae.decompose(vae, points, num_samples=4000, evidence_samples=4000, verbose=False)
    assert gap.min() > -1e-4
    assert abs(ledger.gap.mean - gap.mean()) < 0.02
    noise = ledger.residuals["elbo = -(distortion + rate)"].standard_error
    assert abs(ledger.elbo.mean - (log_p_x - gap).mean()) < 5 * noise


@pytest.mark.slow
def test_curve_is_that_of_estimates_with_fewer_draws():
    """The first s draws of many are those of an estimate from s."""
    model = analytic.LinearGaussian.random()
    x, vae = model.draw(11), model.vae()

    def estimate(num_samples, batch_size=4):
        return tfvae.log_likelihood(vae, x, num_samples, batch_size=batch_size, verbose=False)

    result = estimate(6001)
    # 5,000 draws of four points at once: 1,250 of each.
    assert result.curve.num_draws.tolist() == [1250, 2500, 5000, 6001]
    assert result.curve.mean[-1] == result.mean
    assert result.curve.standard_error[-1] == result.standard_error
    for num, mean, error in zip(*vars(result.curve).values(), strict=True):
        fewer = estimate(int(num))
        assert mean == pytest.approx(fewer.mean, rel=1e-6)
        assert error == pytest.approx(fewer.standard_error, rel=1e-5)
    # A whole number of blocks is not counted twice, and less than one is all there is.
    assert estimate(5000).curve.num_draws.tolist() == [1250, 2500, 5000]
    assert estimate(7).curve.num_draws.tolist() == [7]


@pytest.mark.slow
def test_curve_is_of_the_numbers_of_draws_that_all_batches_have():
    """Batches of a dataset may have other sizes, and blocks with them."""
    model = analytic.LinearGaussian.random()
    x = model.draw(12)
    sizes = tf.data.Dataset.from_generator(
        lambda: (x[:2], x[2:12]), output_signature=tf.TensorSpec([None, 5])
    )
    result = tfvae.log_likelihood(model.vae(), sizes, 6000, verbose=False)
    # Blocks of 2,500, and of 500.
    assert result.curve.num_draws.tolist() == [6000]
    assert result.curve.mean.tolist() == [result.mean]


@pytest.mark.slow
def test_curve_of_a_known_evidence_is_flat():
    mixture = tfvae.FiniteMixture(tfvae.layers.IndependentBernoulli(6), 3, seed=0)
    result = tfvae.log_likelihood(mixture, binary_data(100), 201, verbose=False)
    assert result.curve.num_draws.tolist() == [50, 100, 200, 201]
    np.testing.assert_array_equal(result.curve.mean, result.mean)


def narrowed(width):
    """A model of two latents whose posterior has the true mean, and `width` of the true spread.

    In units of q, log w = (1 - width**2) * chi2 / 2 + constant, with chi2 of two degrees: weights
    have exactly a Pareto distribution, with k = 1 - width**2.
    """
    model = analytic.LinearGaussian.with_exact_posterior(latents=2)
    return dataclasses.replace(model, s=width**2 * model.s)


@pytest.mark.slow
@pytest.mark.parametrize("width", [0.3, 0.5, 0.6, 0.8])
def test_k_hat_is_that_of_a_posterior_too_narrow(width):
    model = narrowed(width)
    x, k = model.draw(200), 1.0 - width**2
    result = tfvae.log_likelihood(model.vae(), x, 2000, batch_size=200, verbose=False)
    size = 135  # 3 sqrt(2000)
    found = (result.k_hat * (size + 10) - 5.0) / size
    assert abs(found.mean() - k) < 5 * (1 + k) / np.sqrt(size * len(x)) + 0.02
    assert result.median_k_hat == np.median(result.k_hat)
    assert result.largest_k == pytest.approx(1 - 1 / np.log10(2000))  # 0.697
    # Half and half at a width of sqrt(0.3) = 0.55.
    assert (result.share_of_large_k_hat > 0.5) == (width**2 < 0.3)
    # Up to 0.71 the variance of the weights is finite.
    assert (np.mean(result.k_hat > 0.5) > 0.5) == (width**2 < 0.5)


def found(num=20, *, ess=500.0, k_hat=0.1, error=0.1, of_mean=0.5):
    """An evaluation of points that are all alike, but for the `k_hat`s that are given."""
    same = np.full(num, -3.0)
    ks = np.resize(k_hat, num)
    curve = tfvae.evaluation.Curve.of([{9: same}])
    error, ess = np.full(num, error), np.full(num, ess)
    return tfvae.evaluation.LogLikelihood(same, -3.0, of_mean, error, ess, ks, curve, 5000, 5)


def test_says_in_words_when_it_cannot_be_trusted():
    assert found().message is None
    assert found(ess=10.0).message is None
    assert found(k_hat=[0.8] * 2 + [0.6] * 8 + [0.4] * 10).message is None  # a tenth, and half
    assert found(k_hat=np.nan).message is None
    few = found(ess=9.9).message
    assert "likely too low" in few
    assert "half of the points rest on 9.9 effective draws or fewer." in few
    assert "k-hat" not in few
    heavy = found(k_hat=[0.8] * 3 + [0.6] * 17)
    assert "15% of the points have weights with a k-hat above 0.7." in heavy.message
    assert "effective" not in heavy.message
    assert few.startswith("Of these log p(x) some are likely too low")
    assert found(ess=9.9).likely_too_low
    # Weights without variance: the mean can be trusted, what is said of its error cannot.
    unsure = found(k_hat=[0.8] * 2 + [0.6] * 9 + [0.5] * 9)
    assert unsure.message.startswith("The errors of these log p(x) are likely larger than they say")
    assert "55% of the points have weights with a k-hat above 0.5, as" in unsure.message
    assert [each.likely_too_low for each in (unsure, found(), heavy)] == [False, False, True]
    rows = [line.split("│")[2:5:2] for line in str(unsure).splitlines() if "points above" in line]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["55%", "of points above 0.5"],
        ["10%", "of points above 0.7"],
    ]
    # Points enough that the mean is surer than it is right: by r**2 / 2, whatever their number.
    biased = found(error=-np.log1p(-0.1), of_mean=0.004)
    assert biased.likely_bias == pytest.approx(0.005)
    assert "their mean by 0.005 nats at least, more than its error of 0.004." in biased.message
    # Equal weights are those of the exact posterior, or of one state again and again.
    equal = found(ess=5000.0, error=0.0, k_hat=-np.inf)
    assert equal.message is None
    assert "exact" not in str(equal)
    stuck = dataclasses.replace(equal, share_of_one_state=0.2)
    assert "all draws of 20% of the points have one weight, as those of a" in stuck.message
    for remedy in ("more draws", "`Defensive()`", "`tfvae.evaluation.refine`"):
        assert remedy in few
        assert remedy in heavy.message
    assert " ".join(str(heavy).split()).endswith(heavy.message)
    assert max(map(len, str(found(ess=1.5, k_hat=3.0)).splitlines())) <= 80
    assert str(found()).splitlines()[-1].startswith("└")
    # Points without a number are named, whatever is known of the others.
    lost = dataclasses.replace(found(ess=1.0), per_point=np.array([-3.0, -np.inf, np.nan, -3.0]))
    assert "2 of 4 points is no finite number, the first in row 1" in lost.message
    assert " ".join(str(lost).split()).endswith(lost.message)
    # Of fewer draws, lighter tails are too heavy.
    assert dataclasses.replace(found(k_hat=0.6), num_samples=100).message.count("above 0.5") == 1
    # What there is no k-hat for is not counted, and of none nothing is printed.
    some = found(k_hat=[0.8, np.nan])
    assert some.share_of_large_k_hat == 1.0
    assert "k-hat of the weights" in str(some)
    assert "k-hat" not in str(found(k_hat=np.nan))
    assert "inf" not in str(found(k_hat=-np.inf))
    # One "draw" of what is known says all.
    assert dataclasses.replace(found(ess=1.0, error=0.0), is_known=True).message is None


@pytest.mark.slow
def test_says_so_of_a_posterior_too_narrow_and_of_no_good_one():
    for width, trusted in ((0.3, False), (1.0, True)):
        model = narrowed(width)
        result = tfvae.log_likelihood(model.vae(), model.draw(50), 1000, verbose=False)
        assert (result.message is None) == trusted


@pytest.mark.slow
def test_errors_of_the_mean_hold_until_half_of_the_points_are_told_of():
    """By closed forms: at 0.75 of the true width k is 0.44, at 0.5 it is 0.75."""
    for width, told in ((0.75, False), (0.5, True)):
        model = narrowed(width)
        x = model.draw(1000)
        result = tfvae.log_likelihood(model.vae(), x, 4000, batch_size=250, verbose=False)
        off = (result.mean - model.log_p_x(x).mean()) / result.monte_carlo_error
        assert (result.message is not None) == told
        assert (abs(off) > 3.0) == told


@pytest.mark.slow
@pytest.mark.xla
def test_gaussian_posteriors_draw_the_same_with_xla_and_without():
    found = []
    for jit_compile in (True, False):
        keras.utils.set_random_seed(0)
        vae, x = mlp_vae(), binary_data(40)
        vae.compile(keras.optimizers.Adam(0.01), jit_compile=jit_compile)
        elbo = vae.fit(x, batch_size=17, epochs=2, verbose=0).history["elbo"]
        result = tfvae.log_likelihood(vae, x, 300, verbose=False)
        found.append([*elbo, *result.per_point, *result.per_point_standard_error])
    np.testing.assert_allclose(*found, rtol=1e-4)


@pytest.mark.slow
def test_k_hat_needs_draws():
    model = analytic.LinearGaussian.random()
    x, vae = model.draw(4), model.vae()
    result = tfvae.log_likelihood(vae, x, 20, verbose=False)
    assert np.all(np.isnan(result.k_hat))
    assert np.isnan(result.median_k_hat)
    assert np.isnan(result.share_of_large_k_hat)
    assert np.all(np.isfinite(tfvae.log_likelihood(vae, x, 21, verbose=False).k_hat))


@pytest.mark.slow
def test_k_hat_is_minus_infinity_where_log_p_x_is_known():
    mixture = tfvae.FiniteMixture(tfvae.layers.IndependentBernoulli(6), 3, seed=0)
    for num_samples in (1, 50):
        known = tfvae.log_likelihood(mixture, binary_data(4), num_samples, verbose=False)
        assert np.all(known.k_hat == -np.inf)
        assert known.median_k_hat == -np.inf


@pytest.mark.slow
def test_prints_and_converts(capsys):
    model = analytic.LinearGaussian.random()
    result = tfvae.log_likelihood(model.vae(), model.draw(4), 10)
    print(result)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert f"{result.mean:.3f}" in text
    assert "4 points, 10 samples each" in text
    values = result.to_dict()
    assert values["mean"] == result.mean
    assert values["num_points"] == 4
    assert np.isnan(values["share_of_large_k_hat"])
    assert "k-hat" not in text  # 21 draws at least
    with pytest.raises(ValueError, match=r"Received: num_samples=0.5"):
        tfvae.log_likelihood(model.vae(), model.draw(4), 0.5)


@pytest.mark.slow
def test_memory_does_not_grow_with_samples():
    """A million draws per point, in blocks that fit the cache."""
    model = analytic.LinearGaussian.with_exact_posterior(dims=3, latents=1)
    x = model.draw(2)
    result = tfvae.log_likelihood(model.vae(), x, num_samples=1_000_000, verbose=False)
    np.testing.assert_allclose(result.per_point, model.log_p_x(x), atol=1e-3)


@pytest.mark.slow
def test_all_numbers_of_draws_share_a_program():
    vae, x = mlp_vae(), binary_data(20)
    vae.compile("adam", run_eagerly=True)
    found = {}
    for num_samples in (5, 7, 8, 300, 400, 1000):
        found[num_samples] = tfvae.log_likelihood(vae, x, num_samples=num_samples, seed=1)
        assert found[num_samples].num_samples == num_samples
    # 5,000 draws at once, of 20 points: 250 of each.
    assert {key for key in vae.functions._made if key[0] == "evidence"} == {
        ("evidence", 250, tfvae.evaluation.Encoder()),
    }
    assert np.all(found[5].ess <= 5.0)
    assert np.mean(found[1000].ess) > np.mean(found[300].ess)


def test_one_state_drawn_again_and_again_is_no_sum_over_all():
    """Of 2 ** 6 states a sure encoder draws one: 6 bits that p(z) does not expect of x."""
    bits = tfvae.layers.IndependentBernoulli(6)
    sure = keras.initializers.Constant(30.0)
    encoder = keras.layers.Dense(6, kernel_initializer="zeros", bias_initializer=sure)
    vae = tfvae.VAE(
        keras.Sequential([keras.Input((2,)), encoder, bits]),
        mlp_decoder(2, latents=6, likelihood=tfvae.layers.IndependentNormal),
        prior=tfvae.priors.Parametric(tfvae.layers.IndependentBernoulli(6)),
        max_states=2,
    )
    x = np.random.default_rng(0).normal(size=(5, 2)).astype("float32")
    found = tfvae.log_likelihood(vae, x, 20, verbose=False)
    assert (found.is_known, found.share_of_one_state) == (False, 1.0)
    assert "all draws of 100% of the points have one weight" in found.message
    vae = tfvae.VAE(vae.encoder, vae.decoder, prior=vae.prior)  # which sums over all
    known = tfvae.log_likelihood(vae, x, 20, verbose=False)
    assert (known.is_known, known.share_of_one_state, known.message) == (True, 0.0, None)
    assert np.all(known.per_point > found.per_point + 1.0)


def test_what_is_known_is_printed_without_draws():
    lines = str(dataclasses.replace(found(ess=5000.0, error=0.0), is_known=True)).splitlines()
    assert lines[0] == "Log-likelihood of 20 points, exact"
    assert not any("effective" in line or "draws" in line or "sample" in line for line in lines)
    assert str(found()).splitlines()[0] == "Log-likelihood of 20 points, 5000 samples each"
