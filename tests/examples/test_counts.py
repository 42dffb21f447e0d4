import numpy as np
import pytest

from tests.examples.test_digits import load_example


@pytest.fixture(scope="module")
def example():
    return load_example("counts")


@pytest.mark.slow
def test_prints_one_row_for_each_likelihood(example, capsys, tmp_path):
    small = ["--cells", "40", "--epochs", "1", "--hidden", "4", "--num-samples", "2"]
    example.main([*small, "--seeds", "1", "--output", str(tmp_path)])
    printed = capsys.readouterr().out
    rows = [line.split("│")[1:-1] for line in printed.splitlines() if line.startswith("│ ")]
    assert [row[0].strip() for row in rows] == ["genes apart", "poisson", "negative", "zeros"]
    assert max(len(line) for line in printed.splitlines() if "/" not in line) <= 80
    assert (tmp_path / "programs.png").read_bytes().startswith(b"\x89PNG")


def test_genes_apart_know_the_mean_and_the_surplus(example):
    rng = np.random.default_rng(0)
    share = np.ones((4000, 1))
    x = rng.negative_binomial(2.0, 0.2, (4000, 3)).astype(float)  # of mean 8
    found = example.genes_apart(x, x[:500], share, share[:500])
    exact = example.stats.nbinom.logpmf(x[:500], 2.0, 0.2).sum(axis=1)
    assert found.mean() == pytest.approx(exact.mean(), abs=0.02)


def test_cells_are_counts_with_their_totals(example):
    counts, totals, programs = example.draw_cells(50)
    np.testing.assert_allclose(np.exp(totals[:, 0]) - 1.0, counts.sum(axis=1), rtol=1e-4)
    np.testing.assert_allclose(programs.sum(axis=1), 1.0)
    assert counts.var() > 2.0 * counts.mean()
