"""What the benchmark of layers reports, for one family and one round."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfvae import layers

FOLDER = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(FOLDER))
# By its path: the package has a module of this name too.
_spec = importlib.util.spec_from_file_location("layers_benchmark", FOLDER / "layers.py")
benchmark = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(benchmark)


def test_reports_ratios_of_both_operations(tmp_path, capsys):
    output = tmp_path / "layers.json"
    arguments = ["--only", "IndependentNormal", "--rounds", "2", "--block", "0.001"]
    result = benchmark.main([*arguments, "--output", str(output)])
    row = result["families"]["IndependentNormal"]
    for name in ("log_prob", "sample"):
        assert 0.0 < row[name]["min"] <= row[name]["median"] <= row[name]["max"]
    assert json.loads(output.read_text())["families"] == result["families"]
    printed = capsys.readouterr().out
    assert "IndependentNormal" in printed
    assert max(map(len, printed.splitlines())) <= 80


@pytest.mark.slow
def test_both_sides_score_alike():
    """The bare distribution is the layer's own, and not a cheaper one."""
    for layer, (args, make) in benchmark.FAMILIES.items():
        ours = layer(*args)
        size = ours.params_size(*args)
        params = tf.constant(np.random.default_rng(0).normal(size=(3, size)), tf.float32)
        p, bare = ours(params).tensor_distribution, make(params)
        x = p.sample(seed=[0, 1])
        if layer is layers.IndependentBeta:
            x = tf.clip_by_value(x, 1e-3, 1.0 - 1e-3)  # at its ends it has more to say than TFP's
        bare_x = tf.round(x * 255.0) if layer is layers.DiscretizedLogistic else x
        np.testing.assert_allclose(
            p.log_prob(x), bare.log_prob(bare_x), rtol=2e-3, atol=2e-2, err_msg=layer.__name__
        )
