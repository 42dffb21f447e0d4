"""What the benchmark of memory reports, for tiny models and one of each case."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(FOLDER))
_spec = importlib.util.spec_from_file_location("memory_benchmark", FOLDER / "memory.py")
benchmark = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(benchmark)

TINY = ["--hidden", "4", "--latents", "2", "--batch", "4", "--models", "1"]


@pytest.mark.slow
def test_a_case_says_what_is_kept(capsys):
    benchmark.main([*TINY, "--case", "tfvae, jit_compile=False"])
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == {"kept", "seen"}
    # A tiny model without XLA leaves next to nothing.
    assert found["kept"] < 50.0


def test_reports_each_case(tmp_path, capsys, monkeypatch):
    asked = {}

    def measured(script, names, arguments, option):
        asked.update({"script": script, "option": option, "arguments": arguments})
        return {name: {"kept": 2.0, "seen": 5.0} for name in names}

    monkeypatch.setattr(benchmark.steps, "of_each_alone", measured)
    output = tmp_path / "memory.json"
    result = benchmark.main([*TINY, "--output", str(output)])
    assert list(result["cases"]) == list(benchmark.CASES)
    assert json.loads(output.read_text())["cases"] == result["cases"]
    assert asked["script"].endswith("memory.py")
    assert asked["option"] == "--case"
    assert "--hidden=4" in asked["arguments"]
    printed = capsys.readouterr().out
    assert "600" in printed  # 300 models of two megabytes
    assert max(map(len, printed.splitlines())) <= 80
