import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import slow_but
from tests.kinds import kind
from tfvae.latents import traversals


def linear_vae(weights, scale=1.0):
    """A VAE of which the posterior mean is the first two columns of x, and x's mean W z."""
    size = len(weights)
    encoder = keras.Sequential(
        [keras.Input((size,)), keras.layers.Dense(4), tfvae.layers.MultivariateNormalDiag(2)]
    )
    decoder = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(2 * size), tfvae.layers.IndependentNormal(size)]
    )
    vae = tfvae.VAE(encoder, decoder, seed=0)
    kernel = np.zeros((size, 4), "float32")
    kernel[0, 0] = kernel[1, 1] = scale
    encoder.layers[0].set_weights([kernel, np.array([0, 0, -9, -9], "float32")])
    both = np.concatenate([np.transpose(weights), np.zeros((2, size))], axis=1)
    decoder.layers[0].set_weights([both.astype("float32"), np.zeros(2 * size, "float32")])
    return vae


def test_one_dimension_moves_between_its_percentiles_and_the_others_stay():
    weights = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]])
    vae = linear_vae(weights)
    x = np.random.default_rng(0).normal(size=(200, 3)).astype("float32")
    x[:, 1] *= 2.0
    wide, narrow = traversals(vae, x, start=3, num_steps=5)
    assert (wide.name, narrow.name) == ("z[1]", "z[0]")
    assert wide.spread == pytest.approx(x[:, 1].std(), rel=1e-5)
    for way, moved in ((wide, 1), (narrow, 0)):
        ends = np.quantile(x[:, moved], [0.01, 0.99])  # the posteriors are narrow
        np.testing.assert_allclose(way.values, np.linspace(*ends, 5), atol=2e-3)
        np.testing.assert_allclose(way.z[:, moved], way.values, rtol=1e-5)
        np.testing.assert_allclose(way.z[:, 1 - moved], x[3, 1 - moved], rtol=1e-5)
        np.testing.assert_allclose(way.means["x"], way.z @ weights.T, rtol=1e-4, atol=1e-5)


def test_what_does_not_move_with_x_is_left_out():
    vae = linear_vae(np.eye(3)[:, :2], scale=0.09)  # variances below 0.01
    x = np.random.default_rng(0).normal(size=(50, 3)).astype("float32")
    x[:, 1] *= 4.0
    assert [way.name for way in traversals(vae, x)] == ["z[1]"]
    assert traversals(vae, x[:1]) == []
    assert len(traversals(linear_vae(np.eye(3)[:, :2]), x, most=1)) == 1


@pytest.mark.slow
def test_categories_take_all_their_states():
    model, data = kind("semi_supervised")
    ways = {way.name: way for way in traversals(model, data, num_steps=4)}
    assert set(ways) == {"y", "z[0]", "z[1]"}
    np.testing.assert_array_equal(ways["y"].z[:, :3], np.eye(3))
    # z does not stay: under p it depends on y, and takes its centre given each.
    centres = model.prior_distribution().conditionals({"y": tf.eye(3), "z": tf.zeros([3, 2])})["z"]
    np.testing.assert_allclose(ways["y"].z[:, 3:], centres.distribution.mean(), atol=1e-6)
    assert ways["z[0]"].means["x"].shape == (4, 6)
    assert len(np.unique(ways["z[0]"].z[:, :3], axis=0)) == 1


@pytest.mark.slow
def test_levels_below_the_one_that_moves_follow_it():
    model, x = kind("hierarchical")
    ways = {way.name: way for way in traversals(model, x, num_steps=4)}
    top, low = ways["z_2[0]"], ways["z_1[0]"]
    levels = {"z_1": tf.zeros([4, 2]), "z_2": tf.constant(top.z[:, 2:])}
    expected = model.prior_distribution().conditionals(levels)["z_1"].distribution.mean()
    np.testing.assert_allclose(top.z[:, :2], expected, rtol=1e-5, atol=1e-6)
    assert np.ptp(low.z[:, 1:], axis=0) == pytest.approx(0.0)


@pytest.mark.slow
def test_directions_stay_on_the_sphere():
    model, data = kind("directions")
    x = np.concatenate([data, 30 * (data - 0.5)])[:, :6]  # far enough apart to be active
    model = tfvae.VAE(model.encoder, model.decoder, model.prior, seed=0)
    ways = traversals(model, np.clip(x, 0, 1), num_steps=4)
    for way in ways:
        np.testing.assert_allclose(np.linalg.norm(way.z, axis=-1), 1.0, rtol=1e-5)


@pytest.mark.parametrize(
    "name", slow_but("codes", of=["codes", "tables", "conditional", "given_node"])
)
def test_contexts_nodes_and_states_come_from_the_starting_point(name):
    model, data = kind(name)
    for way in traversals(model, data, num_steps=3, start=2):
        for node, part in way.means.items():
            assert part.shape == (3, *model.graph.shapes[node])
            assert np.all(np.isfinite(part))


def test_messages():
    model, x = kind("plain")
    with pytest.raises(ValueError, match="`start` must be a row of the first 12 points"):
        traversals(model, x, start=12)
    with pytest.raises(ValueError, match="num_steps"):
        traversals(model, x, num_steps=0)
    with pytest.raises(ValueError, match="without any"):
        traversals(*kind("density"))
