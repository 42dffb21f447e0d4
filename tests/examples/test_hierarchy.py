import numpy as np
import pytest

from tests.examples.test_digits import load_example
from tfvae import datasets


@pytest.fixture(scope="module")
def example():
    return load_example("hierarchy")


@pytest.mark.slow
def test_prints_one_row_for_each_model(example, capsys):
    arguments = ["--epochs", "1", "--hidden", "8", "--num-samples", "4"]
    example.main([*arguments, "--kinds", "2, top-down", "1, plain"])
    printed = capsys.readouterr().out
    assert "447 held-out digits, nats per digit" in printed
    rows = [line for line in printed.splitlines() if line.startswith("│ ")]
    assert [row.split("│")[1].strip() for row in rows] == ["2, top-down", "1, plain"]
    # The rates of the levels add up; a level that is not there is left out.
    *_, rate, first, second, third = (cell.strip() for cell in rows[0].split("│")[1:-1])
    assert float(first) + float(second) == pytest.approx(float(rate), abs=0.011)
    assert third == ""
    assert max(map(len, printed.splitlines())) <= 80


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
