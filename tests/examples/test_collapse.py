import pytest

from tests.examples.test_digits import load_example
from tfvae import datasets


@pytest.fixture(scope="module")
def example():
    return load_example("collapse")


@pytest.mark.slow
def test_prints_one_row_for_each_way_of_training(example, capsys, tmp_path):
    arguments = ["--epochs", "1", "--num-samples", "2", "--seeds", "1", "--output", str(tmp_path)]
    example.main([*arguments, "--kinds", "blind"])
    captured = capsys.readouterr()
    rows = [line for line in captured.out.splitlines() if line.startswith("│ ")]
    assert [row.split("│")[1].strip() for row in rows] == ["plain", "blind"]
    assert max(map(len, captured.out.splitlines()[:-1])) <= 80
    assert (tmp_path / "rate_distortion.png").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["warm-up", "free bits", "target rate", "cyclical"])
def test_remedies_train_the_same_model(example, kind):
    vae = example.build_vae(kind, 0)
    example.compile_for(vae, kind, 10, 4.0)
    vae.run_eagerly = True  # to trace two steps costs more
    x = datasets.digits().x_train[:20]
    assert vae.fit(x, epochs=1, batch_size=10, verbose=0).history["loss"][0] > 0.0
