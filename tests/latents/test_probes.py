import sys

import numpy as np
import pytest

from tfvae.latents import linear_probe, neighbour_probe

GENERATOR = np.random.default_rng(0)
CLASSES = np.arange(90) % 3
# Three far corners, and a column that says nothing.
CODES = np.stack([10.0 * (CLASSES == 0), 10.0 * (CLASSES == 1), np.zeros(90)], axis=1)
NOISE = 0.1 * GENERATOR.normal(size=(90, 3))


@pytest.mark.parametrize("probe", [linear_probe, neighbour_probe])
def test_what_can_be_told_is_told(probe):
    score = probe(CODES + NOISE, CLASSES)
    assert score.mean == 1.0
    assert score.standard_error == 0.0
    assert score.chance == pytest.approx(1 / 3)
    assert str(score) == "1.000 ± 0.000, by chance 0.333"
    assert len(probe(CODES + NOISE, CLASSES, num_folds=3).scores) == 3


@pytest.mark.parametrize("probe", [linear_probe, neighbour_probe])
def test_what_cannot_be_told_is_right_by_chance(probe):
    labels = np.arange(400) % 2
    score = probe(GENERATOR.normal(size=(400, 2)), labels)
    assert abs(score.mean - 0.5) < 4 * np.sqrt(0.25 / 400)


def test_amounts_are_told_by_a_line():
    z = GENERATOR.normal(size=(200, 2))
    score = linear_probe(z, z @ [1.0, -2.0] + 3.0)
    assert score.mean > 0.999
    assert score.chance == 0.0
    # Half of the variance is noise that nobody can tell.
    noisy = linear_probe(z, z[:, 0] + GENERATOR.normal(size=200))
    assert abs(noisy.mean - 0.5) < 0.15
    assert linear_probe(z, z[:, 0] ** 2).mean < neighbour_probe(z, z[:, 0] ** 2).mean


def test_messages(monkeypatch):
    with pytest.raises(ValueError, match=r"Expected shape \(90,\). Received: \(3,\)"):
        linear_probe(CODES, [0, 1, 2])
    with pytest.raises(ValueError, match="90 points of 1 classes"):
        linear_probe(CODES, np.zeros(90, int))
    with pytest.raises(ValueError, match="of 2 classes, 1 in the smallest"):
        neighbour_probe(CODES, np.eye(90, dtype=int)[0])
    with pytest.raises(ValueError, match=r"must be finite\. Received: 90 of 90"):
        neighbour_probe(CODES, np.full(90, np.nan))
    with pytest.raises(ValueError, match=r"of one kind.*Received: NoneType, text\."):
        linear_probe(CODES, ["a", "b", None] * 30)
    numbers = np.array([1, 2.5, np.int64(3)] * 30, dtype=object)
    assert neighbour_probe(CODES, numbers).chance == 0.0
    with pytest.raises(ValueError, match=r"finite codes \[N, K\].*with NaN or infinity"):
        linear_probe(np.full([4, 2], np.nan), np.zeros(4))
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(ImportError, match=r'pip install "tfvae\[sklearn\]"'):
        linear_probe(CODES, CLASSES)
