"""What the benchmark of the ledger reports, for a tiny model."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(FOLDER))
_spec = importlib.util.spec_from_file_location("decompose_benchmark", FOLDER / "decompose.py")
benchmark = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(benchmark)

TINY = ["--hidden", "4", "--latents", "2", "--samples", "2", "--max-pairs", "200"]


@pytest.mark.slow
def test_a_case_says_what_so_many_points_take(capsys):
    benchmark.main([*TINY, "--case", "20"])
    found = json.loads(capsys.readouterr().out)
    assert found["num_compared"] == 10  # 200 pairs with 20 posteriors
    assert found["seconds"] > 0.0
    assert found["megabytes"] < 100.0


def test_reports_each_number_of_points_and_the_exponent(tmp_path, capsys, monkeypatch):
    def measured(script, names, arguments, option):
        assert script.endswith("decompose.py")
        assert option == "--case"
        assert "--max-pairs=200" in arguments
        values = {"cpu_seconds": 1.0, "megabytes": 5.0, "num_compared": 7, "standard_error": 0.1}
        return {name: {"seconds": (int(name) / 10) ** 2, **values} for name in names}

    monkeypatch.setattr(benchmark.steps, "of_each_alone", measured)
    output = tmp_path / "decompose.json"
    result = benchmark.main([*TINY, "--points", "10", "40", "--output", str(output)])
    assert [row["num_points"] for row in result["points"]] == [10, 40]
    assert result["points"][0]["exponent"] is None
    assert result["points"][1]["exponent"] == pytest.approx(2.0)
    assert json.loads(output.read_text())["points"] == result["points"]
    printed = capsys.readouterr().out
    assert "2.00" in printed
    assert max(map(len, printed.splitlines())) <= 80
