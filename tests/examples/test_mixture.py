import numpy as np
import pytest

from tests.examples.test_digits import load_example
from tfvae import datasets


@pytest.fixture(scope="module")
def example():
    return load_example("mixture")


@pytest.mark.slow
def test_prints_one_row_for_each_way(example, capsys, tmp_path):
    arguments = ["--components", "3", "--epochs", "1", "--seeds", "1", "--output", str(tmp_path)]
    example.main(arguments)
    captured = capsys.readouterr()
    rows = [line for line in captured.out.splitlines() if line.startswith("│ ")]
    found = [[cell.strip() for cell in row.split("│")[1:-1]] for row in rows]
    assert [row[0] for row in found] == ["3, EM", "3, gradient", "3, encoder", "3, k-means"]
    # Exact responsibilities leave no gap.
    assert [float(row[3]) for row in found[:2]] == [0.0, 0.0]
    assert max(map(len, captured.out.splitlines()[:-1])) <= 80
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.slow
def test_components_come_in_the_order_of_their_weights(example):
    data = datasets.digits()
    model = example.fit("EM", 4, data, 1, 0)
    weights = model.prior_distribution().probs_parameter().numpy()
    shares = np.mean(model.encode(data.x_train).probs_parameter(), axis=0)
    np.testing.assert_allclose(weights, shares, atol=0.02)
    images = example.component_images(model, 4)
    assert images.shape == (4, 8, 8, 1)
    first = model.decode(np.eye(4, dtype="float32")[[np.argmax(weights)]]).mean()
    np.testing.assert_allclose(images[0], first[0], atol=1e-6)
