import numpy as np
import pytest

from tests.examples.test_digits import load_example
from tfvae import datasets


@pytest.fixture(scope="module")
def example():
    return load_example("semi_supervised")


@pytest.mark.slow
def test_prints_one_row_for_each_number_of_labels(example, capsys, tmp_path, monkeypatch):
    alone = example.classifier_alone
    monkeypatch.setattr(example, "classifier_alone", lambda *a: alone(*a, epochs=1))
    arguments = ["--epochs", "1", "--hidden", "8", "--num-samples", "4", "--seeds", "1"]
    example.main([*arguments, "--labels", "0", "20", "--output", str(tmp_path)])
    printed = capsys.readouterr().out
    rows = [line for line in printed.splitlines() if line.startswith("│ ")]
    assert [row.split("│")[1].strip() for row in rows] == ["0", "20"]
    assert max(map(len, printed.splitlines()[:-1])) <= 80
    assert {p.name for p in tmp_path.iterdir()} == {"classes_0_labels.png", "classes_20_labels.png"}


def test_labels_are_equally_many_of_each_class(example):
    y = datasets.digits().y_train
    labels = example.some_labels(y, 50, seed=1)
    known = labels >= 0
    np.testing.assert_array_equal(labels[known], y[known])
    np.testing.assert_array_equal(np.bincount(labels[known]), np.full(10, 5))


def test_clusters_are_matched_whatever_their_names(example):
    y = np.repeat(np.arange(10), 3)
    np.testing.assert_array_equal(example.matched((y + 4) % 10, y), np.ones(30))
    assert example.matched(np.zeros_like(y), y).mean() == pytest.approx(0.1)
