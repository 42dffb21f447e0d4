import numpy as np
import pytest
from scipy import stats

from tests.examples.test_digits import load_example


@pytest.fixture(scope="module")
def example():
    return load_example("regression")


@pytest.mark.slow
def test_prints_one_row_for_each_model(example, capsys, tmp_path):
    example.main(["--epochs", "1", "--hidden", "4", "--seeds", "2", "--output", str(tmp_path)])
    printed = capsys.readouterr().out
    rows = [line.split("│")[1:-1] for line in printed.splitlines() if line.startswith("│ ")]
    assert [row[0].strip() for row in rows] == ["linear", "equal", "own", "stock"]
    assert max(len(line) for line in printed.splitlines() if "/" not in line) <= 80
    assert (tmp_path / "intervals.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_one_scale_is_the_same_for_all(example):
    targets = example.load()["train"][1]
    p_y = example.network("equal", targets, 3)(np.random.default_rng(0).normal(size=(5, 10)))
    np.testing.assert_allclose(p_y.stddev(), np.full((5, 1), targets.std()), rtol=1e-4)


def test_scores_are_those_of_a_gaussian(example):
    found = example.score(np.zeros(3), np.ones(3), np.array([0.0, 1.6, 1.7]))
    np.testing.assert_array_equal(found["within"], [1.0, 1.0, 0.0])
    np.testing.assert_allclose(found["log_p"], stats.norm.logpdf([0.0, 1.6, 1.7]))
