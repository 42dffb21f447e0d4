import numpy as np
import pytest

from tests.examples.test_digits import load_example


@pytest.fixture(scope="module")
def example():
    return load_example("images")


@pytest.mark.slow
def test_prints_one_row_for_each_model_and_draws(example, capsys, tmp_path):
    arguments = ["--epochs", "1", "--num-samples", "2", "--seeds", "1", "--output", str(tmp_path)]
    example.main([*arguments, "--kinds", "conv, Vamp"])
    printed = capsys.readouterr().out
    rows = [line.split("│")[1:-1] for line in printed.splitlines() if line.startswith("│ ")]
    assert [row[0].strip() for row in rows] == [example.APART, "dense", "conv, Vamp"]
    assert max(len(line) for line in printed.splitlines() if "/" not in line) <= 80
    names = ["reconstructions.png", "samples.png", "walks.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_shares_of_pixels_are_probabilities(example):
    data = example.load()
    assert set(np.unique(data["train"] * 16)) == set(range(17))
    every = np.stack([np.full((8, 8, 1), level / 16.0) for level in range(17)])
    log_p = [example.pixels_apart(data["train"][:, :1, :1], e[None, :1, :1]) for e in every]
    assert np.exp(np.concatenate(log_p)).sum() == pytest.approx(1.0)


def test_decoders_start_at_the_mean_image(example):
    x = example.load()["train"]
    p_x = example.build_vae("dense", x, 0).decoder.layers[-1](np.zeros((1, 128), "float32"))
    np.testing.assert_allclose(p_x.mean()[0], x.mean(axis=0), atol=1e-3)
