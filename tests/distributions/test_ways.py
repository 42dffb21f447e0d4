"""Lines, and arcs by both of their formulas."""

import numpy as np
import pytest
import tensorflow as tf

from tfvae.distributions.ways import arc, line

SHARES = tf.linspace(0.0, 1.0, 5)[:, None, None]
START, END = (tf.random.stateless_normal([4, 3], [0, seed]) for seed in (1, 2))


def test_arcs_are_those_of_the_formula_of_two_sines_on_their_way_between_lengths():
    a, b = START.numpy().astype("float64"), END.numpy().astype("float64")
    t = np.linspace(0.0, 1.0, 5)[:, None, None]
    lengths = [np.linalg.norm(end, axis=-1, keepdims=True) for end in (a, b)]
    a, b = a / lengths[0], b / lengths[1]
    w = np.arccos(np.sum(a * b, -1, keepdims=True))
    expected = (np.sin((1 - t) * w) * a + np.sin(t * w) * b) / np.sin(w)
    expected *= (1 - t) * lengths[0] + t * lengths[1]
    found, is_there = arc(START, END, SHARES)
    assert np.all(is_there)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("angle", [1e-2, 1.0, 3.0, 3.14, 3.1413])
def test_arcs_never_leave_the_lengths_of_their_ends(angle):
    start, end = tf.constant([[3.0, 0.0]]), 5.0 * tf.constant([[np.cos(angle), np.sin(angle)]])
    found, is_there = arc(start, tf.cast(end, tf.float32), SHARES)
    assert np.all(is_there)
    lengths = np.linalg.norm(found, axis=-1)[:, 0]
    np.testing.assert_allclose(lengths, np.linspace(3.0, 5.0, 5), rtol=1e-4)


@pytest.mark.parametrize("factor", [0.0, 3.0, -2.0])
def test_of_one_line_there_is_no_arc_and_nothing_is_infinite(factor):
    for start, end in ((START, factor * START), (factor * START, START)):
        found, is_there = arc(start, end, SHARES)
        assert not np.any(is_there)
        assert np.all(np.isfinite(found))


def test_lines():
    np.testing.assert_allclose(line(START, END, 0.25), 0.75 * START + 0.25 * END, rtol=1e-6)
