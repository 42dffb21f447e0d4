import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tfvae import datasets

ROOT = pathlib.Path(__file__).resolve().parents[2]
# TensorFlow alone: what a serving process must do without. TensorFlow itself imports Keras where
# it is installed, so these are made impossible to import, which shows more than not being there.
ABSENT = ("tfvae", "keras", "tf_keras", "tensorflow_probability", "sklearn", "scipy", "matplotlib")
WITHOUT = f"import sys; sys.modules.update(dict.fromkeys({ABSENT}))\n"
SIGNATURES = {"serving_default", "encode", "decode", "generate", "elbo", "log_prob"}


def load_example(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")  # which they set, for this process alone
        patch.syspath_prepend(ROOT / "examples")
        spec.loader.exec_module(module)
    return module


def run_example_without_packages(name, *arguments):
    code = (
        WITHOUT
        + "import runpy; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], {}, '__main__')"
    )
    command = [sys.executable, "-c", code, str(ROOT / "examples" / f"{name}.py"), *arguments]
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT / "examples", env=environment
    )


@pytest.fixture(scope="module")
def digits_example():
    return load_example("digits")


@pytest.fixture(scope="module")
def run(digits_example, tmp_path_factory):
    """One short run of the example: its folder, and what it printed."""
    folder = tmp_path_factory.mktemp("digits")
    arguments = ["--epochs", "1", "--latents", "4", "--hidden", "16", "--num-samples", "20"]
    arguments += ["--output", str(folder / "pictures"), "--export", str(folder / "model" / "1")]
    arguments += ["--scores", str(folder / "scores.json"), "--report", str(folder / "page.html")]
    with pytest.MonkeyPatch.context() as patch:
        lines = []
        patch.setattr("builtins.print", lambda *parts, **_: lines.append(" ".join(map(str, parts))))
        digits_example.main(arguments)
    return folder, "\n".join(lines)


@pytest.mark.slow
def test_prints_ledger_likelihood_and_differences(run):
    _, printed = run
    for expected in ("ELBO ledger of 447 points", "Log-likelihood of 447 points, 20 samples each"):
        assert expected in printed
    assert max(len(line) for line in printed.splitlines() if "/" not in line) <= 80


@pytest.mark.slow
def test_writes_four_pictures(run):
    folder, _ = run
    pictures = {path.name for path in (folder / "pictures").iterdir()}
    assert pictures == {
        "latent_space.png",
        "reconstructions.png",
        "samples.png",
        "training_curves.png",
    }
    for name in pictures:
        assert (folder / "pictures" / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_writes_a_report(run):
    folder, printed = run
    assert "<title>Digits</title>" in (folder / "page.html").read_text()
    assert str(folder / "page.html") in printed


@pytest.mark.slow
def test_export_says_the_same_as_the_model(digits_example, run):
    folder, _ = run
    x = datasets.digits().x_test[:20]
    served = tf.saved_model.load(str(folder / "model" / "1"))
    assert set(served.signatures) == SIGNATURES
    vae = digits_example.build_vae(4, 16, seed=1)  # other weights: the differences must show
    other = digits_example.compare(vae, folder / "model" / "1", x)
    assert min(other.values()) > 1e-3
    vae.export(folder / "other" / "1", verbose=False)
    assert max(digits_example.compare(vae, folder / "other" / "1", x).values()) < 1e-4


@pytest.mark.slow
def test_scores_are_those_of_the_export(digits_example, run):
    folder, _ = run
    recorded = json.loads((folder / "scores.json").read_text())
    assert recorded["command"].startswith("python examples/digits.py --epochs 1 ")
    assert set(recorded["versions"]) == {"python", "tfvae", "tensorflow", "keras"}
    x = datasets.digits().x_test[: recorded["num_points"]]
    again = digits_example.score(folder / "model" / "1", x)
    assert {name: recorded[name] for name in again} == again
    for name, mean in recorded["mean"].items():
        np.testing.assert_allclose(np.mean(recorded["per_point"][name]), mean, atol=1e-4)


@pytest.mark.slow
def test_serves_with_tensorflow_alone(run):
    folder, _ = run
    arguments = [str(folder / "model" / "1"), "--num-samples", "20"]
    first, again = (run_example_without_packages("serve_digits", *arguments) for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert first.stderr == ""  # TensorFlow says nothing before the example does
    for word in ("generate:", "reconstruct:", "encode:", "score:"):
        assert f"\n{word}" in first.stdout
    assert first.stdout == again.stdout
    assert max(len(line) for line in first.stdout.splitlines() if "/" not in line) <= 80


@pytest.mark.slow
def test_serves_digits_from_a_file(run, tmp_path, monkeypatch, capsys):
    folder, _ = run
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
    serve = load_example("serve_digits")
    x = datasets.digits().x_test[:12]
    np.save(tmp_path / "x.npy", x.astype(np.uint8))
    arguments = [str(folder / "model" / "1"), "--num-samples", "20"]
    serve.main([*arguments, "--digits", str(tmp_path / "x.npy")])
    printed = capsys.readouterr().out
    assert "\n".join(serve.ascii_art(x[0])[:1]) in printed
    assert "mean of 12 digits: log p(x) = -" in printed


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros([2, 3]), r"digits of shape \[None, 8, 8, 1\]\. Received: \[2, 3\]"),
        (np.zeros([0, 64]), r"Received: \[0, 64\]"),
        (np.full([2, 64], 16), r"values 0 and 1\. Received values from 16 to 16"),
    ],
)
def test_refuses_other_digits(x, message, tmp_path, monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(ValueError, match=message):
        load_example("serve_digits").digits_from(tmp_path / "x.npy", [8, 8, 1])


def test_ascii_art_shows_every_pixel():
    serve = load_example("serve_digits")
    image = np.array([[0.0, 1.0], [0.5, 2.0]])[..., None]
    assert serve.ascii_art(image) == ["  @@", "==@@"]
