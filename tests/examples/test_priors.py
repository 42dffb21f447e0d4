import re

import numpy as np
import pytest
import scipy.stats
from matplotlib.image import imread

from tests.examples.test_digits import load_example
from tfvae import datasets


@pytest.fixture(scope="module")
def example():
    return load_example("priors")


@pytest.mark.slow
def test_prints_one_row_for_each_prior_and_saves_the_picture(example, capsys, tmp_path):
    arguments = ["--epochs", "1", "--prior-epochs", "2", "--hidden", "8", "--num-samples", "4"]
    arguments += ["--seeds", "1"]
    example.main([*arguments, "--priors", "RealNVP", "--output", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "447 held-out digits, 1 trainings each, nats per digit" in printed
    lines = [line for line in printed.splitlines() if line.startswith("│ ")]
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines]
    assert [row[0] for row in rows] == ["StandardNormal", "RealNVP", "replaced later"]
    log_p = [float(row[1].split()[0]) for row in rows]
    # The first row is what the others are compared with.
    assert rows[0][2] == ""
    for row, value in zip(rows[1:], log_p[1:], strict=True):
        assert float(row[2].split()[0]) == pytest.approx(value - log_p[0], abs=0.011)
    assert re.search(r"the ELBO gains \d\.\d\d nats;\nencoder and decoder stay", printed)
    assert max(map(len, printed.splitlines()[:-1])) <= 80
    assert [path.name for path in tmp_path.iterdir()] == ["priors.png"]
    assert len(np.unique(imread(tmp_path / "priors.png"))) > 10


@pytest.mark.slow
def test_all_priors_are_of_the_same_networks(example):
    x = datasets.digits().x_train[:60]
    first = None
    for name in example.PRIORS:
        vae = example.build_vae(example.build_prior(name, x), 4, 0)
        assert type(vae.prior).__name__ == name
        assert np.all(np.isfinite(vae.terms(x[:5]).log_w))
        reconstruction = vae.reconstruct(x[:5])
        first = reconstruction if first is None else first
        np.testing.assert_array_equal(reconstruction, first)


def test_shows_the_density_of_the_prior_around_the_points(example):
    x = datasets.digits().x_train[:60]
    vae = example.build_vae(example.build_prior("StandardNormal", x), 4, 0)
    z, grid, log_p = example.draw_prior(vae, x, 0, size=20)
    expected = scipy.stats.norm.logpdf(grid).sum(axis=-1)
    np.testing.assert_allclose(log_p, expected, rtol=1e-5)
    assert np.all(grid.min(axis=(0, 1)) < z.min(axis=0))
    assert np.all(grid.max(axis=(0, 1)) > z.max(axis=0))
