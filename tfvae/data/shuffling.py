"""Orders of rows that nobody holds: for data that is larger than memory."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfvae._config import check_count
from tfvae._typing import Tensor

__all__ = ["keyed_passes", "shuffled_rows"]

# `tf.random.experimental.index_shuffle` takes four, after which neighbours land side by side: the
# means of batches of 1,000 out of 2 million rows vary half as much again as those of random ones,
# out of 2^40 a hundred times as much. From eight on nothing is seen of it.
_ROUNDS = 16


def keyed_passes(make: Callable[[Tensor], tf.data.Dataset], *, seed: int = 0) -> tf.data.Dataset:
    """Returns a stream, each pass over which is made of a key of its own.

    All that is random about a pass is a function of its key, so that a run that was cut goes on in
    the pass where it was, and in the orders of those that follow, without reading what was before:
    `tfvae.callbacks.Checkpoint(..., keep_stream=True)`.

    The same seeds, this one and that of `keras.utils.set_random_seed`, give the same keys, pass by
    pass.

    Args:
        make: From a key, int64 `[2]`, to the stream of a pass. What shuffles in it takes the key
            for its seed: `tf.random.experimental.stateless_shuffle(files, key)`, or
            `.shuffle(1000, seed=key[0])`.
        seed: Of the keys.

    Returns:
        A stream of unknown length; `tf.data.experimental.assert_cardinality` tells it, where known.

    Example:
        >>> numbers = tf.data.Dataset.range(6)
        >>> x = tfvae.data.keyed_passes(lambda key: numbers.shuffle(6, seed=key[0]), seed=1)
        >>> one, other = ([int(number) for number in x] for _ in range(2))
        >>> sorted(one) == sorted(other), one == other
        (True, False)
    """

    def one_pass(key: Tensor) -> tf.data.Dataset:
        graph = tf.compat.v1.get_default_graph()
        if graph.seed == 0:
            # TensorFlow then asks whether both seeds of a shuffle are 0, before it knows a tensor.
            graph.seed = 1
        return make(key)

    keys = tf.data.Dataset.random(seed, rerandomize_each_iteration=True)
    return keys.batch(2, drop_remainder=True).take(1).flat_map(one_pass)


def shuffled_rows(num_rows: int, batch_size: int, *, seed: int = 0) -> tf.data.Dataset:
    """Returns a stream of the numbers of rows in batches, in a new order each time it is read.

        row[i] = p(i),  i = 0 ... N - 1,  p a permutation of the N rows, another one in each pass

    All orders of rows are drawn from, far or near, which a `shuffle` of few of them does not: p is
    a function of i and of a key, and nothing is held. `map` makes examples of the numbers, by
    whatever reads rows in any order: `tf.gather` from a memory-mapped file, a table of paths. Seeds
    and runs that were cut are those of `keyed_passes`.

    Args:
        num_rows: N.
        batch_size: Rows of each batch but the last, B.
        seed: Of the orders.

    Returns:
        Of each pass ceil(N / B) batches `[B]` of int64, each row once.

    Raises:
        ValueError: A number is smaller than 1.

    Example:
        >>> rows = tfvae.data.shuffled_rows(5, 2, seed=1)
        >>> one, other = (np.concatenate(list(rows)) for _ in range(2))
        >>> sorted(one.tolist()), one.tolist() == other.tolist()
        ([0, 1, 2, 3, 4], False)
        >>> x = tf.constant(np.random.default_rng(0).normal(size=[5, 3]))
        >>> [tuple(batch.shape) for batch in rows.map(lambda row: tf.gather(x, row))]
        [(2, 3), (2, 3), (1, 3)]

    Reference: The SIMON and SPECK Families of Lightweight Block Ciphers (Beaulieu et al., 2013),
    https://eprint.iacr.org/2013/404, by `tf.raw_ops.RandomIndexShuffle`.
    """
    num_rows, batch_size = check_count("num_rows", num_rows), check_count("batch_size", batch_size)
    last = tf.constant(num_rows - 1, tf.int64)

    def ordered(key: Tensor) -> tf.data.Dataset:
        def batch(first: Tensor) -> Tensor:
            places = tf.range(first, tf.minimum(first + batch_size, num_rows))
            return tf.raw_ops.RandomIndexShuffle(
                index=places, seed=tf.pad(key, [[1, 0]]), max_index=last, rounds=_ROUNDS
            )

        return tf.data.Dataset.range(0, num_rows, batch_size).map(batch)

    batches = keyed_passes(ordered, seed=seed)
    return batches.apply(tf.data.experimental.assert_cardinality(-(-num_rows // batch_size)))
