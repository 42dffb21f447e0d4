"""Entries that are left out, and entries from some of the points."""

import dataclasses
import sys

import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests import analytic
from tests.kinds import kind
from tfvae.evaluation import decomposition

MODEL = analytic.LinearGaussian.random(seed=1)
NUM, SOME = 300, 60
OF_ALL = ("mutual_information", "marginal_kl", "total_correlation", "dimension_wise_kl")
QUIET = {"evidence_samples": 0, "verbose": False}


@pytest.fixture(scope="module")
def ledgers():
    """All draws of all points; one draw of all; one of some."""
    vae, x = MODEL.vae(), MODEL.draw(NUM)
    return [
        tfvae.decompose(vae, x, num_samples=4, batch_size=70, max_pairs=pairs * NUM, **QUIET)
        for pairs in (4 * NUM, NUM, SOME)
    ]


@pytest.mark.slow
def test_entries_from_some_points_are_those_of_all_within_their_errors(ledgers):
    whole, *others = ledgers
    assert [ledger.num_compared for ledger in ledgers] == [NUM, NUM, SOME]
    for ledger in others:
        for name in (*OF_ALL, "entropy_z"):
            entry, known = getattr(ledger, name), getattr(whole, name)
            assert entry.per_point.shape == (ledger.num_compared,)
            assert abs(entry.mean - known.mean) < 4 * np.hypot(
                entry.standard_error, known.standard_error
            )
        # What is said of each point by itself is the same.
        np.testing.assert_array_equal(ledger.rate.per_point, whole.rate.per_point)
        assert ledger.information_ceiling == whole.information_ceiling
        for identity, residual in ledger.residuals.items():
            assert abs(residual.mean) < 5 * residual.standard_error + 1e-4, identity
    few = others[1].residuals["rate = mutual_information + marginal_kl"]
    assert len(few.per_point) == SOME
    assert others[1].mutual_information.standard_error > others[0].mutual_information.standard_error


@pytest.mark.slow
def test_says_so_where_points_are_sampled(ledgers):
    text = " ".join(str(ledgers[2]).split())
    assert f"are from {SOME} of the {NUM}, drawn at random; `max_pairs=` takes more." in text
    assert max(map(len, str(ledgers[2]).splitlines())) <= 80
    assert "drawn at random" not in str(ledgers[1])
    assert ledgers[2].to_dict()["num_compared"] == SOME


@pytest.fixture(scope="module")
def full(ledgers):
    """A ledger with all entries that there can be, of images of many pixels."""

    def entry(mean):
        return tfvae.evaluation.Estimate.of(mean + np.linspace(-50.0, 50.0, NUM))

    exact = dict.fromkeys(("ess", "per_point_standard_error"), np.zeros(NUM))
    known = {"k_hat": np.full(NUM, -np.inf), "curve": None, "num_samples": 1, "num_dimensions": 5.0}
    return dataclasses.replace(
        ledgers[0],
        log_p_x=tfvae.evaluation.LogLikelihood(**vars(entry(-23456.7)), **exact, **known),
        elbo=entry(-23500.1),
        distortion=entry(23400.0),
        gap=entry(43.4),
        amortisation_gap=entry(20.0),
        approximation_gap=entry(23.4),
        level_rates={"rate_1": entry(60.0), "rate_2": entry(40.1)},
        conditions=("context",),
    )


TREE = """\
log_p_x
├ elbo
│ ├ distortion
│ └ rate
│   ├ mutual_information
│   ├ marginal_kl
│   │ ├ total_correlation
│   │ └ dimension_wise_kl
│   ├ rate_1
│   └ rate_2
└ gap
  ├ amortisation_gap
  └ approximation_gap"""


@pytest.mark.slow
def test_prints_as_a_tree_in_eighty_columns(full, ledgers):
    assert "\n".join(guide + name for guide, name, *_ in full.tree()) == TREE
    lines = str(full).splitlines()
    assert max(map(len, lines)) <= 80
    for row, (guide, name, entry, note) in zip(lines[4 : 4 + 13], full.tree(), strict=True):
        assert row.startswith(f"│ {guide}{name} ")
        assert f" {entry.mean:.3f} " in row
        assert f" {note} " in row
    # Columns stand below each other.
    assert len({line.rindex("│") for line in lines[4 : 4 + 13]}) == 1
    names = [name for _, name, *_ in ledgers[0].tree()]
    assert names[0] == "elbo"
    assert set(names) <= set(ledgers[0].to_dict())


@pytest.mark.slow
def test_a_frame_has_all_entries_and_what_they_are_parts_of(full, monkeypatch):
    frame = full.to_frame()
    entries = full.to_dict()
    dimensions, levels = entries.pop("dimensions"), entries.pop("levels")
    assert levels == {"z": {"num_dimensions": 3, "num_active": 3}}
    of_each = frame[[" of " in name for name in frame.index]]
    frame = frame.drop(of_each.index)
    for name, own in dimensions.items():
        assert of_each["mean"][f"rate of {name}"] == own["rate"]["mean"]
        assert of_each["part_of"][f"rate of {name}"] == "rate"
        assert of_each["standard_error"][f"variance of {name}"] == own["variance"]["standard_error"]
    assert len(of_each) == 3 * 4
    for name, row in frame.iterrows():
        assert row["mean"] == entries[name]["mean"]
        assert row["standard_error"] == entries[name]["standard_error"]
    assert set(frame.index) == {n for n, v in entries.items() if isinstance(v, dict)} - {
        "residuals"
    }
    for part, whole in (
        ("gap", "log_p_x"),
        ("rate_2", "rate"),
        ("total_correlation", "marginal_kl"),
    ):
        assert frame["part_of"][part] == whole
    assert frame["part_of"][["log_p_x", "entropy_z"]].isna().all()
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r'pip install "tfvae\[tables\]"'):
        full.to_frame()


@pytest.mark.slow
def test_its_plot_is_the_one_of_plots(full):
    bars, expected = (
        [(bar.get_x(), bar.get_width()) for bar in figure.axes[0].patches]
        for figure in (full.plot(), tfvae.plots.ledger(full))
    )
    assert bars == expected


@pytest.mark.slow
def test_datasets_and_arrays_have_the_same_points_compared():
    vae, x = MODEL.vae(), MODEL.draw(30)
    of_seven = tf.data.Dataset.from_tensor_slices(x).batch(7)
    one, other = (
        tfvae.decompose(vae, data, batch_size=7, max_pairs=300, **QUIET).to_dict()
        for data in (x, of_seven)
    )
    assert one == other
    assert one["num_compared"] == 10


def test_what_is_not_asked_for_costs_nothing(monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("was not asked for")

    monkeypatch.setattr(decomposition, "Sampler", never)
    monkeypatch.setattr(decomposition, "Kept", never)
    model, data = kind("plain")
    ledger = tfvae.decompose(model, data, num_samples=2, max_pairs=0, **QUIET)
    for name in ("log_p_x", "gap", "amortisation_gap", *OF_ALL, "entropy_z"):
        assert getattr(ledger, name) is None
        assert name not in ledger.to_dict()
    assert list(ledger.residuals) == ["elbo = -(distortion + rate)"]
    assert ledger.information_ceiling == pytest.approx(np.log(len(data)))
    assert "log_p_x" not in str(ledger).split("Residuals")[0]
    with pytest.raises(ValueError, match=r"takes `evidence_samples` of at least 1.*=3"):
        tfvae.decompose(model, data, refine_steps=3, **QUIET)
    with pytest.raises(ValueError, match=r"Received: max_pairs=-1"):
        tfvae.decompose(model, data, max_pairs=-1, **QUIET)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["given_node", "codes", "semi_supervised", "hierarchical"])
def test_some_points_of_models_with_conditions_states_and_levels(name):
    model, data = kind(name)
    whole = tfvae.decompose(model, data, num_samples=2, **QUIET)
    rows = 30 if name in ("codes", "semi_supervised") else 8  # of nine states, and twice three
    few = tfvae.decompose(model, data, num_samples=2, max_pairs=12 * rows, **QUIET)
    assert few.num_compared < whole.num_compared == 12
    assert few.information_ceiling == whole.information_ceiling
    for residual in few.residuals.values():
        assert abs(residual.mean) <= 6 * residual.standard_error + 1e-4
    if name == "codes":
        # All states of a point belong together: points are as they are in the whole.
        rest = np.isin(few.marginal_kl.per_point, whole.marginal_kl.per_point)
        assert np.all(rest)


@pytest.mark.slow
def test_the_evidence_says_how_far_it_can_be_trusted():
    """A posterior of a third of the true width: k is about 0.9."""
    model = analytic.LinearGaussian.with_exact_posterior(latents=2)
    model = dataclasses.replace(model, s=0.09 * model.s)
    ledger = tfvae.decompose(
        model.vae(), model.draw(30), num_samples=2, evidence_samples=500, verbose=False
    )
    evidence = ledger.log_p_x
    assert evidence.k_hat.shape == (30,)
    assert evidence.median_k_hat > evidence.largest_k
    assert evidence.curve.num_draws[-1] == evidence.num_samples == 500
    assert " ".join(str(ledger).split()).endswith(evidence.message)
    assert ledger.to_dict()["log_p_x"]["median_k_hat"] == evidence.median_k_hat


@pytest.mark.slow
def test_all_numbers_of_draws_share_a_program():
    vae, x = MODEL.vae(), MODEL.draw(20)
    for number in (1, 3, 40):
        ledger = tfvae.decompose(vae, x, num_samples=number, evidence_samples=number, verbose=False)
        assert ledger.num_samples == number
        np.testing.assert_allclose(ledger.rate.per_point, MODEL.rate(x), atol=1e-4)
    kinds = [key if isinstance(key, str) else key[0] for key in vae.functions._made]
    assert sorted(kinds) == ["aggregated posterior", "evidence", "ledger"]
    assert vae.functions._made["ledger"]._plain.experimental_get_tracing_count() == 1
