"""The program of the migration guide runs, trains, and gives what it says."""

import re
from pathlib import Path

import numpy as np
import pytest

import tfvae

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.slow
def test_the_tutorial_runs_and_trains():
    text = (DOCS / "migrating_from_tfp_layers.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names = {}
    exec(compile(program, "migrating_from_tfp_layers.md", "exec"), names)
    loss = names["history"].history["loss"]
    assert loss[-1] < loss[0]
    assert np.all(np.isfinite(loss))
    assert names["xhat"].batch_shape == 10
    assert names["samples"].shape == (10, 8, 8, 1)


def test_the_table_of_layers_is_complete():
    table = (DOCS / "layers.md").read_text()
    rows = re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == {*tfvae.layers.__all__, *tfvae.flows.__all__} - {"Flow"}
