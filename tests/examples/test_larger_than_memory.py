import re

import numpy as np
import pytest
from scipy import stats

from tests.examples.test_digits import load_example


@pytest.fixture(scope="module")
def example():
    return load_example("larger_than_memory")


@pytest.mark.slow
def test_says_what_each_way_takes_and_loses_nothing(example, capsys, tmp_path):
    example.main(["--rows", "5500", "--batch", "50", "--output", str(tmp_path)])
    printed = capsys.readouterr().out
    rows = [line.split("│")[1:-1] for line in printed.splitlines() if line.startswith("│ ")]
    assert [row[0].strip() for row in rows] == ["records", "mapped", "memory"]
    assert re.search(r"\n0 of [\d,]+ weights differ", printed)
    assert max(len(line) for line in printed.splitlines() if "/" not in line) <= 80
    assert (tmp_path / "memory.png").read_bytes().startswith(b"\x89PNG")


def test_all_ways_read_each_row_once(example, tmp_path, monkeypatch):
    monkeypatch.setattr(example, "CHUNK", 100)
    example.write(tmp_path, 230)
    whole = example.memory(tmp_path, 50, 230)
    np.testing.assert_array_equal(whole, np.concatenate(list(example.drawn(230, seed=1))))
    for read in (example.records, example.mapped):
        batches = [np.asarray(batch) for batch in read(tmp_path, 50, 230)]
        assert [len(batch) for batch in batches] == [50, 50, 50, 50, 30]
        found = np.concatenate(batches)
        assert not np.array_equal(found, whole)
        np.testing.assert_array_equal(np.sort(found[:, 0]), np.sort(whole[:, 0]))


def test_the_density_is_that_of_what_rows_are_drawn_from(example):
    x = next(example.drawn(200, seed=5))
    factors = example.loadings()
    covariance = factors.T @ factors + example.NOISE**2 * np.eye(example.SIZE)
    expected = stats.multivariate_normal(cov=covariance).logpdf(x).mean()
    assert example.log_p(x) == pytest.approx(expected, rel=1e-4)
