"""Where iterators of streams stand: kept as bytes, put back, refused where that cannot be."""

import numpy as np
import pytest
import tensorflow as tf

from tfvae.data import keyed_passes, shuffled_rows
from tfvae.training.streams import Stream, state_of, take_steps


def records(folder):
    for shard in range(3):
        with tf.io.TFRecordWriter(str(folder / f"{shard}")) as file:
            for row in range(5):
                file.write(bytes([shard, row]))
    files = tf.constant([str(folder / f"{shard}") for shard in range(3)])

    def one_pass(key):
        shards = tf.random.experimental.stateless_shuffle(files, key)
        shards = tf.data.Dataset.from_tensor_slices(shards)
        return shards.interleave(tf.data.TFRecordDataset, cycle_length=2).shuffle(4, seed=key[0])

    rows = keyed_passes(one_pass, seed=2).map(
        lambda row: tf.io.decode_raw(row, tf.uint8), num_parallel_calls=2, deterministic=True
    )
    return rows.batch(4).prefetch(2)


STREAMS = {
    "rows": lambda folder: shuffled_rows(15, 4),
    "shuffle": lambda folder: tf.data.Dataset.range(15).shuffle(6, seed=1).batch(4),
    "same in all passes": lambda folder: tf.data.Dataset.range(15).batch(4),
    "records": records,
    "cache": lambda folder: tf.data.Dataset.range(15).cache().shuffle(6, seed=1).batch(4),
    "more than there is": lambda folder: tf.data.Dataset.range(15).shuffle(99, seed=1).batch(4),
    "cached": lambda folder: tf.data.Dataset.range(15).shuffle(6, seed=1).cache().batch(4),
    "in parallel": lambda folder: (
        tf.data.Dataset.range(15)
        .shuffle(6, seed=1)
        .map(lambda row: 2 * row, num_parallel_calls=4, deterministic=True)
        .batch(4, num_parallel_calls=2, deterministic=True)
    ),
    "unknown length": lambda folder: shuffled_rows(15, 4).filter(lambda rows: rows[0] != 3),
    "Python": lambda folder: shuffled_rows(15, 4).map(
        lambda rows: tf.numpy_function(lambda x: 2 * x, [rows], tf.int64)
    ),
}


def rest(iterator):
    return [batch.tolist() for batch in map(np.asarray, iterator)]


@pytest.mark.slow
@pytest.mark.each_case
@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("read", [0, 2, 3])
def test_a_stream_goes_on_from_where_another_stood(name, read, tmp_path):
    """In its second pass, after some or all of its batches or before it; and so do the next."""
    plain, one, other = (STREAMS[name](tmp_path) for _ in range(3))
    expected = [rest(iter(plain)) for _ in range(4)]
    first, again = Stream(one, None), Stream(other, None)

    def read_on(stream, data):
        iterator = iter(data)
        stream.see(iterator)
        return iterator

    assert rest(read_on(first, one)) == expected[0]
    state = None if read else first.state(is_within=False)
    stood = read_on(first, one)
    for _ in range(read):
        next(stood)
    again.go_back(state or first.state(is_within=True))
    assert rest(read_on(again, other)) == rest(stood) == expected[1][read:]
    # What is kept is no part of what comes.
    for stream, data in ((first, one), (again, other)):
        assert [rest(read_on(stream, data)) for _ in range(2)] == expected[2:]


def test_the_state_of_rows_does_not_grow_with_their_number():
    for num_rows in (10**3, 10**12):
        iterator = iter(shuffled_rows(num_rows, 10))
        next(iterator)
        assert sum(part.size for part in state_of(iterator)) < 5000


def generated():
    return tf.data.Dataset.from_generator(
        lambda: iter([1.0, 2.0]), output_signature=tf.TensorSpec([])
    )


def test_what_cannot_be_kept_is_told():
    iterator = iter(generated())
    next(iterator)
    for wrong in (iterator, iter([1, 2])):
        with pytest.raises(ValueError, match=r"needs a stream whose place .* again from its begin"):
            state_of(wrong)
    stream = Stream(generated(), None)
    with pytest.raises(ValueError, match="GeneratorDataset does not support"):
        take_steps(Model(), next, iter(generated()), 0, stream)


def test_only_streams_whose_epochs_are_known_are_kept():
    rows = tf.data.Dataset.range(8).batch(2)
    with pytest.raises(ValueError, match=r"Received: ndarray\."):
        Stream(np.zeros(3), None)
    with pytest.raises(ValueError, match=r"one with steps_per_epoch=2\. Leave that"):
        Stream(rows.repeat(), 2)
    with pytest.raises(ValueError, match="that repeats within a pass"):
        Stream(rows.repeat(2).map(lambda x: x), None)
    with pytest.raises(ValueError, match="that goes on with another"):
        Stream(rows.concatenate(rows.shuffle(3, seed=0)), None)
    with pytest.raises(ValueError, match=r"in one place.* Received: 2, Random, Shuffle\. Put all"):
        Stream(shuffled_rows(8, 2).unbatch().shuffle(3, seed=0).batch(2), None)
    Stream(keyed_passes(lambda key: rows.shuffle(3, seed=key[0]).repeat(2)), None)


class Model:
    steps_per_execution = 3


def test_a_call_takes_what_is_not_done():
    taken = []

    def call(iterator):
        batches = [next(iterator) for _ in range(model.steps_per_execution)]
        taken.append([int(batch) for batch in batches])
        return "logs"

    model, numbers = Model(), iter(tf.data.Dataset.range(9))
    assert take_steps(model, call, numbers, 3, None) is None
    assert take_steps(model, call, numbers, 2, None) == "logs"
    assert taken == [[5]]
    assert model.steps_per_execution == 3
    # One that stands there already is not read.
    stream = Stream(tf.data.Dataset.range(9), None)
    assert take_steps(model, call, numbers, 3, stream) is None
    assert take_steps(model, call, numbers, 0, stream) == "logs"
    assert taken[1:] == [[6, 7, 8]]
    with pytest.raises(StopIteration):
        take_steps(model, call, numbers, 1, None)
    assert rest(numbers) == []
    assert stream.state(is_within=True)["now"]
