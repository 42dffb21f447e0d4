"""What the benchmark of counts reports."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(FOLDER))
_spec = importlib.util.spec_from_file_location("counts_benchmark", FOLDER / "counts.py")
benchmark = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(benchmark)


def test_differences_are_paired_over_cells_and_errors_cover_seeds():
    ours = np.array([[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]])
    found = benchmark.summary({"tfvae": ours, "scvi": ours - np.array([[0.5], [1.5]])})
    assert found["tfvae"] == {"log_p_x": 2.5}
    assert found["scvi"]["less"] == pytest.approx(1.0)
    # Of two seeds 1.0 apart: sqrt(0.5 / 2).
    assert found["scvi"]["standard_error"] == pytest.approx(0.5)


@pytest.mark.slow
def test_cells_are_those_of_the_example_and_each_is_scored(tmp_path, capsys):
    path = tmp_path / "cells.npz"
    benchmark.write_cells(40, path)
    parts = benchmark.read_cells(path)
    assert [len(x) for x, _ in parts] == [40, 10, 10]
    for x, totals in parts:
        np.testing.assert_allclose(totals[:, 0], np.log(1.0 + x.sum(axis=1)), rtol=1e-6)
    tiny = ["--data", str(path), "--epochs", "1", "--hidden", "3", "--num-samples", "5"]
    benchmark.main([*tiny, "--case", "tfvae:0"])
    scores = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(scores) == 10
    assert np.all(np.isfinite(scores))
