"""What benchmarks of steps have in common."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import steps

SCRIPT = """
import json, sys
assert sys.argv[3:] == ["--batch=8"], sys.argv
print("a library prints")
print(json.dumps({"small": 1.0, "large": 2.0}[sys.argv[2]]))
"""


def test_each_case_has_a_process_of_its_own(tmp_path):
    script = tmp_path / "benchmark.py"
    script.write_text(SCRIPT)
    found = steps.of_each_alone(str(script), ["large", "small"], ["--batch=8"])
    assert found == {"large": 2.0, "small": 1.0}
    with pytest.raises(RuntimeError, match="KeyError: 'other'"):
        steps.of_each_alone(str(script), ["other"], ["--batch=8"])
