import numpy as np
import pytest

from tests.examples.test_digits import load_example


@pytest.fixture(scope="module")
def example():
    return load_example("tabular")


@pytest.mark.slow
def test_prints_all_methods_and_draws(example, tmp_path, capsys):
    arguments = ["--epochs", "1", "--hidden", "8", "--num-samples", "5", "--splits", "1"]
    example.main([*arguments, "--output", str(tmp_path)])
    printed = capsys.readouterr().out
    assert max(len(line) for line in printed.splitlines() if "/tables" not in line) <= 80
    rows = [line.split("│")[1:-1] for line in printed.splitlines() if line.startswith("│ ")]
    cells = {row[0].strip(): float(row[1]) for row in rows}
    assert list(cells) == [
        "VAE, tfvae.impute",
        "SimpleImputer",
        "KNNImputer",
        "IterativeImputer",
        "from 8 columns each",
        "VAE, -log p(x)",
        "IsolationForest",
        "LocalOutlierFactor",
    ]
    # Means are off by about one standard deviation; neighbours of 118 rows know better.
    assert 0.8 < cells["SimpleImputer"] < 1.2
    assert cells["KNNImputer"] < cells["SimpleImputer"]
    assert cells["from 8 columns each"] < cells["SimpleImputer"]
    assert cells["IsolationForest"] > 0.9
    assert (tmp_path / "tables.png").read_bytes().startswith(b"\x89PNG")


def test_cultivars_become_columns_and_numbers_again(example):
    table = np.array([[0.5, 0.0], [1.5, 2.0], [2.5, 1.0], [3.5, np.nan]])
    spread = example.spread(table)
    np.testing.assert_array_equal(spread[:, 1:], [[1, 0], [0, 0], [0, 1], [np.nan, np.nan]])
    np.testing.assert_array_equal(example.gathered(spread[:3]), table[:3])
    shares = np.array([[0.0, 0.2, 0.3], [0.0, 0.5, 0.1]])
    np.testing.assert_array_equal(example.gathered(shares)[:, 1], [2.0, 0.0])


def test_methods_are_compared_on_the_same_splits(example):
    hard = np.array([10.0, 20.0, 30.0])
    numbers = {"VAE": hard, "other": hard + np.array([1.0, 2.0, 3.0])}
    # Half as many rows held out as trained on: 1 / 3 + 1 / 2 times the variance.
    error = np.sqrt(1.0 / 3.0 + 1.0 / 2.0)
    assert example.against(numbers, "other", ".2f") == ["22.00", f"+2.00 ± {error:.2f}"]
    assert example.against(numbers, "VAE", ".2f") == ["20.00", ""]
    one = {name: values[:1] for name, values in numbers.items()}
    assert example.against(one, "other", ".2f") == ["11.00", "+1.00"]
