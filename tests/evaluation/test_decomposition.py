"""The ledger against closed forms and quadrature."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import integrate, special, stats

import tfvae
from tests import analytic
from tests.models.test_vae import bernoulli_mixture
from tfvae import evaluation


def gaussian_mixture_entropy(loc, scale):
    """H of an equal-weight mixture of one-dimensional Gaussians, by quadrature."""

    def density(z):
        return stats.norm.pdf(z, loc, scale).mean()

    low, high = loc.min() - 10 * scale, loc.max() + 10 * scale
    value, _ = integrate.quad(
        lambda z: -special.xlogy(density(z), density(z)), low, high, limit=500, epsabs=1e-9
    )
    return value


@pytest.mark.slow
def test_every_entry_matches_its_closed_form_in_one_dimension():
    model = analytic.LinearGaussian.random(seed=1, dims=3, latents=1)
    x = model.draw(20)
    ledger = tfvae.decompose(
        model.vae(analytic.QuantileLayer),
        x,
        num_samples=20_000,
        evidence_samples=20_000,
        batch_size=8,
        verbose=False,
    )
    loc, scale = model.loc(x)[:, 0], np.sqrt(model.s[0])
    entropy_z = gaussian_mixture_entropy(loc, scale)
    entropy_z_given_x = 0.5 * np.log(2 * np.pi * np.e * scale**2)
    cross_entropy = 0.5 * (np.log(2 * np.pi) + np.mean(loc**2) + scale**2)
    np.testing.assert_allclose(ledger.rate.per_point, model.rate(x), atol=1e-4)
    np.testing.assert_allclose(ledger.distortion.per_point, model.distortion(x), atol=1e-4)
    expected = {
        "rate": model.rate(x).mean(),
        "distortion": model.distortion(x).mean(),
        "elbo": (model.log_p_x(x) - model.gap(x)).mean(),
        "entropy_z": entropy_z,
        "entropy_z_given_x": entropy_z_given_x,
        "cross_entropy": cross_entropy,
        "mutual_information": entropy_z - entropy_z_given_x,
        "marginal_kl": cross_entropy - entropy_z,
        "total_correlation": 0.0,
        "dimension_wise_kl": cross_entropy - entropy_z,
    }
    for name, value in expected.items():
        assert abs(getattr(ledger, name).mean - value) < 1e-4, name
    # For the evidence these points are a midpoint rule with heavy-tailed weights.
    assert abs(ledger.log_p_x.mean - model.log_p_x(x).mean()) < 1e-3
    assert abs(ledger.gap.mean - model.gap(x).mean()) < 1e-3
    for identity, residual in ledger.residuals.items():
        assert abs(residual.mean) < 1e-3, identity


@pytest.mark.slow
@pytest.mark.exhaustive
def test_entries_of_several_dimensions_and_chunks():
    model = analytic.LinearGaussian.random()
    x = model.draw(23)
    vae = model.vae(analytic.SigmaPointLayer)
    ledgers = [
        tfvae.decompose(vae, x, num_samples=6, batch_size=size, evidence_samples=6, verbose=False)
        for size in (23, 7)
    ]
    for ledger in ledgers:
        np.testing.assert_allclose(ledger.rate.per_point, model.rate(x), atol=1e-4)
        np.testing.assert_allclose(ledger.distortion.per_point, model.distortion(x), atol=1e-4)
        elbo = model.log_p_x(x) - model.gap(x)
        np.testing.assert_allclose(ledger.elbo.per_point, elbo, atol=1e-4)
        for identity, residual in ledger.residuals.items():
            assert abs(residual.mean) < 1e-4, identity
    # How the data is cut into chunks must not matter.
    for name, value in ledgers[0].to_dict().items():
        if isinstance(value, dict) and "mean" in value:
            assert abs(value["mean"] - ledgers[1].to_dict()[name]["mean"]) < 1e-4, name


@pytest.mark.slow
@pytest.mark.parametrize("distance", [0.0, 100.0])
def test_limits_of_the_mutual_information(distance):
    """All encodings equal carry nothing; far apart they carry log N, and no more."""
    num = 9
    model = analytic.LinearGaussian(
        w=np.ones((1, 1)),
        b=np.zeros(1),
        s2=1.0,
        a=np.full((1, 1), distance),
        c=np.zeros(1),
        s=np.ones(1),
    )
    x = np.arange(num, dtype="float32")[:, None]
    ledger = tfvae.decompose(model.vae(), x, evidence_samples=2, batch_size=4, verbose=False)
    expected = np.log(num) if distance else 0.0
    np.testing.assert_allclose(ledger.mutual_information.per_point, expected, atol=1e-5)
    assert ledger.information_ceiling == pytest.approx(np.log(num))


@pytest.mark.slow
def test_ledger_of_a_finite_latent_is_the_exact_sum():
    vae, exact = bernoulli_mixture()
    x = np.random.default_rng(0).integers(0, 2, (50, 8)).astype("float32")
    log_p_x, log_joint = exact(x)
    r = np.exp(log_joint - log_p_x[:, None])
    prior = np.exp(vae.prior.logits.numpy().astype("float64"))
    aggregated = r.mean(axis=0)
    entropy = -special.xlogy(r, r).sum(axis=1)
    ledger = tfvae.decompose(vae, x, num_samples=2000, evidence_samples=10, verbose=False)
    np.testing.assert_allclose(ledger.log_p_x.per_point, log_p_x, atol=2e-5)
    np.testing.assert_allclose(ledger.gap.per_point, 0.0, atol=2e-5)
    np.testing.assert_allclose(
        ledger.rate.per_point, special.rel_entr(r, prior).sum(axis=1), atol=2e-5
    )
    np.testing.assert_allclose(ledger.entropy_z_given_x.per_point, entropy, atol=2e-5)
    marginal_kl = special.rel_entr(aggregated, prior).sum()
    information = -special.xlogy(aggregated, aggregated).sum() - entropy.mean()
    assert ledger.total_correlation is None
    # Nothing is drawn.
    assert ledger.marginal_kl.mean == pytest.approx(marginal_kl, abs=2e-5)
    assert ledger.mutual_information.mean == pytest.approx(information, abs=2e-5)


@pytest.mark.slow
def test_bits_have_a_total_correlation_and_a_prior_of_dependent_ones_no_dimension_wise_kl():
    head = tfvae.layers.IndependentBernoulli(2)
    encoder = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), head])
    decoder = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(3), tfvae.layers.IndependentBernoulli(3)]
    )
    prior = tfvae.priors.Autoregressive(2, hidden_units=[4])
    vae = tfvae.VAE(encoder, decoder, prior, seed=0)
    vae.compile("adam", jit_compile=False)
    x = np.random.default_rng(0).integers(0, 2, (30, 3)).astype("float32")
    ledger = tfvae.decompose(vae, x, num_samples=1, evidence_samples=1, verbose=False)
    ones = vae.encode(x).distribution.mean().numpy().astype("float64")
    each = np.stack([1.0 - ones, ones], axis=-1)  # [N, K, 2]
    table = np.einsum("na,nb->ab", each[:, 0], each[:, 1]) / len(x)
    product = np.outer(*each.mean(axis=0))
    correlation = special.rel_entr(table, product).sum()
    assert ledger.total_correlation.mean == pytest.approx(correlation, abs=2e-5)
    assert ledger.dimension_wise_kl is None
    assert not any("dimension_wise_kl" in identity for identity in ledger.residuals)
    assert "dimension_wise_kl" not in str(ledger)


@pytest.mark.slow
def test_reads_arrays_datasets_and_sequences_alike():
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return x[4 * index : 4 * index + 4], np.zeros(4)

    model = analytic.LinearGaussian.random()
    vae, x = model.vae(), model.draw(10)
    settings = {"num_samples": 3, "evidence_samples": 4, "seed": 7, "verbose": False}
    ledgers = [
        tfvae.decompose(vae, data, batch_size=4, **settings).to_dict()
        for data in (x, (x, None), tf.data.Dataset.from_tensor_slices(x).batch(4), Batches())
    ]
    for ledger in ledgers[1:]:
        np.testing.assert_equal(ledger, ledgers[0])  # NaN is NaN
    assert tfvae.decompose(vae, x, batch_size=4, **{**settings, "seed": 8}).to_dict() != ledgers[0]


@pytest.mark.slow
def test_prints_a_ledger_of_eighty_columns(capsys):
    model = analytic.LinearGaussian.random()
    print(tfvae.decompose(model.vae(), model.draw(10), evidence_samples=10))
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    for entry in ("log_p_x", "gap", "elbo", "distortion", "rate", "mutual_information"):
        assert entry in text
    assert "H[z] - H[z|x]" in text


@pytest.mark.slow
def test_evidence_by_other_draws_leaves_the_rest_of_the_ledger():
    model = analytic.LinearGaussian.random()
    vae, x = model.vae(), model.draw(10)
    settings = {"num_samples": 1000, "evidence_samples": 2000, "batch_size": 4, "verbose": False}
    refined = evaluation.Refined(evaluation.refine(vae, x, steps=20, verbose=False))
    plain = tfvae.decompose(vae, x, **settings)
    for proposal in (evaluation.Defensive(0.2), refined):
        ledger = tfvae.decompose(vae, x, proposal=proposal, **settings)
        assert ledger.to_dict()["rate"] == plain.to_dict()["rate"]
        assert abs(ledger.log_p_x.mean - model.log_p_x(x).mean()) < 0.1
        # The gap stays that of the encoder, and its draws are not those of the ELBO. From the
        # weights of the proposals' own draws it would be off by 0.9 and more.
        assert abs(ledger.gap.mean - model.gap(x).mean()) < 0.1
        residual = ledger.residuals["log_p_x = elbo + gap"]
        assert 0.0 < abs(residual.mean) < 5 * residual.standard_error
    with pytest.raises(ValueError, match="Expected: 9 points"):
        tfvae.decompose(vae, x[:9], proposal=refined, **settings)
    stream = tf.data.Dataset.from_tensor_slices(x[:8]).batch(4)
    with pytest.raises(ValueError, match="Expected: 8 points"):
        tfvae.decompose(vae, stream, proposal=refined, **settings)


def test_says_what_is_wrong():
    model = analytic.LinearGaussian.random()
    vae, x = model.vae(), model.draw(4)
    with pytest.raises(ValueError, match=r"`num_samples` must be .* Received: num_samples=0"):
        tfvae.decompose(vae, x, num_samples=0)
    with pytest.raises(ValueError, match=r"Received: evidence_samples=-1"):
        tfvae.decompose(vae, x, evidence_samples=-1)
    with pytest.raises(ValueError, match=r"`batch_size` must be a whole.* Received: batch_size=0"):
        tfvae.decompose(vae, x, batch_size=0)
    with pytest.raises(ValueError, match=r"`data` holds NaN or infinite values: 1 in 1 of 4"):
        tfvae.decompose(vae, np.where(np.arange(20).reshape(4, 5) == 7, np.nan, x))
    with pytest.raises(ValueError, match=r"Expected: \[batch, 5\]. Received: \[4, 4\]"):
        tfvae.decompose(vae, x[:, :4])
    with pytest.raises(ValueError, match="`data` is empty"):
        tfvae.decompose(vae, tf.data.Dataset.from_tensor_slices(x[:0]).batch(2))
    with pytest.raises(TypeError, match=r"`proposal` must be .* Received: float"):
        tfvae.decompose(vae, x, proposal=1.2)
    with pytest.raises(
        ValueError, match=r"refine_steps=3, proposal=Widened.*Leave one of them out"
    ):
        tfvae.decompose(vae, x, refine_steps=3, proposal=evaluation.Widened())
