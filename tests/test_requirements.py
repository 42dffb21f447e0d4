"""The one check on import, in fresh interpreters where that is what counts."""

import importlib.metadata
import os
import subprocess
import sys

import pytest

from tfvae import _requirements

QUIET = """
import sys
import keras, tensorflow, tensorflow_probability
sys.modules["matplotlib"] = None  # nor is that needed
for stream in (sys.stdout, sys.stderr):
    print("from here on", file=stream, flush=True)
import tfvae, tfvae.plots
"""


def start(code, **environment):
    return subprocess.Popen(
        [sys.executable, "-W", "error::UserWarning", "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


@pytest.mark.slow
def test_import_is_silent_without_matplotlib_and_names_a_wrong_backend():
    # All at once: importing TensorFlow takes most of the time.
    processes = {
        "quiet": start(QUIET),
        "numpy": start("import tfvae", KERAS_BACKEND="numpy"),
        "jax": start("import tfvae", KERAS_BACKEND="jax"),
    }
    outputs = {name: process.communicate() for name, process in processes.items()}
    assert processes["quiet"].returncode == 0, outputs["quiet"]
    for output in outputs["quiet"]:
        assert output.split("from here on\n")[1] == ""
    for backend in ("numpy", "jax"):
        last_line = outputs[backend][1].strip().splitlines()[-1]
        assert processes[backend].returncode == 1
        assert last_line.startswith("ImportError: tfvae needs Keras on TensorFlow. Received:")
        assert backend in last_line
        assert "Set the environment variable KERAS_BACKEND=tensorflow" in last_line


@pytest.mark.parametrize(
    ("package", "version", "minimum"),
    [
        ("tensorflow", "2.19.1", "2.20"),
        ("keras", "3.10rc1", "3.11"),
        ("keras", "2.15.0", "3.11"),
        ("tensorflow-probability", "0.24.0.dev1", "0.25"),
    ],
)
def test_too_old_packages_are_named(monkeypatch, package, version, minimum):
    installed = {"tensorflow": "2.20.0", "keras": "3.11.0", "tensorflow-probability": "0.25.0"}
    monkeypatch.setattr(importlib.metadata, "version", {**installed, package: version}.get)
    with pytest.raises(ImportError) as error:
        _requirements._check_versions()
    assert str(error.value) == (
        f"tfvae needs {package} {minimum} or newer. Received: {package} {version}. "
        f'Run `pip install --upgrade "{package}>={minimum}"`.'
    )


def test_newer_versions_of_any_spelling_pass(monkeypatch):
    for version in ("3.11.0", "3.11rc1", "3.12-dev", "10.0", "4.0.0+cuda12"):
        monkeypatch.setattr(importlib.metadata, "version", lambda _, version=version: version)
        _requirements._check_versions()

    def missing(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    _requirements._check_versions()
