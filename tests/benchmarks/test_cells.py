"""Posteriors, priors and objectives go together cell by cell, or are refused in words."""

import importlib.util
import inspect
import sys
from pathlib import Path

import numpy as np
import pytest

from tfvae import layers, objectives, priors

FOLDER = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(FOLDER))
_spec = importlib.util.spec_from_file_location("cells_benchmark", FOLDER / "cells.py")
cells = importlib.util.module_from_spec(_spec)
sys.modules["cells_benchmark"] = cells
_spec.loader.exec_module(cells)

# No posterior, or none by itself: abstract, tensors to tensors, losses, and what reads the data.
NO_POSTERIORS = {
    layers.DistributionLayer,
    layers.IndependentLayer,
    layers.DataEncoder,
    layers.ImageParameters,
    layers.KLDivergenceAddLoss,
    layers.KLDivergenceRegularizer,
    layers.VariableLayer,
}
ABSTRACT = {
    objectives.BatchWeights,
    objectives.GradientEstimator,
    objectives.Kernel,
    objectives.Objective,
    objectives.Schedule,
    priors.Prior,
}
# Settings of objectives, which the tests of schedules try, and what is no part of one.
NO_OBJECTIVES = {
    objectives.Constant,
    objectives.Cyclical,
    objectives.Plateau,
    objectives.RateParts,
}


def parts_of(value):
    """Yields the classes of a part and of all parts that it is made with."""
    yield type(value)
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from parts_of(part)
    elif type(value).__module__.startswith("tfvae") and hasattr(value, "__dict__"):
        for part in vars(value).values():
            yield from parts_of(part) if part is not value else ()


def public(module):
    return {c for c in vars(module).values() if inspect.isclass(c) and c.__name__ in module.__all__}


def test_no_public_part_is_left_out():
    tried = {c for make in cells.POSTERIORS.values() for part in [make(2)] for c in parts_of(part)}
    assert public(layers) - tried == NO_POSTERIORS
    head = cells.POSTERIORS["normal"]
    tried = {c for make in cells.PRIORS.values() for c in parts_of(make(lambda: head(2)))}
    assert public(priors) - tried == ABSTRACT & public(priors)
    tried = {c for make in cells.OBJECTIVES.values() for c in parts_of(make(2))}
    assert public(objectives) - tried == ABSTRACT & public(objectives) | NO_OBJECTIVES


@pytest.mark.slow
def test_a_cell_trains_or_is_refused_and_the_numbers_of_its_pair_agree():
    told = {cell: became for cell, became, _ in cells.run(["full"], ["mixture"], ["elbo", "tc"])}
    assert list(told.values()) == ["trained", "refused"]
    ((_, became, why),) = cells.run(["bits"], ["normal"], ["elbo"])
    assert became == "refused"
    assert "density" in why


def test_wrong_numbers_and_foreign_errors_fall_through(monkeypatch):
    pair = cells.pair_of("normal", "standard")
    assert pair.rate == pytest.approx(float(np.mean(pair.model.terms(pair.data, 1).rate)), rel=1e-5)
    monkeypatch.setattr(cells.tfvae.Terms, "rate", property(lambda terms: 1.02 * terms.kl))
    became, why = cells.outcome_of(lambda: cells.pair_of("normal", "standard"))
    assert (became, why.split()[:3]) == ("fell through", ["the", "rate", "is"])
    assert cells.outcome_of(lambda: 1 / 0)[0] == "fell through"


def test_what_does_not_come_back_falls_through():
    def waits():
        while True:
            pass

    assert cells.outcome_of(waits, seconds=1) == ("fell through", "did not come back in 1 s")
