"""Seeds from whatever users write to the int32 pairs that stateless sampling takes."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae import _random
from tfvae._random import (
    fold_in,
    next_seed,
    split_seed,
    standard_normal,
    standard_uniform,
    stateless_seed,
)


@pytest.mark.parametrize(
    ("seed", "pair"),
    [
        (0, [0, 0]),
        (7, [7, 0]),
        (2**31, [-(2**31), 0]),
        (2**32 + 5, [5, 1]),
        (-1, [-1, -1]),
        (np.int64(7), [7, 0]),
        (np.int64(2**40), [0, 256]),
        (np.array(2**40), [0, 256]),
        (tf.constant(2**40, tf.int64), [0, 256]),
        (np.uint64(2**63), [0, -(2**31)]),
        (np.int64(-1), [-1, -1]),
        (-(2**63), [0, -(2**31)]),
        ([3, 4], [3, 4]),
        ((3, 4), [3, 4]),
        ([7], [7, 0]),
        ([-1, 2**31 - 1], [-1, 2**31 - 1]),
        (np.array([3, 4], "int64"), [3, 4]),
        (tf.constant([3, 4]), [3, 4]),
        (tf.constant(7), [7, 0]),
    ],
)
def test_integers_and_pairs_become_int32_pairs(seed, pair):
    found = stateless_seed(seed)
    assert found.dtype == tf.int32
    assert found.shape == (2,)
    np.testing.assert_array_equal(found, pair)


def test_no_bit_of_a_large_seed_is_without_effect():
    whole = [2**bit for bit in range(200)]
    pairs = [[2**bit, 0] for bit in range(63)] + [[0, 2**bit] for bit in range(63)]
    seeds = [*whole, *(-value for value in whole), *pairs, [2**40, 2**40]]
    seeds += [np.array([2**40, 7]), tf.constant([7, 2**40], tf.int64)]
    found = [tuple(stateless_seed(seed).numpy()) for seed in seeds]
    # Two pairs of int32 are ints as well: [2**31, 0] is no such pair, 2**32 is [0, 1]. And 2**63
    # and -(2**63) have the same bits.
    assert len(set(found)) == len(found) - 2 * 31 - 1


@pytest.mark.parametrize("seed", [1.5, "a", [1, 2, 3], [1.0, 2.0], [[1, 2], [3, 4]], []])
def test_anything_else_is_refused(seed):
    with pytest.raises(
        ValueError, match=r"`seed` must be an int or a pair of ints. Received: seed"
    ):
        stateless_seed(seed)


def test_generators_advance_and_can_be_rewound():
    generator = keras.random.SeedGenerator(3)
    start = generator.state.numpy()
    seeds = [next_seed(generator).numpy() for _ in range(5)]
    assert all(seed.dtype == np.int32 and seed.shape == (2,) for seed in seeds)
    assert len({tuple(seed) for seed in seeds}) == 5
    generator.state.assign(start)
    np.testing.assert_array_equal([next_seed(generator) for _ in range(5)], seeds)
    # In a graph as in eager code.
    generator.state.assign(start)
    compiled = tf.function(lambda: next_seed(generator))
    np.testing.assert_array_equal([compiled() for _ in range(5)], seeds)


def test_folding_gives_seeds_of_their_own():
    seed = stateless_seed(3)
    folded = [tuple(fold_in(seed, i).numpy()) for i in range(20)]
    assert len(set(folded)) == 20
    assert tuple(fold_in(seed, tf.constant(7, tf.int64)).numpy()) == folded[7]
    assert tuple(fold_in(stateless_seed(4), 7).numpy()) != folded[7]
    # Streams of two folded seeds are independent: correlation within 5 standard errors of zero.
    draws = [tf.random.stateless_normal([4000], fold_in(seed, i)) for i in range(2)]
    assert abs(np.corrcoef(draws)[0, 1]) <= 5 / np.sqrt(4000)


@pytest.mark.xla
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("shape", [[], [0], [1], [7, 3], [2, 1, 4]])
def test_normal_draws_are_tensorflows_with_and_without_xla(shape, dtype):
    def draw(shape):
        return standard_normal(shape, stateless_seed(5), dtype)

    expected = tf.random.stateless_normal(shape, stateless_seed(5), dtype=dtype, alg="philox")
    of_any_shape = tf.function(draw, input_signature=[tf.TensorSpec([None], tf.int32)])
    of_xla = tf.function(draw, jit_compile=True)(shape)
    for found in (draw(shape), of_any_shape(tf.constant(shape, "int32")), of_xla):
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(
            *(tf.cast(value, "float64") for value in (found, expected)),
            rtol=0.02 if "16" in dtype else 1e-5,
            atol=2e-6,
        )


@pytest.mark.xla
def test_uniform_draws_and_seeds_are_tensorflows_with_and_without_xla():
    def draw(seed):
        one, other = split_seed(seed, 2, salt="one")
        return standard_uniform([3, 7], one), other

    seeds = tfp.random.split_seed(stateless_seed(5), 2, salt="one")
    expected = tf.random.stateless_uniform([3, 7], seeds[0], alg="philox"), seeds[1]
    for way in (draw, tf.function(draw, jit_compile=True)):
        for found, right in zip(way(stateless_seed(5)), expected, strict=True):
            np.testing.assert_array_equal(found, right)


@pytest.mark.xla
def test_a_million_normal_draws_of_xla_are_those_without():
    """XLA's own are others from some number on."""

    def draw(seed):
        return standard_normal([1000, 1001], seed)

    found = tf.function(draw, jit_compile=True)(stateless_seed(5))
    np.testing.assert_allclose(found, draw(stateless_seed(5)), rtol=0.0, atol=5e-6)
    assert scipy.stats.kstest(np.ravel(found), "norm").pvalue > 1e-3


def test_all_uniform_numbers_become_finite_normal_ones():
    turns = tf.range(2**23, dtype=tf.float32) / 2**23
    for phase in (0.0, 0.25):
        expected = np.sin(2.0 * np.pi * (turns.numpy().astype("float64") + phase))
        np.testing.assert_allclose(_random._sine(turns + phase), expected, rtol=0.0, atol=3e-7)
