import numpy as np
import pytest

import tfvae
from tests.examples.test_digits import load_example
from tfvae import datasets


@pytest.fixture(scope="module")
def example():
    return load_example("conditional")


@pytest.mark.slow
def test_prints_evidence_and_labels_and_writes_what_it_says(example, tmp_path, capsys):
    arguments = ["--epochs", "1", "--hidden", "16", "--num-samples", "2", "--seeds", "1"]
    folder, export = tmp_path / "pictures", tmp_path / "model" / "1"
    example.main([*arguments, "--output", str(folder), "--export", str(export)])
    printed = capsys.readouterr().out
    assert max(len(line) for line in printed.splitlines() if "/" not in line) <= 80
    rows = [line.split("│")[1:-1] for line in printed.splitlines() if line.startswith("│ ")]
    cells = {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}
    told, plain = cells["p(x|c), told c"], cells["p(x)"]
    gain = float(told[1].split(" ±")[0])
    assert gain == pytest.approx(float(told[0]) - float(plain[0]), abs=0.011)
    right = example.support_vectors(datasets.digits()).mean()
    assert cells["SVC"] == ["", "", f"{right:.1%}", ""]
    assert 0.85 < right < 0.95
    assert cells["p(c|x)"][0] == plain[1] == ""
    assert (folder / "labels.png").read_bytes().startswith(b"\x89PNG")
    differences = [float(line.split()[-1]) for line in printed.splitlines()[-4:]]
    assert max(differences) < 1e-3


@pytest.mark.slow
def test_evidence_of_each_label_is_that_of_its_context(example):
    vae, x = example.build_vae(True, 8, 0), datasets.digits().x_test[:4]
    found = example.evidence_of_labels(vae, x, 3)
    assert found.shape == (4, 10)
    context = example.one_hot(np.full(4, 7))
    alone = tfvae.log_likelihood(vae, {"x": x, "context": context}, 3, seed=7, verbose=False)
    np.testing.assert_allclose(found[:, 7], alone.per_point)
    assert np.abs(found - found[:, :1]).max() > 1e-3


@pytest.mark.slow
def test_all_networks_of_the_conditional_model_read_the_label(example):
    vae = example.build_vae(True, 8, 0)
    assert vae.data.context_shape == (10,)
    x, first, other = datasets.digits().x_test[:1], *example.one_hot(np.array([[0], [1]]))
    z = np.zeros([1, example.LATENTS], "float32")
    for read in (
        lambda c: vae.encode(x, c).mean(),
        lambda c: vae.decode(z, c).mean(),
        lambda c: vae.prior_distribution(c).mean(),
    ):
        assert not np.allclose(read(first), read(other))
    assert example.build_vae(False, 8, 0).data.context_shape is None
