"""Several devices, and several processes, come to what one comes to."""

import pathlib
import re
import subprocess
import sys

import pytest

from tests.training.test_workers import NETWORK_OF_ITS_OWN

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "examples" / "distributed"


def printed(name, *arguments):
    command = [sys.executable, str(FOLDER / f"{name}.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
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
