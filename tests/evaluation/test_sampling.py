"""The loop of importance sampling: in however many calls, the same numbers."""

import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import binary_data, mlp_vae
from tests.kinds import kind
from tfvae._random import stateless_seed
from tfvae.evaluation.proposals import Encoder
from tfvae.evaluation.sampling import Sampler, as_arrays, as_sums
from tfvae.graph.evidence import importance_evidence


def sampler_of(model, num_samples, memory_gib=1.0):
    return Sampler(model, Encoder(), num_samples, memory_gib, None)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["plain", "semi_supervised", "mixture"])
def test_watched_or_not_the_numbers_are_those_of_one_loop(name):
    """Drawn, drawn beside sums over states, and summed."""
    model, data = kind(name)
    batch = {
        n: tf.convert_to_tensor(v) for n, v in model.data.as_batch(model.data.named(data)).items()
    }
    batch["x"] = tf.cast(batch["x"], tf.float32)
    seed, num, seen, drawn = stateless_seed(5), 5000, [], []
    sampler = sampler_of(model, num)
    expected = importance_evidence(model, batch, num, seed, 416, num_largest=256)
    unwatched = sampler.evidence(batch, {}, seed)
    watched = sampler.evidence(
        batch, {}, seed, watch=lambda sums, new: (seen.append(sums), drawn.append(new))
    )
    assert sum(drawn) == num
    for found in (unwatched, watched):
        for one, other in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
            np.testing.assert_array_equal(one, other)
    if name != "mixture":
        assert len(seen) > 1
        # From any of them on, by way of arrays.
        again = sampler.evidence(batch, {}, seed, as_sums(as_arrays(seen[0])))
        np.testing.assert_array_equal(again.log_p_x, expected.log_p_x)
        np.testing.assert_array_equal(again.course.largest, expected.course.largest)


def test_nothing_stored_is_nothing_summed():
    assert as_sums({}) is None


@pytest.mark.slow
def test_pieces_hold_every_point_once():
    vae, x = mlp_vae(), binary_data(7)
    sampler, own = sampler_of(vae, 9, 1e-6), {"params": np.arange(6.0)[:, None]}
    pieces = list(sampler.pieces({"x": tf.constant(x)}, 6, own))
    assert len(pieces) > 1
    assert len({len(batch["x"]) for batch, _, _ in pieces}) == 1
    read = np.concatenate([batch["x"][:count] for batch, _, count in pieces])
    known = np.concatenate([own["params"][:count] for _, own, count in pieces])
    np.testing.assert_array_equal(read, x[:6])
    np.testing.assert_array_equal(known[:, 0], np.arange(6.0))


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.xla
def test_numbers_of_draws_share_one_executable():
    vae, x = mlp_vae(), binary_data(4)
    vae.compile("adam", jit_compile=True)
    found = [tfvae.log_likelihood(vae, x, s, verbose=False).mean for s in (2, 30, 3000)]
    ((_, compute),) = (i for i in vae.functions._made.items() if i[0][0] == "evidence")
    assert compute.uses_xla
    assert compute._xla.experimental_get_tracing_count() == 1
    assert np.all(np.isfinite(found))


@pytest.mark.slow
def test_what_is_said_of_points_keeps_nothing_else_alive():
    """A view of the course of a batch, most of which nobody reads, would be three times as much."""
    sampler = sampler_of(mlp_vae(), 20)
    batch = {"x": tf.constant(binary_data(6))}
    found = sampler.judged(sampler.evidence(batch, {}, stateless_seed(0)), 10, 6)
    assert "curve 10" in found
    for name, value in found.items():
        owner = value if value.base is None else value.base
        assert owner.nbytes == value.nbytes, name
