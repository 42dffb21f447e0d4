"""Other points of the data for each."""

import numpy as np
import pytest
import tensorflow as tf

from tests.evaluation.test_collapse import gaussian_vae
from tfvae.evaluation.partners import Pool
from tfvae.evaluation.streaming import Stream


@pytest.mark.parametrize(("points", "size"), [(2, 1), (2, 2), (3, 2), (50, 50), (120, 7), (250, 1)])
def test_other_points_are_never_the_point_itself(points, size):
    x = np.zeros((points, 6), "float32")
    x[:, 0] = np.arange(points)
    stream = Stream(gaussian_vae(), x, size)
    pool = Pool(stream, tf.constant([0, 1]))
    assert pool.num_points == points
    found, start = [], 0
    for batch, count in stream:
        others = pool.others(start, count, len(batch["x"]))["x"]
        assert others.shape == batch["x"].shape
        found += others[:count, 0].tolist()
        start += count
    assert np.all(np.array(found) != np.arange(points))
    if size >= points:
        assert sorted(found) == list(range(points))
    with pytest.raises(ValueError, match="At least two points"):
        Pool(Stream(gaussian_vae(), x[:1], 5), tf.constant([0, 1]))
