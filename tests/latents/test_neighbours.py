import numpy as np
import pytest
import tensorflow as tf

from tests.kinds import kind
from tfvae.latents import nearest_neighbours


def test_are_those_of_all_pairs_whatever_the_batches():
    model, x = kind("plain")
    samples = np.random.default_rng(1).random((5, 6))
    distances = np.linalg.norm(samples[:, None] - x, axis=-1)
    order = np.argsort(distances, axis=1, kind="stable")[:, :3]
    for data in (x, tf.data.Dataset.from_tensor_slices(x).batch(5)):
        found = nearest_neighbours(model, samples, data, num_neighbours=3, batch_size=4)
        np.testing.assert_array_equal(found.rows, order)
        np.testing.assert_allclose(found.distances, np.take_along_axis(distances, order, axis=1))
        np.testing.assert_array_equal(found.parts["x"], x[order])


def test_missing_entries_count_for_nothing():
    model, _ = kind("with_gaps")
    rows = np.array(
        [[1, np.nan, 0, 0, np.nan, 0], [0, 0, 0, 0, 0, 0], np.full(6, np.nan)], "float32"
    )
    found = nearest_neighbours(model, np.ones([1, 6]), rows, num_neighbours=3)
    assert found.rows.tolist() == [[0, 1, 2]]
    # Three of four entries are off by one, in proportion 4.5 of six; six of six; and nothing.
    np.testing.assert_allclose(found.distances[0], [np.sqrt(4.5), np.sqrt(6.0), np.inf])
    np.testing.assert_array_equal(found.parts["x"][0], rows)


def test_entries_that_samples_lack_count_for_nothing_either():
    model, x = kind("with_gaps")
    found = nearest_neighbours(model, x, x, num_neighbours=12)
    apart = np.full((12, 12), np.inf)
    for i, j in np.ndindex(12, 12):
        both = ~np.isnan(x[i]) & ~np.isnan(x[j])
        if both.any():
            apart[i, j] = np.sqrt(np.sum((x[i] - x[j])[both] ** 2) * 6 / both.sum())
    np.testing.assert_allclose(found.distances, np.sort(apart, axis=1), atol=1e-6)


def test_samples_of_another_shape_are_told():
    model, x = kind("plain")
    with pytest.raises(ValueError, match=r"^`x` does not have the shape.*\[batch, 6\].*\[12, 3\]"):
        nearest_neighbours(model, x[:, :3], x)


def test_several_nodes_are_compared_together():
    model, data = kind("tables")
    samples = {"image": data["image"][:2], "size": data["size"][:2]}
    found = nearest_neighbours(model, samples, data)
    assert found.rows.tolist() == [[0], [1]]
    np.testing.assert_allclose(found.distances, 0.0, atol=1e-6)
    np.testing.assert_allclose(found.parts["size"][:, 0], data["size"][:2], rtol=1e-6)
    with pytest.raises(ValueError, match="Missing: size"):
        nearest_neighbours(model, {"image": data["image"]}, data)


def test_there_must_be_as_many_rows():
    model, x = kind("plain")
    with pytest.raises(ValueError, match="3 rows, num_neighbours=4"):
        nearest_neighbours(model, x, x[:3], num_neighbours=4)
