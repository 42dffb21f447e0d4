import numpy as np
import pytest
from scipy import stats

from tests.examples.test_digits import load_example


@pytest.fixture(scope="module")
def example():
    return load_example("density")


@pytest.mark.slow
def test_prints_one_row_for_each_density(example, capsys, tmp_path):
    names = ["kernel density", "autoregressive", "VAE", "scikit-learn"]
    arguments = ["--epochs", "1", "--num-samples", "3", "--seeds", "1", "--output", str(tmp_path)]
    example.main([*arguments, "--models", *names])
    printed = capsys.readouterr().out
    rows = [line for line in printed.splitlines() if line.startswith("│ ")]
    assert [row.split("│")[1].strip() for row in rows] == ["Gaussian", *names]
    assert max(map(len, printed.splitlines()[:-1])) <= 80
    assert (tmp_path / "draws.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_gaussian_comes_near_its_closed_form(example):
    x, valid, test = example.load()
    assert (len(x), len(valid), len(test)) == (1000, 350, 447)
    np.testing.assert_allclose(np.cov(x.T), np.eye(8), atol=1e-4)
    model = example.MODELS[example.FIRST]()
    example.train(model, x, x, 100)
    expected = stats.multivariate_normal(x.mean(axis=0), np.cov(x.T)).logpdf(test).mean()
    found = np.mean(model.log_p_x(test))
    # Of the two the closed form is the better one on training points, by little.
    assert abs(found - expected) < 0.1
