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


def test_tables_read_no_markup_and_align_every_column_of_numbers():
    rows = [["VAE", "1.0", "2", "3.25", "text"], ["[red]x[/red]", "10.0 ± 1", "", "-13", "4 words"]]
    text = render_table("I[x;z] of [bold]", ["model", "I[x;z]", "b", "c", "d"], rows)
    lines = text.splitlines()
    assert lines[0] == "I[x;z] of [bold]"
    assert "I[x;z]" in lines[2]
    assert "[red]x[/red]" in text
    cells = [cell for cell in lines[4].split("│") if cell]
    assert cells[1:4] == ["      1.0 ", " 2 ", " 3.25 "]
    assert cells[4].startswith(" text")


def test_notebooks_show_what_is_printed():
    estimate = Estimate.of(np.array([1.0, 2.0]))
    assert estimate._repr_html_() == f"<pre>{estimate}</pre>"


def test_paired_differences_leave_out_what_both_have_in_common():
    rng = np.random.default_rng(0)
    hard, gain = rng.normal(0.0, 10.0, 100), rng.normal(1.0, 0.1, 100)
    one, other = Estimate.of(hard + gain), Estimate.of(hard)
    difference = one.minus(other)
    assert difference.mean == pytest.approx(one.mean - other.mean)
    assert difference.standard_error == pytest.approx(stats.sem(gain))
    with pytest.raises(ValueError, match="Received: 100 and 50 points"):
        one.minus(Estimate.of(hard[:50]))


def test_seeds_add_their_variance():
    values = np.array([[1.0, 3.0], [2.0, 6.0]])
    found = Estimate.of_seeds(values)
    points, seeds = stats.sem([1.5, 4.5]), stats.sem([2.0, 4.0])
    assert found.mean == 3.0
    assert found.standard_error == pytest.approx(np.hypot(points, seeds))
    assert Estimate.of_seeds(values[:1]).standard_error == pytest.approx(stats.sem([1.0, 3.0]))


def test_splits_share_rows():
    """Of very many splits there remains the noise of the rows, as of one number."""
    values = np.array([1.0, 2.0, 3.0, 6.0])
    found = Estimate.of_splits(values, held_out=0.2)
    assert found.mean == 3.0
    assert found.standard_error == pytest.approx(np.std(values, ddof=1) * np.sqrt(1 / 4 + 1 / 4))
    many = Estimate.of_splits(np.tile(values, 10_000), held_out=0.5)
    assert many.standard_error == pytest.approx(np.std(values), rel=1e-4)
    with pytest.raises(ValueError, match=r"between 0 and 1\. Received: 1\.0"):
        Estimate.of_splits(values, held_out=1.0)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [("", "0.500 ± 0.500"), (".2f", "0.50 ± 0.50"), ("+.1f", "+0.5 ± 0.5"), (".0%", "50% ± 50%")],
)
def test_mean_and_error_take_the_format_of_a_number(spec, expected):
    assert format(Estimate.of(np.array([0.0, 1.0])), spec) == expected
