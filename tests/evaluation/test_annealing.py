"""Annealed log p(x) against closed forms, quadrature and sums."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests import analytic
from tests.conftest import binary_data, mlp_vae, slow_but
from tests.evaluation.test_kinds import KNOWN, ledger_by_sums
from tests.kinds import KINDS, kind
from tfvae.evaluation import (
    AnnealedLogLikelihood,
    Defensive,
    Encoder,
    Refined,
    Widened,
    chains,
    refine,
)

MODEL = analytic.LinearGaussian.random(seed=4)
EXACT = ["mixture", "codes", "observed_graph", "density", "regression"]
REFUSED = ["semi_supervised", "tables", "drawn_bits", "directions"]
FEW = {"num_chains": 8, "num_leapfrog_steps": 3, "verbose": False}


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("start", [None, Encoder(), Defensive(0.5)])
def test_mean_weight_is_p_x(start):
    """Many estimates of one p(x), with so few temperatures that chains lag behind."""
    x = np.repeat(MODEL.draw(1), 2000, axis=0)
    found = tfvae.annealed_log_likelihood(
        MODEL.vae(), x, 4, num_chains=4, start=start, batch_size=2000, verbose=False
    )
    exact = MODEL.log_p_x(x[:2])[0]
    ratios = np.exp(found.per_point.astype("float64") - exact)
    assert abs(ratios.mean() - 1.0) < 5 * ratios.std() / np.sqrt(len(x))
    assert found.mean < exact


@pytest.mark.slow
def test_is_log_p_x_and_the_encoder_has_no_part_in_it():
    x = MODEL.draw(40)
    found = tfvae.annealed_log_likelihood(MODEL.vae(), x, 150, **FEW)
    exact = MODEL.log_p_x(x)
    deviation = (found.per_point - exact) / found.per_point_standard_error
    assert np.abs(deviation).max() < 5
    assert abs(found.mean - exact.mean()) < 3 * found.monte_carlo_error < 0.3
    assert found.message is None
    assert np.all(np.abs(found.acceptance - 0.65) < 0.1)
    bad = dataclasses.replace(MODEL, c=MODEL.c + 9.0)
    again = tfvae.annealed_log_likelihood(bad.vae(), x, 150, **FEW)
    np.testing.assert_array_equal(again.per_point, found.per_point)
    sampled = tfvae.log_likelihood(bad.vae(), x, 1000, verbose=False)
    assert sampled.mean < exact.mean() - 10.0


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 5])
def test_from_the_exact_posterior_every_chain_weighs_p_x(number):
    model = analytic.LinearGaussian.with_exact_posterior()
    x = model.draw(7)
    found = tfvae.annealed_log_likelihood(
        model.vae(), x, number, start=Encoder(), batch_size=4, **FEW
    )
    np.testing.assert_allclose(found.per_point, model.log_p_x(x), atol=2e-5)
    np.testing.assert_allclose(found.ess, 8.0, rtol=1e-4)
    assert np.all(np.isnan(found.acceptance)) == (number == 1)


@pytest.mark.parametrize("name", slow_but("codes", "drawn_bits", of=list(KINDS)))
def test_every_kind_of_model(name, monkeypatch):
    # These run eagerly.
    monkeypatch.setattr(chains, "_FEWEST_MOVES", 10)
    model, data = kind(name)
    if name in REFUSED:
        with pytest.raises(ValueError, match=r"Annealing .*`tfvae\.log_likelihood`"):
            tfvae.annealed_log_likelihood(model, data, 10, **FEW)
        return
    found = tfvae.annealed_log_likelihood(model, data, 8, **{**FEW, "num_chains": 100})
    if name in EXACT:
        known = tfvae.log_likelihood(model, data, 1, batch_size=12, verbose=False)
        np.testing.assert_array_equal(found.per_point, known.per_point)
        assert np.all(found.per_point_standard_error == 0.0)
        assert found.message is None
        assert np.isnan(found.to_dict()["median_acceptance"])
        return
    if name in KNOWN:
        expected, error = ledger_by_sums(model, data)[0]["log_p_x"], 0.0
    else:
        sampled = tfvae.log_likelihood(model, data, 5000, proposal=Defensive(0.99), verbose=False)
        expected, error = sampled.per_point, sampled.per_point_standard_error
    error = np.hypot(found.per_point_standard_error, error)
    assert np.all(np.abs(found.per_point - expected) < 5 * error + 1e-3)
    assert np.all(error < 0.5)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_batches_and_datasets_change_nothing_and_seeds_do():
    x, vae = MODEL.draw(10), MODEL.vae()
    of_four = tf.data.Dataset.from_tensor_slices(x).batch(4)

    def estimate(data, seed=0):
        return tfvae.annealed_log_likelihood(vae, data, 12, batch_size=4, seed=seed, **FEW)

    found = estimate(x)
    np.testing.assert_array_equal(estimate(of_four).per_point, found.per_point)
    assert np.abs(estimate(x, seed=1).per_point - found.per_point).min() > 0.0
    assert found.num_temperatures == 12
    assert found.num_dimensions == 5


@pytest.mark.slow
@pytest.mark.exhaustive
def test_starts_of_their_own_points_and_numbers_of_temperatures_share_a_program():
    vae, x = mlp_vae(), binary_data(6)
    refinement = refine(vae, x, steps=2, verbose=False)
    start = Widened(1.2, of=Refined(refinement))
    before = len(vae.functions._made)
    for number in (2, 3):
        tfvae.annealed_log_likelihood(vae, x, number, start=start, batch_size=4, **FEW)
    assert len(vae.functions._made) == before + 1
    for data in (x[:5], tf.data.Dataset.from_tensor_slices(x[:5]).batch(4)):
        with pytest.raises(ValueError, match=r"Expected: 5 points\. Received: 6"):
            tfvae.annealed_log_likelihood(vae, data, 2, start=start, **FEW)


def found(num=20, *, ess=8.0, acceptance=0.65, error=0.1, **settings):
    """An evaluation of points that are all alike, but for the acceptances that are given."""
    same, error, ess = np.full(num, -3.0), np.full(num, error), np.full(num, ess)
    acceptance = np.resize(acceptance, num)
    return AnnealedLogLikelihood(same, -3.0, 0.5, error, ess, acceptance, 9, 8, 5, **settings)


def test_says_in_words_when_it_cannot_be_trusted():
    assert found().message is None
    assert found(ess=3.0).message is None
    assert found(acceptance=[0.2] * 2 + [0.6] * 18).message is None  # a tenth, and no more
    assert found(ess=1.0, error=0.0, acceptance=np.nan, is_known=True).message is None
    few = found(ess=2.9).message
    assert "rest on 2.9 effective chains or fewer." in few
    assert "accepted" not in few
    stuck = found(acceptance=[0.2] * 3 + [0.6] * 17)
    assert "15% of the points accepted less than 0.3 of moves." in stuck.message
    for remedy in ("`num_temperatures=`", "more chains", "`start=`"):
        assert remedy in few
    assert " ".join(str(stuck).split()).endswith(stuck.message)
    assert max(map(len, str(found(ess=1.5, acceptance=0.1)).splitlines())) <= 80
    assert "20 points, 8 chains each" in str(found())


def test_arguments_out_of_range_are_refused():
    vae, x = mlp_vae(), binary_data(3)
    for name in ("num_temperatures", "num_chains", "num_leapfrog_steps"):
        with pytest.raises(ValueError, match=rf"Received: {name}=0"):
            tfvae.annealed_log_likelihood(vae, x, **{name: 0})
    with pytest.raises(TypeError, match=r"`start` must be a .* such as .* Received: str"):
        tfvae.annealed_log_likelihood(vae, x, start="prior")


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.xla
def test_compiles_with_xla():
    vae, x = MODEL.vae(), MODEL.draw(5)
    vae.compile("adam", jit_compile=True)
    result = tfvae.annealed_log_likelihood(vae, x, 30, **FEW)
    error = np.abs(result.per_point - MODEL.log_p_x(x))
    assert np.all(error <= 5 * result.per_point_standard_error)
