"""Both sides of log p(x) around closed forms and quadrature."""

import numpy as np
import pytest

from tests import analytic
from tests.conftest import slow_but
from tests.evaluation.test_annealing import EXACT, REFUSED
from tests.evaluation.test_kinds import ledger_by_sums
from tests.kinds import kind
from tfvae.evaluation import bidirectional, chains

MODEL = analytic.LinearGaussian.random(seed=4)
FEW = {"num_chains": 8, "num_leapfrog_steps": 3, "verbose": False}


# With contexts, levels, other names and observed parents; exact, without latents, and refused.
VARIOUS = [
    "conditional",
    "hierarchical",
    "directed",
    "given_node",
    "mixture",
    "density",
    "drawn_bits",
]


def assert_between(found, exact):
    for bound, sign in ((found.lower, 1.0), (found.upper, -1.0)):
        over = sign * (bound.per_point - exact)
        assert over.mean() < 3 * over.std(ddof=1) / np.sqrt(len(over))


@pytest.mark.slow
def test_the_gap_closes_around_log_p_x_with_temperatures():
    gaps, vae = [], MODEL.vae()
    for number in (5, 20, 80):
        found = bidirectional(vae, 60, number, **FEW)
        exact = MODEL.log_p_x(found.data["x"])
        assert_between(found, exact)
        np.testing.assert_allclose(
            found.gap.per_point, found.upper.per_point - found.lower.per_point
        )
        gaps.append(found.gap)
    assert gaps[0].mean > 2 * gaps[1].mean > 4 * gaps[2].mean
    assert abs(gaps[2].mean) < 0.4
    # What is drawn has the distribution of the model.
    assert (
        abs(exact.mean() - MODEL.log_p_x(MODEL.draw(5000, seed=1)).mean())
        < 5 * exact.std() / 60**0.5
    )


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_single_latent_lies_between_the_bounds(monkeypatch):
    """By quadrature over z."""
    monkeypatch.setattr(chains, "_FEWEST_MOVES", 10)
    model, _ = kind("one_latent")
    found = bidirectional(model, 30, 4, **FEW)
    assert_between(found, ledger_by_sums(model, found.data)[0]["log_p_x"])


@pytest.mark.parametrize("name", slow_but("mixture", "drawn_bits", of=VARIOUS))
def test_every_kind_of_model(name, monkeypatch):
    monkeypatch.setattr(chains, "_FEWEST_MOVES", 10)  # these run eagerly
    model, data = kind(name)
    context = data.get("context") if isinstance(data, dict) else None
    if name in REFUSED:
        with pytest.raises(ValueError, match="Annealing"):
            bidirectional(model, 12, 5, context=context, **FEW)
        return
    found = bidirectional(model, 12, 5, context=context, **FEW)
    assert {len(part) for part in found.data.values()} == {12}
    if name in EXACT:
        assert np.all(found.gap.per_point == 0.0)
        return
    assert np.all(np.isfinite(found.gap.per_point))
    assert found.gap.mean > -3 * found.gap.standard_error
    assert np.all((found.acceptance > 0.0) & (found.acceptance < 1.0))


def test_prints_and_converts():
    model, _ = kind("mixture")
    found = bidirectional(model, 5, 3, verbose=False)
    text = str(found)
    assert max(map(len, text.splitlines())) <= 80
    assert "5 points, 16 chains each way" in text
    values = found.to_dict()
    assert values["gap"]["mean"] == values["largest_gap"] == 0.0
    assert values["num_temperatures"] == 3
    assert values["num_points"] == 5


@pytest.mark.slow
def test_one_context_stands_for_all_and_numbers_are_checked():
    model, data = kind("conditional")
    found = bidirectional(model, 3, 1, context=data["context"][:1], **FEW)
    np.testing.assert_array_equal(found.data["context"], np.repeat(data["context"][:1], 3, axis=0))
    for name in ("num_points", "num_temperatures", "num_chains", "num_leapfrog_steps"):
        with pytest.raises(ValueError, match=rf"Received: {name}=0"):
            bidirectional(model, **{"num_points": 2, name: 0}, context=data["context"][:1])
