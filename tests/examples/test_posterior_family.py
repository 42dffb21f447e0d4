import re

import numpy as np
import pytest
import tensorflow_probability as tfp

from tests.examples.test_digits import load_example
from tfvae import datasets

tfd = tfp.distributions


@pytest.fixture(scope="module")
def example():
    return load_example("posterior_family")


def scores(example, **means):
    """Returns scores `[2, 400]` of unit noise around means, by family and name."""
    generator = np.random.default_rng(0)
    noise = {name: generator.normal(size=(2, 400)) for name in example.SCORES}
    return {
        family.replace("_", " "): {name: values[name] + noise[name] for name in example.SCORES}
        for family, values in means.items()
    }


@pytest.mark.slow
def test_prints_one_row_for_each_family_and_draws_them(example, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(example, "FAMILIES", ("diagonal", "full"))
    arguments = ["--epochs", "1", "--hidden", "8", "--num-samples", "4", "--seeds", "1"]
    example.main([*arguments, "--output", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "447 held-out digits, 1 training of each" in printed
    rows = [line for line in printed.splitlines() if line.startswith("│ ")]
    cells = [[cell.strip() for cell in row.split("│")[1:-1]] for row in rows]
    assert [row[0] for row in cells] == ["diagonal", "full"]
    # The paired difference is that of the means.
    first, second = (float(row[1].split("±")[0]) for row in cells)
    assert float(cells[1][2].split("±")[0]) == pytest.approx(second - first, abs=0.011)
    assert all(float(row[4]) <= np.log(447.0) + 0.01 for row in cells)
    assert "I(x;z)" in printed
    assert "may be the training and not the family" in " ".join(printed.split())
    assert max(map(len, printed.splitlines()[:-1])) <= 80
    assert (tmp_path / "posterior_family.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
def test_families_are_what_they_are_called_around_one_decoder(example):
    x = datasets.digits().x_test[:3]
    models = {family: example.build_vae(family, 4, 0) for family in example.FAMILIES}
    classes = {
        "low rank": tfd.MultivariateNormalDiagPlusLowRankCovariance,
        "flow": tfd.TransformedDistribution,
    }
    for family, vae in models.items():
        q_z = vae.encode(x)
        assert isinstance(q_z, classes.get(family, tfd.Distribution))
        assert np.all(np.isfinite(vae.terms(x).log_w))
        for weight, same in zip(decoder(vae), decoder(models["diagonal"]), strict=True):
            np.testing.assert_array_equal(weight, same)
    off_diagonal = models["full"].encode(x).covariance().numpy()[:, 0, 1]
    assert np.all(off_diagonal != 0.0)
    assert models["hierarchy"].encode(x).parents("z_1") == ["z_2"]


def decoder(vae):
    """Returns the weights of p(x|z) of a model."""
    return (vae.decoders[0] if hasattr(vae, "decoders") else vae.decoder).get_weights()


def test_noise_is_that_of_points_and_of_seeds(example):
    generator = np.random.default_rng(1)
    values = generator.normal(size=(3, 500)) + np.array([[-1.0], [0.0], [4.0]])
    found = example.Estimate.of_seeds(values)
    points = np.std(values.mean(axis=0), ddof=1) / np.sqrt(500)
    seeds = np.std(values.mean(axis=1), ddof=1) / np.sqrt(3)
    assert found.mean == pytest.approx(values.mean())
    assert found.standard_error == pytest.approx(np.sqrt(points**2 + seeds**2))
    one = example.Estimate.of_seeds(values[:1])
    assert one.standard_error == pytest.approx(np.std(values[0], ddof=1) / np.sqrt(500))


@pytest.mark.parametrize(
    ("means", "spread", "expected"),
    [
        ((0.5, 0.5), 0.1, True),
        ((0.5, 0.5), 10.0, False),  # within the noise of the points: 10 / sqrt(400)
        ((0.5, -0.1), 0.1, False),  # one sign does not hold for both seeds
        ((0.1, 1.0), 0.1, False),  # within the noise of the seeds: 0.55 ± 0.45
        ((0.9, 1.0), 0.1, True),
    ],
)
def test_a_difference_counts_only_beyond_all_noise(example, means, spread, expected):
    noise = np.tile([1.0, -1.0], 200)
    assert example.differs(np.array(means)[:, None] + spread * noise) is expected


def test_conclusion_says_what_the_scores_show(example):
    ceiling = np.log(447.0)
    diagonal = {"log_p_x": -18.0, "rate": 6.0, "mutual_information": 4.0, "gap": 1.0}
    full = diagonal | {"log_p_x": -17.0, "mutual_information": ceiling - 0.1}
    flow = diagonal | {"rate": 0.0, "mutual_information": 0.0}
    both = " ".join(example.conclude(scores(example, diagonal=diagonal, full=full), ceiling))
    assert "dependent under all of these posteriors" in both
    assert "mutual information of full is within 0.5 nats of its ceiling, 6.10" in both
    assert re.search(r"log p\(x\) differs .* more than noise: full \+1\.00\.", both)
    assert (
        "The gap differs from that of the diagonal posterior by more than noise: nowhere." in both
    )
    found = scores(example, diagonal=diagonal, flow=flow)
    for values in found.values():
        values["mutual_information"] -= values["mutual_information"].mean()
    found["diagonal"]["mutual_information"] += 4.0
    assert "x and z stay dependent under diagonal." in " ".join(example.conclude(found, ceiling))
    one = {family: {n: v[:1] for n, v in each.items()} for family, each in found.items()}
    assert "by more than the noise of the digits" in " ".join(example.conclude(one, ceiling))
