"""What the benchmark of serving reports, at a tiny size."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(FOLDER))
_spec = importlib.util.spec_from_file_location("serving_benchmark", FOLDER / "serving.py")
benchmark = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(benchmark)

TINY = ["--batches", "1", "3", "--rounds", "2", "--calls", "2", "--latents", "2", "--hidden", "4"]


DESCRIBED = benchmark.paired.describe_machine()


def machine(load):
    return {**DESCRIBED, "load_average": load}


@pytest.mark.slow
def test_reports_latencies_ratios_start_and_size(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(benchmark.paired, "describe_machine", lambda: machine(0.1))
    output = tmp_path / "serving.json"
    result = benchmark.main([*TINY, "--output", str(output)])
    assert list(result["cases"]) == ["decode, 1 rows", "decode, 3 rows", "generate, 3 rows"]
    for case in result["cases"].values():
        for row in case["contenders"].values():
            assert 0.0 < row["p50_ms"] <= row["p99_ms"]
    asked = result["cases"]["decode, 1 rows"]["contenders"]
    assert set(asked) >= {"served", "bare", "predict"}
    assert len(asked["predict"]["served is faster by"]["rounds"]) == 2
    assert asked["predict"]["served is faster by"]["median"] > 1.0
    assert result["size"]["graph_bytes"] < result["size"]["all_bytes"]
    assert result["cold start"]["load_s"] > 0.0
    assert json.loads(output.read_text())["cases"] == result["cases"]
    assert "From nothing: import " in capsys.readouterr().out


def test_figures_of_a_busy_machine_are_not_kept(tmp_path, capsys, monkeypatch):
    rows = {"served": {"p50_ms": 1.0, "p99_ms": 2.0}}
    result = {
        "machine": machine(0.7),
        "cases": {"decode, 1 rows": {"batch": 1, "contenders": rows}},
        "cold start": {"import_s": 1.0, "load_s": 1.0, "first_answer_s": 1.0},
        "size": {"graph_bytes": 1, "all_bytes": 2},
    }
    monkeypatch.setattr(benchmark, "measure", lambda settings: result)
    output = tmp_path / "serving.json"
    benchmark.main(["--output", str(output)])
    assert "Not written: the machine was busy (load average 0.7" in capsys.readouterr().out
    assert not output.exists()
    benchmark.main(["--output", str(output), "--anyway"])
    assert output.exists()


def test_turns_are_compared_within_a_round(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: float(next(clock)))
    slow = benchmark.latencies({"one": lambda: None, "two": lambda: next(clock)}, 3, 2, "one")
    assert slow["one"]["p50_ms"] == 1e3
    assert slow["two"]["one is faster by"]["rounds"] == [2.0, 2.0, 2.0]
