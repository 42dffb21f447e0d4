"""What the benchmark of priors reports, for two of them and tiny models."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(FOLDER))
_spec = importlib.util.spec_from_file_location("priors_benchmark", FOLDER / "priors.py")
benchmark = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(benchmark)

TINY = ["--hidden", "4", "--latents", "2", "--batch", "8"]


@pytest.mark.slow
@pytest.mark.xla
def test_reports_cost_and_of_each_alone(tmp_path, capsys, monkeypatch):
    # In processes of their own: see test_steps.py, and below for one of them.
    monkeypatch.setattr(
        benchmark.steps, "of_each_alone", lambda script, names, sizes: dict.fromkeys(names, 7.0)
    )
    output = tmp_path / "priors.json"
    arguments = [*TINY, "--rounds", "2", "--block", "0", "--components", "5"]
    result = benchmark.main([*arguments, "--only", "VampPrior 5", "--output", str(output)])
    assert list(result["priors"]) == ["StandardNormal", "VampPrior 5"]
    standard, vamp = result["priors"].values()
    assert standard["time"]["min"] == 1.0
    assert vamp["time"]["ms"] > 0.0
    # The first kernel, or all of its moments: what comes of 784 pixels is the largest.
    assert standard["largest"] <= vamp["largest"] < 1.0
    assert json.loads(output.read_text())["priors"] == result["priors"]
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80


@pytest.mark.slow
@pytest.mark.xla
def test_a_peak_is_that_of_the_steps(capsys):
    benchmark.main([*TINY, "--peak", "GaussianMixture 7"])
    # The steps of a tiny model need next to nothing.
    assert 0.0 <= json.loads(capsys.readouterr().out) < 100.0
