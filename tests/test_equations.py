"""The table of equations names tests and public names that exist."""

import importlib
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TABLE = (ROOT / "docs" / "equations.md").read_text()


def test_every_test_named_exists():
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", TABLE)
    assert len(named) > 20
    for path, function in named:
        source = (ROOT / path).read_text()
        assert not function or f"def {function}(" in source, f"{path}::{function}"


def test_every_public_name_exists():
    named = set(re.findall(r"`(tfvae(?:\.\w+)+)", TABLE))
    assert len(named) > 15
    for name in named:
        owner, parts = importlib.import_module("tfvae"), name.split(".")[1:]
        for part in parts:
            assert hasattr(owner, part), name
            owner = getattr(owner, part)


def test_rows_without_a_test_say_that_they_are_open():
    rows = [line for line in TABLE.splitlines() if re.match(r"\| [A-E]\d+ \|", line)]
    assert len(rows) == 10 + 10 + 6 + 3 + 8
    for row in rows:
        assert "`tests/" in row or "the same" in row or "open" in row, row
