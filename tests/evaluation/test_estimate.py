"""Means with their standard errors, and tables of them."""

import numpy as np
import pytest
from scipy import stats

from tfvae.evaluation.estimate import Estimate, render_table


def test_mean_and_standard_error():
    values = np.random.default_rng(0).normal(size=50).astype("float32")
    estimate = Estimate.of(values)
    assert float(estimate) == estimate.mean == pytest.approx(values.astype("float64").mean())
    assert estimate.standard_error == pytest.approx(stats.sem(values.astype("float64")))
    assert estimate.to_dict() == {
        "mean": estimate.mean,
        "standard_error": estimate.standard_error,
    }
    assert str(estimate) == f"{estimate.mean:.3f} ± {estimate.standard_error:.3f}"


def test_one_point_has_no_standard_error():
    estimate = Estimate.of(np.array([2.0]))
    assert estimate.mean == 2.0
    assert np.isnan(estimate.standard_error)


def test_what_is_not_finite_has_no_standard_error():
    estimate = Estimate.of(np.array([2.0, -np.inf]))
    assert estimate.mean == -np.inf
    assert np.isnan(estimate.standard_error)


def test_tables_keep_square_brackets_and_eighty_columns():
    text = render_table(
        "Title", ["name", "mean", "± s.e."], [["H[z|x]", "1.0", "0.1"] for _ in "ab"]
    )
    assert text.count("H[z|x]") == 2
    assert text.splitlines()[0] == "Title"
    assert max(map(len, text.splitlines())) <= 80
