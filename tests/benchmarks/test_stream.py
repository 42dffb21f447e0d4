"""What the benchmark of streams reports, for short ones."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(FOLDER))
_spec = importlib.util.spec_from_file_location("stream_benchmark", FOLDER / "stream.py")
benchmark = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(benchmark)

TINY = ["--hidden", "4", "--draws", "2", "--max-pairs", "200000"]


def test_streams_are_the_same_each_time_and_as_long_as_asked():
    stream = benchmark.stream_of(2300)
    sizes = [len(batch) for batch in stream]
    assert sizes == [1000, 1000, 300]
    for one, other in zip(stream, stream, strict=True):
        np.testing.assert_array_equal(one, other)
    first, second, _ = stream
    assert set(np.unique(first)) == {0.0, 1.0}
    assert not np.array_equal(first, second)


def test_results_are_counted_once():
    array = np.zeros(10)
    assert benchmark.bytes_of({"a": array, "b": {"c": array}, "d": np.zeros(3)}) == 8 * 13


@pytest.mark.slow
@pytest.mark.parametrize("name", list(benchmark.CASES))
def test_a_case_says_what_is_held(name, capsys):
    benchmark.main([*TINY, "--case", f"{name}:3000"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert 0.0 < found["bytes_per_point"] < 100.0
    assert found["most"] >= found["at_last"]
    assert found["most"] < 200.0


def test_reports_each_evaluation_and_length(tmp_path, capsys, monkeypatch):
    values = ("most", "after_a_tenth", "at_last", "results", "bytes_per_point")

    def measured(script, names, arguments, option):
        assert script.endswith("stream.py")
        assert names == ["decompose:10", "decompose:20"]
        assert option == "--case"
        return {name: dict.fromkeys(values, 7.0) for name in names}

    monkeypatch.setattr(benchmark.steps, "of_each_alone", measured)
    output = tmp_path / "stream.json"
    arguments = ["--only", "decompose", "--points", "10", "20", "--output", str(output)]
    result = benchmark.main(arguments)
    assert [case["num_points"] for case in result["cases"]] == [10, 20]
    assert json.loads(output.read_text())["cases"] == result["cases"]
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
