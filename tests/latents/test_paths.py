import numpy as np
import pytest
import tensorflow as tf

from tests.analytic import LinearGaussian
from tests.kinds import kind
from tfvae.latents import codes, interpolate, spherical, straight

SHARES = tf.constant([0.0, 0.25, 1.0])


def test_lines_and_arcs_begin_and_end_where_they_should():
    start, end = (tf.random.stateless_normal([4, 3], [0, seed]) for seed in (1, 2))
    for path in (straight, spherical):
        found = path(start, end, SHARES)
        np.testing.assert_allclose(found[0], start, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found[-1], end, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        straight(start, end, SHARES)[1], 0.75 * start + 0.25 * end, rtol=1e-5
    )


def test_arcs_turn_evenly_and_keep_their_length():
    start, end = tf.constant([[2.0, 0.0]]), tf.constant([[0.0, 2.0]])
    found = spherical(start, end, tf.linspace(0.0, 1.0, 4))[:, 0]
    angles = np.radians([0.0, 30.0, 60.0, 90.0])
    expected = 2.0 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("end", [[[2.0, 0.0]], [[-1.0, 0.0]], [[0.0, 0.0]]])
def test_without_one_arc_the_line_is_taken(end):
    start = tf.constant([[1.0, 0.0]])
    found = spherical(start, tf.constant(end), SHARES)
    np.testing.assert_allclose(found, straight(start, tf.constant(end), SHARES), atol=1e-6)


def test_means_are_those_of_the_decoder_on_the_way():
    linear = LinearGaussian.random()
    vae, x = linear.vae(), linear.draw(6)
    way = interpolate(vae, x[:3], x[3:], num_steps=5)
    ends = linear.loc(x)
    expected = ends[:3] + np.linspace(0, 1, 5)[:, None, None] * (ends[3:] - ends[:3])
    np.testing.assert_allclose(way.z, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        way.means["x"], expected @ linear.w.T + linear.b, rtol=1e-3, atol=1e-4
    )


def test_the_context_of_the_start_holds_for_the_whole_way():
    model, data = kind("context_of_decoder")
    start, end = (
        {name: part[rows] for name, part in data.items()} for rows in (slice(3), slice(3, 6))
    )
    way = interpolate(model, start, end, path=spherical, num_steps=4)
    for step in range(4):
        expected = model.decode(way.z[step], start["context"]).mean()
        np.testing.assert_allclose(way.means["x"][step], expected, rtol=1e-5)
    np.testing.assert_allclose(way.z[-1], codes(model, end), rtol=1e-5, atol=1e-6)


def test_between_directions_all_points_are_directions():
    model, x = kind("directions")
    way = interpolate(model, x[:3], x[3:6], num_steps=4)
    np.testing.assert_allclose(np.linalg.norm(way.z[[0, -1]], axis=-1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(way.z, axis=-1), 1.0, rtol=1e-5)


def test_messages():
    model, x = kind("plain")
    with pytest.raises(ValueError, match=r"as many rows\. Received: 3 and 2"):
        interpolate(model, x[:3], x[:2])
    model, data = kind("mixture")
    with pytest.raises(ValueError, match="nothing between two categories, and the latents z "):
        interpolate(model, data[:2], data[2:4])


def test_a_way_by_name_is_refused():
    vae, x = LinearGaussian.random().vae(), LinearGaussian.random().draw(6)
    with pytest.raises(TypeError, match="Received: path='spherical'"):
        interpolate(vae, x[:3], x[3:], path="spherical")
