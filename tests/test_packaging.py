"""The distribution files: what is in them, and that the wheel alone works."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import tfvae

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


@pytest.mark.slow
def test_wheel_and_sdist_hold_the_package(distributions):
    wheel, sdist = distributions
    assert wheel.name == f"tfvae-{tfvae.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith("/METADATA"))
        text = archive.read(metadata).decode()
    assert {"tfvae/py.typed", "tfvae/__init__.py", "tfvae/models/vae.py"} <= set(names)
    assert "tfvae/reporting/page.html.j2" in names
    assert not [name for name in names if name.startswith(("tests", "examples", "benchmarks"))]
    assert "License-Expression: Apache-2.0" in text
    assert "Requires-Python: >=3.11" in text
    for extra in ("examples", "report", "test", "benchmarks", "dev"):
        assert f"Provides-Extra: {extra}\n" in text
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    assert {"tfvae/py.typed", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"} <= names


@pytest.mark.slow
@pytest.mark.exhaustive
def test_wheel_alone_works(distributions, tmp_path):
    wheel, _ = distributions
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    subprocess.run([*install, str(site), str(wheel)], check=True, capture_output=True)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import keras, tfvae;"
        "assert tfvae.__file__.startswith(sys.argv[1]), tfvae.__file__;"
        "print(tfvae.__version__, tfvae.layers.IndependentNormal(2)"
        "(keras.ops.zeros((3, 4))).mean().shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(site)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert done.stdout.strip() == f"{tfvae.__version__} (3, 2)"
