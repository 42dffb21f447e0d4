import dataclasses
import sys

import numpy as np
import pytest
from scipy import stats

from tests.analytic import LinearGaussian
from tests.conftest import slow_but
from tests.kinds import KINDS, kind
from tfvae.latents import Calibration, calibrate

EXACT = LinearGaussian.with_exact_posterior()


@pytest.fixture(scope="module")
def exact():
    return calibrate(EXACT.vae(), 600)


def test_ranks_of_the_exact_posterior_are_uniform(exact):
    assert exact.ranks.shape == (600, 3)
    assert (exact.ranks.min(), exact.ranks.max()) == (0, 63)
    assert exact.message is None
    assert np.all(exact.p_values > 1e-3)
    assert abs(exact.shares.mean() - 0.5) < 4 * np.sqrt(1 / 12 / exact.shares.size)


@pytest.mark.parametrize(
    ("change", "how"),
    [
        ({"s": 0.25 * EXACT.s}, "too narrow"),
        ({"s": 4.0 * EXACT.s}, "too wide"),
        ({"c": EXACT.c + 2.0}, "too high"),
        ({"c": EXACT.c - 2.0}, "too low"),
    ],
)
def test_a_posterior_that_is_off_is_told_how(change, how):
    found = calibrate(dataclasses.replace(EXACT, **change).vae(), 600)
    assert found.message.startswith("q(z|x) is not p(z|x) in 3 of 3 dimensions: 0 (" + how)
    assert how in str(found)


def test_of_few_draws_the_spread_is_that_of_equally_likely_ranks():
    """Of four places, those at the ends too often: too narrow. Of two there is but a shift."""
    even, ends = np.repeat(np.arange(4), 2500), np.repeat([0, 1, 2, 3], [2700, 2300, 2300, 2700])
    (row,) = (
        line for line in str(Calibration(even[:, None], 3, ["a"])).splitlines() if "a " in line
    )
    assert "1.000" in row
    assert "(too narrow)" in Calibration(ends[:, None], 3, ["a"]).message
    shifted = np.repeat([0, 1], [5400, 4600])[:, None]
    assert "(too high)" in Calibration(shifted, 1, ["a"]).message


def test_p_values_are_those_of_a_chi_squared_test():
    ranks = np.random.default_rng(0).integers(0, 64, (500, 1))
    counts = np.histogram(ranks, np.arange(0, 65, 4))[0]
    expected = stats.chisquare(counts).pvalue
    assert Calibration(ranks, 63, ["0"]).p_values == pytest.approx([expected])
    # Ten values in ten bins, and bins of two sizes where 20 values do not divide by 16.
    assert Calibration(ranks % 10, 9, ["0"]).p_values.shape == (1,)
    even = np.repeat(np.arange(20), 10)[:, None]
    assert Calibration(even, 19, ["0"]).p_values == pytest.approx([1.0])


@pytest.mark.parametrize("name", slow_but(of=list(KINDS)))
def test_every_kind_of_model_with_latents(name):
    model, data = kind(name)
    context = data["context"][:1] if isinstance(data, dict) and "context" in data else None
    if not model.graph.latents:
        with pytest.raises(ValueError, match="without any"):
            calibrate(model, 5, context=context)
        return
    found = calibrate(model, 5, num_draws=7, context=context)
    assert found.ranks.shape == (5, len(found.names))
    assert found.ranks.min() >= 0
    assert found.ranks.max() <= 7
    np.testing.assert_array_equal(
        found.ranks, calibrate(model, 5, num_draws=7, context=context).ranks
    )


def test_ties_are_broken_at_random():
    """Of a posterior over states that is exact, ranks are uniform as well."""
    model, _ = kind("mixture")  # its posterior is the exact one
    found = calibrate(model, 600, num_draws=31)
    assert found.message is None
    assert np.all(found.p_values > 1e-3)


def test_messages(exact, monkeypatch):
    model, data = kind("conditional")
    with pytest.raises(ValueError, match=r"num_points=4, context of shape \[3, 3\]"):
        calibrate(model, 4, context=data["context"][:3])
    assert exact.to_dict()["num_draws"] == 63
    monkeypatch.setitem(sys.modules, "arviz", None)
    with pytest.raises(ImportError, match="pip install arviz"):
        exact.to_arviz()


def test_arviz_reads_it(exact, tmp_path):
    arviz = pytest.importorskip("arviz")
    path = tmp_path / "ranks.nc"
    exact.to_arviz().to_netcdf(path)
    found = arviz.from_netcdf(path)["prior_sbc"]["z"]
    np.testing.assert_allclose(found[0], exact.shares)
