"""Sums of what is logged, as Keras's metrics would have them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfvae.training.logs import Logs

LOSSES = [2.0, -1.0, 0.5]
VALUES = [np.array(x, "float32") for x in ([1.0, 2.0, 3.0], [0.25, -4.0], [7.0])]
WEIGHTS = [np.array(x, "float32") for x in ([1.0, 0.0, 2.0], [0.5, 0.5], [3.0])]


@pytest.mark.parametrize("weighted", [False, True])
def test_sums_are_those_of_metrics_to_the_bit(weighted):
    names = ("loss", "elbo", "silent")
    ours, theirs = ({name: keras.metrics.Mean(name=name) for name in names} for _ in range(2))
    logs = Logs(ours)
    sums = logs.begin()
    for loss, values, weight in zip(LOSSES, VALUES, WEIGHTS, strict=True):
        weight = weight if weighted else None
        size = tf.constant(len(values))
        sums = logs.add(sums, tf.constant(loss), {"elbo": tf.constant(values)}, size, weight)
        theirs["loss"].update_state(loss, sample_weight=len(values))
        theirs["elbo"].update_state(values, sample_weight=weight)
        assert float(logs.points(sums)) == float(theirs["loss"].count)
    assert float(ours["loss"].count) == 0.0
    logs.end(sums)
    for name in names:
        assert float(ours[name].result()) == float(theirs[name].result())
        assert float(ours[name].count) == float(theirs[name].count)
    # A second loop goes on where the first one stopped.
    np.testing.assert_array_equal(logs.begin(), sums)
