import re

import numpy as np
import pytest

from tests.examples.test_digits import load_example
from tfvae import datasets


@pytest.fixture(scope="module")
def example():
    return load_example("hierarchy")


@pytest.mark.slow
def test_prints_one_row_for_each_model(example, capsys, tmp_path):
    arguments = ["--epochs", "1", "--hidden", "8", "--num-samples", "4", "--seeds", "1"]
    arguments += ["--output", str(tmp_path)]
    example.main([*arguments, "--kinds", "2, top-down", "1, plain"])
    printed = capsys.readouterr().out
    assert "447 held-out digits, nats per digit; 1 trainings" in printed
    rows = [line for line in printed.splitlines() if line.startswith("│ ")]
    assert [row.split("│")[1].strip() for row in rows] == ["2, top-down", "1, plain"]
    # A level that is not there is left out, and the first kind gains nothing over itself.
    *_, over, _first, second, third = (cell.strip() for cell in rows[0].split("│")[1:-1])
    assert (over, third) == ("", "")
    assert re.fullmatch(r"(\d+\.\d)\.\.\1", second)
    assert max(map(len, printed.splitlines()[:-1])) <= 80
    assert (tmp_path / "levels.png").read_bytes().startswith(b"\x89PNG")


def test_gains_are_paired_over_digits_and_rates_are_least_and_most(example):
    hard = np.random.default_rng(0).normal(0.0, 100.0, 50)
    rates = np.array([[1.0, np.nan], [3.0, np.nan]])
    found = {
        "one": {"log_p_x": np.stack([hard, hard]), "rates": rates},
        "two": {"log_p_x": np.stack([hard + 1.0, hard + 2.0]), "rates": rates},
    }
    mean = f"{hard.mean() + 1.5:.2f}"
    assert example.row("two", found) == ["two", mean, "+1.50 ± 0.50", "1.0..3.0", ""]
    assert example.row("one", found)[2] == ""


@pytest.mark.slow
def test_all_kinds_are_different_models_of_the_data(example):
    x = datasets.digits().x_test[:5]
    reads = {}
    for kind in example.KINDS:
        vae = example.build_vae(kind, 4, 0)
        terms = vae.terms(x)
        assert terms.level_rates.shape == (5, int(kind[0]))
        assert np.all(np.isfinite(terms.log_w))
        reads[kind] = vae.encode(x)
    assert reads["2, bottom-up"].parents("z_2") == ["z_1"]
    assert reads["2, top-down"].parents("z_1") == ["z_2"]
    assert reads["2, VampPrior"].parents("z_1") == ["z_2"]
    assert reads["3, ladder"].parents("z_1") == ["z_2"]
    assert type(example.build_vae("2, VampPrior", 4, 0).prior).__name__ == "VampPrior"
