import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from tfvae import datasets

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "saved_models"
KEPT = FOLDER / "digits_small"

# Runs with TensorFlow alone; see `tests/examples/test_digits.py`.
SCORE = """
import json, sys
absent = "tfvae", "keras", "tf_keras", "tensorflow_probability", "sklearn", "scipy", "matplotlib"
sys.modules.update(dict.fromkeys(absent))
import numpy as np
import tensorflow as tf

folder, digits, num_samples, *seed = sys.argv[1:]
x = tf.constant(np.load(digits))
request = {"x": x, "num_samples": tf.constant(int(num_samples))}
request["seed"] = tf.constant([int(part) for part in seed])
served = tf.saved_model.load(folder).signatures
scores = {name: served[name](**request)[name].numpy().tolist() for name in ("elbo", "log_prob")}
p = served["serving_default"](x=x)["reconstruction"].numpy().astype(np.float64)
log_p = np.log(np.where(x.numpy() > 0.5, p, 1.0 - p)).sum(axis=(1, 2, 3))
print(json.dumps({**scores, "log_p_x_given_z_mean": log_p.tolist()}))
"""


@pytest.fixture(scope="module")
def recorded():
    return json.loads((KEPT / "scores.json").read_text())


@pytest.fixture(scope="module")
def computed(recorded, tmp_path_factory):
    digits = tmp_path_factory.mktemp("digits") / "x.npy"
    np.save(digits, datasets.digits().x_test[: recorded["num_points"]])
    arguments = [KEPT / "1", digits, recorded["num_samples"], *recorded["seed"]]
    command = [sys.executable, "-c", SCORE, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# The tolerance is that of sums of 64 logarithms in float32; draws of one seed are the same draws.
@pytest.mark.slow
@pytest.mark.parametrize("name", ["log_p_x_given_z_mean", "elbo", "log_prob"])
def test_kept_model_scores_as_recorded(recorded, computed, name):
    np.testing.assert_allclose(computed[name], recorded["per_point"][name], rtol=0, atol=1e-3)
    np.testing.assert_allclose(np.mean(computed[name]), recorded["mean"][name], rtol=0, atol=1e-3)


def test_kept_model_is_a_good_one(recorded):
    """Independent pixels, at their frequencies in training, have -23.2 nats on these digits."""
    assert recorded["mean"]["elbo"] < recorded["mean"]["log_prob"]
    assert recorded["mean"]["log_prob"] > -18.0


def test_kept_model_is_small():
    assert sum(path.stat().st_size for path in KEPT.rglob("*") if path.is_file()) < 2e6


def test_readme_shows_the_command_that_made_the_model(recorded):
    readme = (FOLDER / "README.md").read_text().replace("\\\n    ", "")
    assert recorded["command"] in readme
