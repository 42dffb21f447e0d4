"""Several devices give what one gives: losses, logs, weights and slots."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.training.devices import CASES, LIVES
from tfvae.layers.rows import UnknownRows
from tfvae.objectives import ELBO
from tfvae.training.replicas import WHOLE, Shard

tfd = tfp.distributions

ROOT = pathlib.Path(__file__).parents[2]


# Whatever the rest of a batch does, noise and scores of a row are those of one device.
SHOWN = ("arrays",)
HALF = ("half precision",)
FURTHER = [name for name in CASES if name not in SHOWN + HALF]


def differences(number, names, rewrites=True):
    """Returns what `tests.training.devices` prints of some cases."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.devices", str(number), str(int(rewrites)), *names],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert list(found) == list(names), done.stderr
    return found


def assert_agree(found):
    for case, parts in found.items():
        assert list(parts) == ["logs", "variables", "optimizer"], (case, parts)
        assert all(value < 1e-5 for value in parts.values()), (case, parts)


@pytest.mark.slow
def test_two_devices_give_what_one_gives():
    assert_agree(differences(2, SHOWN))


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("first", range(0, len(FURTHER), 8))
def test_two_devices_give_what_one_gives_in_all_cases(first):
    assert_agree(differences(2, FURTHER[first : first + 8]))


@pytest.mark.slow
@pytest.mark.exhaustive
def test_three_devices_and_loops_give_what_one_gives():
    assert_agree(differences(3, ("arrays", "batches of one row")))


@pytest.mark.slow
@pytest.mark.exhaustive
def test_sums_of_half_precision_agree_to_its_rounding():
    (found,) = differences(2, HALF).values()
    assert all(value < 2**-11 for value in found.values()), found


@pytest.mark.slow
@pytest.mark.exhaustive
def test_runs_that_are_cut_and_files_go_from_several_devices_to_one_and_back():
    found = differences(2, tuple(LIVES), rewrites=False)
    assert all(value < 1e-5 for parts in found.values() for value in parts.values()), found
    assert found["resumed"]["weights"] == 0.0  # to the bit


@pytest.mark.parametrize("size", range(1, 8))
@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_each_row_is_that_of_one_device(size, number):
    rows = tf.range(size)
    shards = [Shard(size, r, number, lambda values: values) for r in range(number)]
    own = [np.asarray(shard.own(rows)) for shard in shards]
    assert all(1 <= len(part) <= max(-(-size // number), 1) for part in own)
    # What counts of each at its place, and zeros elsewhere.
    ones = [
        shard._among_all(tf.ones(len(part)), 0) for shard, part in zip(shards, own, strict=True)
    ]
    np.testing.assert_array_equal(tf.add_n(ones), np.ones(size))
    shares = [float(shard.share(tf.constant(1.0))) for shard in shards]
    assert sum(shares) == pytest.approx(1.0)


@pytest.mark.parametrize("repeats", [1, 3])
def test_draws_of_a_row_are_those_that_it_has_in_the_batch(repeats):
    """Rows of R draws of other nodes together, as a level that depends on them has them."""
    size, loc = 5, tf.random.stateless_normal([repeats, 5, 2], (0, 1))

    def posterior(loc):
        return tfd.MultivariateNormalDiag(tf.reshape(loc, [-1, 2]), tf.ones([2]))

    seed = tf.constant([3, 4])
    whole = ELBO().draw(posterior(loc), 2, seed)
    for replica in range(2):
        shard = Shard(size, replica, 2, lambda values: values)
        rows = slice(0, 2) if replica == 0 else slice(2, 5)
        found = shard.drawing(ELBO()).draw(posterior(loc[:, rows]), 2, seed)
        for value, of_all in ((found.z, whole.z), (found.log_q_z, whole.log_q_z)):
            expected = tf.reshape(of_all, [2, repeats, size, *of_all.shape[2:]])[:, :, rows]
            np.testing.assert_allclose(value, tf.reshape(expected, value.shape), rtol=1e-6)


def test_one_posterior_for_all_rows_is_drawn_for_all():
    q = tfd.MultivariateNormalDiag(tf.zeros(2), tf.ones(2))
    whole = ELBO().draw(q, 3 * 5, tf.constant([1, 2]))
    shard = Shard(5, 1, 2, lambda values: values)
    found = shard.drawing(ELBO()).draw(q, 3 * 3, tf.constant([1, 2]))
    expected = tf.reshape(tf.reshape(whole.z, [3, 5, 2])[:, 2:], [9, 2])
    np.testing.assert_array_equal(found.z, expected)


def test_what_is_not_known_of_all_rows_says_so():
    class Own(tfd.Distribution):
        def __init__(self):
            super().__init__(tf.float32, tfd.FULLY_REPARAMETERIZED, False, True)

        @classmethod
        def _parameter_properties(cls, dtype, num_classes=None):
            return {}

        def _batch_shape(self):
            return tf.TensorShape([3])

    found = Shard(3, 0, 2, lambda values: values)._of_all(Own())
    with pytest.raises(UnknownRows, match=r"compares the rows of a batch.*Received: Own"):
        found.mean()


def test_a_whole_batch_is_left_as_it_is():
    objective, x = ELBO(), tf.ones([3])
    assert WHOLE.drawing(objective) is objective
    assert all(f(x) is x for f in (WHOLE.own, WHOLE.part, WHOLE.share))
