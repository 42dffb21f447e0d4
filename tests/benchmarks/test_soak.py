"""What the benchmark of long lives reports, for short ones."""

import importlib.util
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(FOLDER))
_spec = importlib.util.spec_from_file_location("soak_benchmark", FOLDER / "soak.py")
benchmark = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(benchmark)


def test_open_files_and_threads_are_those_of_this_process(tmp_path):
    before = benchmark.held()
    with (tmp_path / "one").open("w"), (tmp_path / "two").open("w"):
        assert benchmark.held()["files"] == before["files"] + 2
    assert benchmark.held()["files"] == before["files"]
    asked = benchmark.Answers(lambda: np.zeros(2))
    with asked.asked_by(3):
        assert benchmark.held()["threads"] >= before["threads"] + 3


def test_answers_that_change_or_fail_are_wrong():
    left = iter([*([1.0] * 4), 2.0, None, *([1.0] * 100)])

    def ask():
        value = next(left)
        if value is None:
            raise RuntimeError
        return np.array([value])

    answers = benchmark.Answers(ask)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "PAUSE", 1e-4)
        with answers.asked_by(1):
            while answers.right + answers.wrong < 50:
                pass
    assert answers.wrong == 2


def test_growth_is_the_slope_of_the_second_half():
    megabytes = [100.0, 900.0, 300.0, *(500.0 + cycle / 1024 for cycle in range(3))]
    assert benchmark.growth(megabytes) == pytest.approx(1.0)
    assert benchmark.growth([7.0]) == 0.0


@pytest.mark.parametrize(("cycles", "shown"), [(1, [1]), (3, [1, 2, 3]), (1000, [1, 112])])
def test_cycles_that_are_shown_go_from_the_first_to_the_last(cycles, shown):
    found = benchmark.shown(cycles)
    assert found[: len(shown)] == shown
    assert found[-1] == cycles
    assert len(found) <= benchmark.SHOWN


@pytest.mark.slow
def test_a_soak_notes_each_cycle(tmp_path, capsys):
    output = tmp_path / "soak.json"
    arguments = ["--cycles", "2", "--threads", "2", "--signatures", "encode"]
    found = benchmark.main([*arguments, "--output", str(output)])["soak"]
    assert json.loads(output.read_text())["soak"] == found
    assert len(found["cycles"]) == 2
    assert found["wrong_answers"] == found["wrong_exports"] == 0
    first, second = found["cycles"]
    assert second["answers"] > first["answers"] > 0
    assert second["files"] <= first["files"]
    printed = capsys.readouterr().out
    assert "wrong: 0 answers, 0 exports" in printed
    assert max(map(len, printed.splitlines())) <= 80
    short = benchmark.main([*arguments, "--minutes", "1e-3"])["soak"]
    assert len(short["cycles"]) == 1


def test_a_run_that_ends_otherwise_is_told(capsys, monkeypatch):
    ends = iter([["one", "one"], ["one", "other"]])

    def run(command, **_):
        assert command[1:3] == ["-m", "tests.callbacks.runs"]
        assert os.path.isdir(command[3])
        told = {"kind": command[5], "kills": int(command[4]), "found": next(ends)}
        return type("Done", (), {"returncode": 0, "stdout": json.dumps(told) + "\n"})()

    monkeypatch.setattr(benchmark.subprocess, "run", run)
    found = benchmark.main(["--kills", "7", "--kinds", "rows", "kept stream"])["kills"]
    assert [(case["kills"], case["is_equal"]) for case in found] == [(7, True), (7, False)]
    printed = capsys.readouterr().out
    assert "DIFFERS" in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_something_has_to_be_asked_for(capsys):
    with pytest.raises(SystemExit):
        benchmark.main([])
    assert "--cycles" in capsys.readouterr().err
