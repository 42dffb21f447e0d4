"""Two processes give what one device gives, each of them."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.evaluation.test_merging import numbers_of
from tests.training.test_replicas import assert_agree
from tfvae.evaluation import Part, merged

ROOT = pathlib.Path(__file__).parents[2]
UNSHARE = ["unshare", "-rn"]


def is_allowed():
    if shutil.which(UNSHARE[0]) is None:
        return False
    return not subprocess.run([*UNSHARE, "true"], capture_output=True).returncode


# TensorFlow's servers listen on all interfaces.
NETWORK_OF_ITS_OWN = pytest.mark.skipif(
    not is_allowed(), reason="needs a network of its own, by `unshare -rn`"
)


def differences(*names):
    done = subprocess.run(
        [*UNSHARE, sys.executable, "-m", "tests.training.workers", *names],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@NETWORK_OF_ITS_OWN
def test_two_workers_give_what_one_device_gives():
    for found in differences("arrays"):
        assert_agree(found)


@pytest.mark.slow
@pytest.mark.exhaustive
@NETWORK_OF_ITS_OWN
@pytest.mark.parametrize("names", [("several steps of a stream", "kind hierarchical")], ids=str)
def test_two_workers_give_what_one_device_gives_in_further_cases(names):
    for found in differences(*names):
        assert_agree(found)


@pytest.mark.slow
@pytest.mark.exhaustive
@NETWORK_OF_ITS_OWN
def test_where_a_worker_dies_the_other_ends_and_both_go_on_from_the_checkpoint(tmp_path):
    found = differences("kill", str(tmp_path / "run.tfvae"))
    assert found["code"] != 0
    first, second = found["losses"]
    assert first == second
    assert np.isfinite(first).all()


@pytest.mark.slow
@pytest.mark.exhaustive
@NETWORK_OF_ITS_OWN
def test_two_workers_share_an_evaluation_out(tmp_path):
    """Under a strategy, which tells each its share; to rounding, as with other threads."""
    assert differences("shares", str(tmp_path)) == [0, 1]
    for task in ("evidence", "ledger"):
        found = merged([Part.load(tmp_path / f"{task}-part-{index}") for index in range(2)])
        expected = merged([Part.load(tmp_path / f"{task}-all")])
        assert found.to_dict().keys() == expected.to_dict().keys()
        for name, value in numbers_of(expected, "").items():
            other = numbers_of(found, "")[name]
            if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                np.testing.assert_allclose(other, value, rtol=1e-5, atol=1e-5, err_msg=name)
