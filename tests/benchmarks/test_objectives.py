"""What the benchmark of objectives reports, for two of them and tiny models."""

import importlib.util
import inspect
import json
import sys
from pathlib import Path

import pytest

from tfvae import objectives
from tfvae.objectives import Enumerated, Objective, Sum, Supervised

FOLDER = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(FOLDER))
_spec = importlib.util.spec_from_file_location("objectives_benchmark", FOLDER / "objectives.py")
benchmark = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(benchmark)

TINY = ["--hidden", "4", "--latents", "2", "--batch", "8"]


@pytest.mark.slow
@pytest.mark.xla
def test_reports_time_and_of_each_alone(tmp_path, capsys, monkeypatch):
    # In processes of their own: see test_steps.py, and below for one of them.
    monkeypatch.setattr(
        benchmark.steps, "of_each_alone", lambda script, names, sizes: dict.fromkeys(names, 7.0)
    )
    output = tmp_path / "objectives.json"
    arguments = [*TINY, "--rounds", "2", "--block", "0", "--draws", "3"]
    result = benchmark.main([*arguments, "--only", "BetaTC", "--output", str(output)])
    assert list(result["objectives"]) == ["ELBO", "BetaTC"]
    elbo, other = result["objectives"].values()
    assert elbo["time"]["median"] == 1.0
    assert elbo["memory"] == 7.0
    assert other["time"]["ms"] > 0.0
    assert list(result["draws_or_batch"]) == [
        "ELBO at batch 24",
        "ImportanceWeighted 3 at batch 8",
    ]
    assert json.loads(output.read_text())["objectives"] == result["objectives"]
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80


@pytest.mark.slow
@pytest.mark.xla
def test_a_peak_is_that_of_the_steps(capsys):
    benchmark.main([*TINY, "--peak", "ELBO"])
    # The steps of a tiny model need next to nothing.
    assert 0.0 <= json.loads(capsys.readouterr().out) < 100.0


def test_every_objective_is_measured():
    public = [getattr(objectives, name) for name in objectives.__all__]
    kinds = {cls for cls in public if inspect.isclass(cls) and issubclass(cls, Objective)}
    parts = [getattr(o, "objectives", (o,)) for o in benchmark.OBJECTIVES.values()]
    measured = {type(part) for group in parts for part in group}
    # A sum is its addends; labels, and few states, take models of their own.
    assert kinds - {Enumerated, Objective, Sum, Supervised} == measured
