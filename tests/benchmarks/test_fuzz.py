"""Models of parts drawn at random train to finite numbers, or are refused in words."""

import importlib.util
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

FOLDER = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(FOLDER))
_spec = importlib.util.spec_from_file_location("fuzz_benchmark", FOLDER / "fuzz.py")
benchmark = importlib.util.module_from_spec(_spec)
sys.modules["fuzz_benchmark"] = benchmark
_spec.loader.exec_module(benchmark)

CASES = st.composite(lambda draw: benchmark.drawn(lambda options: draw(st.sampled_from(options))))()
COMMON = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "phases": [Phase.generate],  # A case says all; to look for a smaller one takes minutes.
    "suppress_health_check": list(HealthCheck),
}


@pytest.mark.slow
@settings(max_examples=24, **COMMON)
@given(CASES)
def test_no_case_falls_through(case):
    benchmark.check(case, deep=False)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("number", range(12))  # Each in a share of its own, of a minute or so.
def test_no_case_falls_through_with_checkpoints_and_exports(number):
    @seed(number)
    @settings(max_examples=25, **{**COMMON, "derandomize": False})
    @given(CASES)
    def check(case):
        benchmark.check(case)

    check()


# The bound of the first bends within a step of finite differences, draws of the second follow no
# path where labels are summed over; the others leave the numbers.
ONCE = [
    benchmark.Case(
        *("student", "zero-inflated negative binomial", "standard", "weighted", "wake-sleep"),
        *("clipped", "none", 2, 2, 3, 2, 3),
    ),
    benchmark.Case(
        *("normal mixture", "mixture", "same family", "elbo", "joint", "clipped", "none"),
        *(5, 4, 3, 3, 1, "labels"),
    ),
    benchmark.Case(
        *("normal", "full", "standard", "score", "joint", "sgd", "outside", 7, 2, 2, 2, 1),
        form="kept stream",
    ),
    *(
        benchmark.Case(
            *("normal", "full", prior, "elbo", "semi-amortised", "sgd", "none", rows, 4, 3, 1, 1),
            validates=True,
        )
        for prior, rows in (("standard", 1), ("spline", 5))
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", ONCE)
def test_what_fell_through_once_does_so_no_more(case):
    benchmark.check(case)


PLAIN = {
    "posterior": "normal",
    "likelihood": "normal",
    "prior": "standard",
    "objective": "elbo",
    "scheme": "joint",
    "optimizer": "adam",
    "fault": "none",
    "rows": 2,
    "size": 1,
    "latents": 1,
    "batch_size": 2,
    "num_samples": 1,
}


def test_what_trains_and_what_is_refused_are_told_apart(monkeypatch):
    plain = benchmark.Case(**PLAIN)
    assert benchmark.check(plain, deep=False) == "trained"
    for fault in ("nan", "infinite", "no rows", "other shape", "text"):
        assert benchmark.check(plain._replace(fault=fault), deep=False).startswith("refused: `x`")
    refused = plain._replace(prior="categorical")
    assert benchmark.check(refused, deep=False).startswith("refused: ")
    # What is neither falls through: an error of others, and numbers that are not finite.
    monkeypatch.setitem(benchmark.PRIORS, "standard", lambda _: 1 / 0)
    with pytest.raises(benchmark.Fell, match="ZeroDivisionError"):
        benchmark.check(plain, deep=False)
    with pytest.raises(benchmark.Fell, match="weights are not finite"):
        benchmark._finite("weights", [1.0], [float("nan")])
