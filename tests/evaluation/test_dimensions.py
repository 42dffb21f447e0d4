"""The ledger of each dimension against closed forms and quadrature."""

import dataclasses
import sys

import keras
import numpy as np
import pytest
from scipy import stats

import tfvae
from tests import analytic
from tests.conftest import binary_data
from tests.kinds import kind
from tfvae import networks
from tfvae.evaluation.activity import Means
from tfvae.evaluation.dimensions import Dimensions, OfDimensions, names_of_dimensions
from tfvae.evaluation.sharding import Part, Shard

NUM = 20
QUIET = {"evidence_samples": 0, "verbose": False}


def of_points(model, x):
    """Rate, information and dimension-wise KL of each point and dimension `[N, K]`, float64."""
    loc, scale = model.loc(x), np.sqrt(model.s)
    rate = 0.5 * (model.s + loc**2 - 1.0 - np.log(model.s))
    information = np.empty_like(rate)
    for k in range(loc.shape[1]):
        z = np.linspace(loc[:, k].min() - 9 * scale[k], loc[:, k].max() + 9 * scale[k], 4001)
        q = stats.norm.pdf(z, loc[:, k, None], scale[k])  # [N, G]
        ratio = stats.norm.logpdf(z, loc[:, k, None], scale[k]) - np.log(q.mean(axis=0))
        information[:, k] = np.sum(q * ratio, axis=1) * (z[1] - z[0])
    return rate, information


@pytest.fixture(scope="module")
def case():
    """Dimensions that say much, less, and nothing: the last reads nothing of x."""
    model = analytic.LinearGaussian.with_exact_posterior(dims=4)
    model = dataclasses.replace(model, a=model.a * np.array([[1.0], [1.0], [0.0]]))
    x = model.draw(NUM)
    vae = model.vae(analytic.MarginalQuantileLayer)
    ledgers = [
        tfvae.decompose(vae, x, num_samples=4000, batch_size=size, **QUIET) for size in (NUM, 7)
    ]
    return model, x, ledgers


@pytest.mark.slow
def test_entries_and_errors_are_those_of_closed_forms(case):
    model, x, ledgers = case
    rate, information = of_points(model, x)
    variances = (model.loc(x) - model.loc(x).mean(axis=0)) ** 2
    expected = {
        "rate": rate,
        "mutual_information": information,
        # Of each point by itself it is E_q(z_k|x)[log q(z_k) - log p(z_k)].
        "dimension_wise_kl": rate - information,
        "variance": variances,
    }
    for ledger in ledgers:  # How the data is cut into chunks does not matter.
        found = ledger.dimensions
        assert set(found.entries) == set(expected)
        for name, values in expected.items():
            error = values.std(axis=0, ddof=1) / np.sqrt(NUM)
            np.testing.assert_allclose(found.entries[name].mean, values.mean(axis=0), atol=2e-4)
            np.testing.assert_allclose(found.entries[name].standard_error, error, atol=2e-4)
        assert found.active.tolist() == [True, True, False]
        assert found.order.tolist() == np.argsort(-information.mean(axis=0)).tolist()
        assert abs(found.mutual_information.mean[2]) < 1e-6
        assert found.variance.mean[2] < 1e-12


@pytest.mark.slow
def test_dimensions_add_up_to_the_ledger(case):
    _, _, (ledger, _) = case
    found = ledger.dimensions
    sums = {name: means.mean.sum() for name, means in found.entries.items()}
    assert sums["rate"] == pytest.approx(ledger.rate.mean, abs=1e-4)
    assert sums["dimension_wise_kl"] == pytest.approx(ledger.dimension_wise_kl.mean, abs=1e-4)
    both = ledger.mutual_information.mean + ledger.total_correlation.mean
    assert sums["mutual_information"] == pytest.approx(both, abs=1e-4)


@pytest.mark.slow
def test_prints_few_rows_and_converts_all(case, monkeypatch):
    found = case[2][0].dimensions
    assert found.names == ("z[0]", "z[1]", "z[2]")
    text = str(case[2][0])
    assert "Dimensions of z: 2 of 3 active\n" in text
    assert max(map(len, text.splitlines())) <= 80
    frame, plain = found.to_frame(), found.to_dict()
    assert list(frame.index) == list(plain) == list(found.names)
    for name, own in plain.items():
        assert frame["active"][name] == own["active"]
        assert (
            frame["mutual_information_error"][name] == own["mutual_information"]["standard_error"]
        )
        assert frame["variance"][name] == own["variance"]["mean"]
    assert case[2][0].to_dict()["dimensions"] == plain
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r'pip install "tfvae\[tables\]"'):
        found.to_frame()


def test_of_many_only_those_that_say_most_are_printed():
    values = np.arange(300.0) / 4.0
    means = Means(values, values / 3)
    names = tuple(f"z_12[{k}]" for k in range(300))
    many = Dimensions(names, ("z_12",) * 300, means, means, means, means)
    lines = many.to_text().splitlines()
    assert lines[0] == "Dimensions of z: 299 of 300 active, the 5 that say most"
    rows = [line for line in lines if line.startswith("│")]
    assert [row.split()[1] for row in rows] == [names[k] for k in (299, 298, 297, 296, 295)]
    assert max(map(len, str(many).splitlines())) <= 80
    assert sum(line.startswith("│") for line in str(many).splitlines()) == 300


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "names", "known"),
    [
        ("plain", ["z[0]", "z[1]"], 4),
        ("hierarchical", ["z_1[0]", "z_1[1]", "z_2[0]", "z_2[1]"], 1),
        ("one_latent", ["z[0]"], 4),
        ("full_covariance", ["z[0]", "z[1]"], 1),
        ("given_node", None, 4),
        ("codes", None, 4),
        ("mixture", None, 1),
        ("semi_supervised", None, 1),
    ],
)
def test_kinds_of_models_have_what_there_is_of_them(name, names, known):
    model, data = kind(name)
    number = 300 if known == 4 else 2
    ledger = tfvae.decompose(model, data, num_samples=number, batch_size=5, **QUIET)
    found = ledger.dimensions
    assert names is None or list(found.names) == names
    assert len(found.names) == len(found.variance.mean) == np.prod(model.latent_shape, dtype=int)
    assert len(found.entries) == known
    assert list(found.levels) == list(model.graph.latents)
    assert np.all(np.isfinite(found.variance.mean))
    if known == 1:
        return
    assert found.rate.mean.sum() == pytest.approx(ledger.rate.mean, abs=1e-4)
    rest = found.rate.mean - found.mutual_information.mean - found.dimension_wise_kl.mean
    error = np.hypot(found.mutual_information.standard_error, found.rate.standard_error)
    assert np.all(np.abs(rest) < 0.2 * error + 0.05)
    if len(found.names) == 1:
        assert found.mutual_information.mean[0] == pytest.approx(ledger.mutual_information.mean)
        assert "Dimensions of z" not in str(ledger)


@pytest.mark.slow
def test_what_is_not_asked_for_or_not_there_is_left_out():
    model, data = kind("plain")
    found = tfvae.decompose(model, data, num_samples=1, max_pairs=0, **QUIET).dimensions
    assert list(found.entries) == ["rate", "variance"]
    one = tfvae.decompose(model, data[:1], num_samples=1, **QUIET)
    assert np.all(one.dimensions.variance.mean == 0.0)
    assert np.all(np.isnan(one.dimensions.variance.standard_error))
    assert max(map(len, str(one).splitlines())) <= 80
    alone = tfvae.decompose(*kind("density"), num_samples=1, **QUIET)
    assert alone.dimensions is None
    assert alone.to_dict()["dimensions"] == {}


def test_places_in_events_of_any_rank():
    names, nodes = names_of_dimensions({"z": (2, 2), "y": (), "w": (1,)})
    assert names == ("z[0,0]", "z[0,1]", "z[1,0]", "z[1,1]", "y", "w[0]")
    assert nodes == ("z",) * 4 + ("y", "w")


@pytest.mark.slow
@pytest.mark.exhaustive
def test_latents_of_images_have_entries_too():
    latent = (2, 1, 2)
    encoder = networks.functional(
        {"x": 6}, keras.layers.Dense(8), tfvae.layers.IndependentNormal(latent)
    )
    decoder = networks.functional(
        {"z": latent}, keras.layers.Flatten(), keras.layers.Dense(6),
        tfvae.layers.IndependentBernoulli(6),
    )  # fmt: skip
    prior = tfvae.priors.StandardNormal(latent)
    vae = tfvae.VAE(encoder, decoder, prior, seed=0)
    ledger = tfvae.decompose(vae, binary_data(12), num_samples=500, **QUIET)
    found = ledger.dimensions
    assert found.names[1] == "z[0,0,1]"
    assert set(found.entries) == {"rate", "mutual_information", "dimension_wise_kl", "variance"}
    both = ledger.mutual_information.mean + ledger.total_correlation.mean
    assert found.mutual_information.mean.sum() == pytest.approx(both, abs=1e-4)
    assert found.rate.mean.sum() == pytest.approx(ledger.rate.mean, abs=1e-4)


@pytest.mark.parametrize("shape", [(3,), (3, 2)])  # means, and those of two categories
@pytest.mark.parametrize("count", [1, 2, 5])
def test_sums_of_shares_are_those_of_one_process_to_the_bit(shape, count):
    rng = np.random.default_rng(0)
    sizes, shards = np.array([4, 4, 4, 1]), [Shard(index, count) for index in range(count)]
    chunks = [
        {"mean": rng.normal(size=[n, *shape]), "other_mean": rng.normal(size=[n, *shape])}
        | ({"rates": rng.normal(size=[n, 3])} if shape == (3,) else {})
        for n in sizes
    ]
    shapes, parts = {"z": (3,)}, []
    expected = OfDimensions(shapes)
    for chunk, size in zip(chunks, sizes, strict=True):
        expected.add({**chunk}, size)
    for shard in shards:
        own = OfDimensions(shapes, is_shared=True)
        for batch, chunk in enumerate(chunks):
            if shard.has(batch):
                own.add({**chunk}, sizes[batch])
            elif batch == 0:
                own.begin(chunk, sizes[0])
        parts.append(Part(shard, {}, "", sizes, {}, own.to_arrays()))
    found = OfDimensions.of_parts(shapes, parts).found(None)
    np.testing.assert_equal(found.to_dict(), expected.found(None).to_dict())
    assert (found.rate is None) == (shape == (3, 2))
