"""The programs of docs/serving.md run as they stand, one after another."""

import importlib.util
import re
from pathlib import Path

import keras
import pytest

import tfvae

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "serving.md").read_text()


@pytest.fixture(scope="module")
def vae():
    posterior, likelihood = tfvae.layers.MultivariateNormalDiag, tfvae.layers.IndependentBernoulli
    shape = (8, 8, 1)
    encoder = [keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(4), posterior(2)]
    decoder = [keras.Input((2,)), keras.layers.Dense(64), likelihood(shape)]
    model = tfvae.VAE(keras.Sequential(encoder), keras.Sequential(decoder), seed=0)
    model.compile("adam")
    return model


def installed(block):
    packages = re.findall(r"^(?:import|from) (\w+)", block, re.MULTILINE)
    packages += ["tf2onnx"] if "export_onnx" in block else []
    return all(importlib.util.find_spec(package) for package in packages)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_programs_run_as_they_stand(vae, tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 6
    monkeypatch.chdir(tmp_path)
    namespace, ran = {"vae": vae}, []
    for index, block in enumerate(blocks):
        reads_files = "onnx/decode" in block
        if installed(block) and (not reads_files or (tmp_path / "outputs/onnx").is_dir()):
            namespace.setdefault("np", importlib.import_module("numpy"))
            exec(compile(block, f"docs/serving.md, program {index}", "exec"), namespace)
            ran.append(index)
    assert ran[:2] == [0, 1]
    assert namespace["score"]["anomaly_score"].shape == (3,)
    if 2 in ran:
        assert namespace["z"].shape == (4, 2)
    assert "'sample_posterior', 'interpolate'" in capsys.readouterr().out


def test_commands_name_what_there_is():
    for name in re.findall(r"(?:examples|saved_models|tests)/[\w./]+\w", TEXT):
        if not name.endswith(("model", "vendor", "_small/2")):
            assert (ROOT / name).exists(), name
    page = (ROOT / "examples/serving/explorer/index.html").read_text()
    for command in re.findall(r"(?m)^(?:npm install|python) .*$", TEXT.split("## Browsers")[1]):
        assert command in page


def test_extras_are_those_of_the_package():
    setup = (ROOT / "setup.cfg").read_text()
    for extra in set(re.findall(r"extra `(\w+)`", TEXT)):
        assert f"\n{extra} =\n" in setup
