import os
import subprocess
import sys

import pytest

from tests.examples.test_digits import ROOT

CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("TF_CPP")}


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "examples",
        env=CLEAN,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_the_first_line_is_that_of_the_example():
    done = run("import _quiet\nimport tensorflow as tf\nprint(int(tf.constant(1) + 1))")
    assert done.stdout == "2\n"


def test_errors_are_seen():
    done = run("import sys; sys.modules['tensorflow'] = None\nimport _quiet")
    assert done.returncode == 1
    assert "import of tensorflow halted" in done.stdout.splitlines()[-1]


def test_an_environment_that_asks_for_lines_is_left_alone(monkeypatch):
    monkeypatch.setitem(CLEAN, "TF_CPP_MIN_LOG_LEVEL", "0")
    done = run("import sys, os, _quiet\nprint('tensorflow' in sys.modules, os.environ)")
    assert done.stdout.startswith("False")
    assert "'TF_CPP_MIN_LOG_LEVEL': '0'" in done.stdout
