"""Several devices, and several processes, come to what one comes to."""

import importlib.util
import pathlib
import re
import subprocess
import sys

import pytest

from tests.training.test_workers import NETWORK_OF_ITS_OWN

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "examples" / "distributed"


def printed(name, *arguments):
    command = [sys.executable, str(FOLDER / f"{name}.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_two_devices_come_to_the_same_model():
    out = printed("several_devices", "--epochs", "2")
    assert "2 devices" in out
    losses, weights = re.findall(r"\d\.\de[-+]\d\d", out.splitlines()[-1])
    assert float(losses) < 1e-3
    assert float(weights) < 1e-4


@pytest.mark.slow
@NETWORK_OF_ITS_OWN
def test_two_processes_agree():
    assert printed("several_processes", "--epochs", "2").endswith("The workers agree.\n")


@pytest.mark.slow
@NETWORK_OF_ITS_OWN
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray Train: tfvae[ray]")
def test_a_run_whose_worker_was_killed_ends_as_one_without():
    out = printed("supervised", "--epochs", "2", "--killed-after", "20")
    assert max(map(len, out.splitlines())) <= 80
    assert re.search(r"^Worker 1, process \d+, was killed at update 20\.$", out, re.M)
    assert "from the checkpoint: 1 epochs are done." in out
    assert out.endswith("of both runs, of all workers, are equal to the bit.\n")
