"""Lines, and arcs by both of their formulas."""

import numpy as np
import pytest
import tensorflow as tf

from tfvae.distributions.ways import arc, line

SHARES = tf.linspace(0.0, 1.0, 5)[:, None, None]
START, END = (tf.random.stateless_normal([4, 3], [0, seed]) for seed in (1, 2))


def test_arcs_of_any_length_are_those_of_the_formula_of_two_sines():
    a, b = START.numpy().astype("float64"), END.numpy().astype("float64")
    t = np.linspace(0.0, 1.0, 5)[:, None, None]
    cosine = np.sum(a * b, -1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    w = np.arccos(cosine)[:, None]
    expected = (np.sin((1 - t) * w) * a + np.sin(t * w) * b) / np.sin(w)
    found, is_there = arc(START, END, SHARES)
    assert np.all(is_there)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("factor", [0.0, 3.0, -2.0])
def test_of_one_line_there_is_no_arc_and_nothing_is_infinite(factor):
    for start, end in ((START, factor * START), (factor * START, START)):
        found, is_there = arc(start, end, SHARES)
        assert not np.any(is_there)
        assert np.all(np.isfinite(found))


def test_lines():
    np.testing.assert_allclose(line(START, END, 0.25), 0.75 * START + 0.25 * END, rtol=1e-6)
