"""Numbers of rows in new orders: permutations, the same for a seed, of any number of rows."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tfvae.data import keyed_passes, shuffled_rows


def passes(rows, times=3):
    return [np.concatenate(list(rows.as_numpy_iterator())) for _ in range(times)]


@pytest.mark.parametrize(
    ("num_rows", "batch_size"), [(1, 1), (1, 4), (2, 1), (7, 3), (8, 4), (257, 100)]
)
def test_each_pass_has_each_row_once(num_rows, batch_size):
    rows = shuffled_rows(num_rows, batch_size)
    assert rows.element_spec.dtype == tf.int64
    sizes = [len(batch) for batch in rows]
    assert len(sizes) == int(rows.cardinality())
    assert sizes[:-1] == [batch_size] * (len(sizes) - 1)
    for order in passes(rows):
        np.testing.assert_array_equal(np.sort(order), np.arange(num_rows))


def test_a_seed_gives_its_orders_pass_by_pass():
    found, again = (passes(shuffled_rows(50, 8, seed=3)) for _ in range(2))
    np.testing.assert_array_equal(found, again)
    other = passes(shuffled_rows(50, 8, seed=4))
    orders = {tuple(order) for order in [*found, *other]}
    assert len(orders) == 6
    # How rows are put into batches is no part of their order.
    np.testing.assert_array_equal(found, passes(shuffled_rows(50, 20, seed=3)))


def test_all_orders_of_few_rows_come_alike():
    """All six of three rows, by counts of 180 passes, of which five are free."""
    rows = shuffled_rows(3, 3, seed=1).repeat(180)
    found = [tuple(order) for order in rows.as_numpy_iterator()]
    counts = np.array([found.count(order) for order in itertools.permutations(range(3))])
    assert counts.sum() == 180
    assert stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("num_rows", [2_000_000, 2**40])
def test_batches_of_more_rows_than_can_be_held_are_random_ones(num_rows):
    """Neither their means nor what follows on what tells them from draws without an order."""
    batches = shuffled_rows(num_rows, 1000, seed=2).take(100)
    places = np.stack(list(batches.as_numpy_iterator())) / num_rows
    assert stats.kstest(places.ravel(), "uniform").pvalue > 1e-4
    means = (places.mean(axis=1) - 0.5) * np.sqrt(12.0 * 1000)
    assert stats.kstest(means, "norm").pvalue > 1e-4
    after = np.corrcoef(places.ravel()[:-1], places.ravel()[1:])[0, 1]
    assert abs(after) < 5.0 / np.sqrt(places.size)


@pytest.mark.parametrize("seed", [None, 0, 3])
def test_passes_are_functions_of_their_keys_under_any_seed_of_all(seed):
    """Also under 0, with which TensorFlow compares seeds that are not known yet."""
    tf.random.set_seed(seed)
    files = tf.constant(["a", "b", "c"])

    def one_pass(key):
        shards = tf.random.experimental.stateless_shuffle(files, key)
        shards = tf.data.Dataset.from_tensor_slices(shards)
        return shards.map(lambda name: (name, key)).shuffle(2, seed=key[0])

    found, again = (
        [[(name, tuple(key)) for name, key in each.as_numpy_iterator()] for each in [x] * 3]
        for x in (keyed_passes(one_pass, seed=1), keyed_passes(one_pass, seed=1))
    )
    assert found == again
    assert all(sorted(name for name, _ in each) == [b"a", b"b", b"c"] for each in found)
    assert len({key for each in found for _, key in each}) == 3


@pytest.mark.parametrize("wrong", [{"num_rows": 0}, {"batch_size": 0}, {"batch_size": 2.5}])
def test_what_is_no_number_of_rows_is_refused(wrong):
    name = next(iter(wrong))
    with pytest.raises((TypeError, ValueError), match=f"{name}.*{wrong[name]}"):
        shuffled_rows(**{"num_rows": 4, "batch_size": 2, **wrong})
