"""Chains in passes of any size, which are no part of what is found."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests import analytic
from tests.conftest import binary_data, mlp_encoder
from tests.kinds import KINDS, kind
from tfvae.evaluation import Encoder, bidirectional, chains
from tfvae.evaluation.annealer import Annealer

MODEL = analytic.LinearGaussian.random(seed=4)
# Of so few bytes one chain of one point is too much: no fewer go together than find the steps.
TINY = 1e-9


def only_program(vae):
    ((_, size, block, *_),) = (key for key in vae.functions._made if key[0] == "annealed")
    return size, block


@pytest.mark.slow
@pytest.mark.parametrize("start", [None, Encoder()])
def test_sizes_of_passes_change_nothing_but_the_last_digits(start):
    x, found = MODEL.draw(5), []
    # The points of a batch, and chains of each of them, that go together.
    passes = {TINY: (1, 3), 1.0: (4, 9)}
    for budget, sizes in passes.items():
        vae = MODEL.vae()
        found.append(
            tfvae.annealed_log_likelihood(
                vae,
                x,
                6,
                num_chains=9,
                num_leapfrog_steps=2,
                start=start,
                batch_size=4,
                memory_gib=budget,
                verbose=False,
            )
        )
        assert only_program(vae) == sizes
    for name in ("per_point", "per_point_standard_error", "ess", "acceptance"):
        one, other = (getattr(result, name) for result in found)
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    # They are draws: points and chains have others.
    assert np.all(found[0].ess < 8.9)
    assert len(np.unique(found[0].acceptance)) == 5


@pytest.mark.slow
def test_nor_of_those_in_both_directions_under_a_context(monkeypatch):
    monkeypatch.setattr(chains, "_FEWEST_MOVES", 2)  # these run eagerly
    model, data = kind("conditional")

    def found(budget):
        context = data["context"][:2]
        settings = {"num_leapfrog_steps": 1, "context": context, "memory_gib": budget}
        return bidirectional(model, 2, 3, num_chains=5, verbose=False, **settings)

    small, large = found(TINY), found(1.0)
    np.testing.assert_array_equal(small.data["x"], large.data["x"])
    for name in ("lower", "upper", "gap"):
        one, other = (getattr(result, name).per_point for result in (small, large))
        np.testing.assert_allclose(one, other, atol=1e-4)
    np.testing.assert_allclose(small.acceptance, large.acceptance, atol=1e-4)


def test_as_many_go_together_as_memory_allows():
    """A decoder of 30,000 numbers, with its gradient: 5,000 chains would be some gigabytes."""
    wide = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(30_000), keras.layers.Dense(6, use_bias=False)]
    )
    decoder = keras.Sequential([wide, tfvae.layers.IndependentBernoulli(6)])
    vae = tfvae.VAE(mlp_encoder(), decoder, seed=0)
    batch = {"x": tf.constant(binary_data(10))}

    def blocks(num_chains, gib):
        return Annealer(vae, 5, num_chains, 2, gib, None).blocks(batch, {})

    # Matrix product and bias there, and the way back.
    fewest, most = (number * 30_000 * 4 * 10 for number in (2, 6))
    assert 2**28 / most <= blocks(10_000, 0.25).draws <= 2**28 / fewest
    assert blocks(16, 0.25) == (10, 16)
    assert blocks(10_000, 4.0).draws == 500  # of 5,000 in all
    # Shared out evenly: 51 go as 26 and 25.
    assert blocks(51, 0.25).draws in (26, 51)
    # Four chains of as many points as fit, and of one at least.
    points, chains_ = blocks(16, 0.002)
    assert points < 10
    assert points * chains_ * most / 10 >= 0.002 * 2**30 / 2
    assert blocks(16, TINY) == (1, 4)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_data_of_all_lengths_share_a_program():
    vae = MODEL.vae()
    x = MODEL.draw(9)
    for data in (x, x[:2], tf.data.Dataset.from_tensor_slices(x).batch(4), x[:4]):
        for number in (2, 3):
            tfvae.annealed_log_likelihood(
                vae, data, number, num_chains=7, batch_size=4, memory_gib=TINY, verbose=False
            )
    assert only_program(vae) == (1, 4)
    (program,) = vae.functions._made.values()
    assert program._plain.experimental_get_tracing_count() <= 3  # T, then any T; then any batch


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.xla
def test_passes_under_xla(monkeypatch):
    # Many moves make much of the last digits, which are others in another program.
    monkeypatch.setattr(chains, "_FEWEST_MOVES", 1)
    vae, x = MODEL.vae(), MODEL.draw(3)
    vae.compile("adam", jit_compile=True)
    small, large = (
        tfvae.annealed_log_likelihood(
            vae, x, 4, num_chains=7, start=Encoder(), memory_gib=budget, verbose=False
        )
        for budget in (TINY, 1.0)
    )
    np.testing.assert_allclose(small.per_point, large.per_point, rtol=1e-4)


@pytest.mark.parametrize("budget", [0.0, float("nan")])
def test_budgets_are_positive_numbers(budget):
    for evaluate in (
        lambda: tfvae.annealed_log_likelihood(MODEL.vae(), MODEL.draw(2), 3, memory_gib=budget),
        lambda: bidirectional(MODEL.vae(), 2, 3, memory_gib=budget),
    ):
        with pytest.raises(ValueError, match=r"`memory_gib` must be a number > 0\. Received"):
            evaluate()


@pytest.mark.slow
def test_models_of_float64_are_annealed_both_ways(monkeypatch):
    monkeypatch.setattr(chains, "_FEWEST_MOVES", 1)
    keras.config.set_dtype_policy("float64")
    model, x = KINDS["plain"]()
    settings = {"num_chains": 1, "num_leapfrog_steps": 1, "verbose": False}
    # Compiled: eager numbers fit any type.
    found = tfvae.annealed_log_likelihood(model, x[:2], 2, start=Encoder(), **settings)
    assert found.per_point.dtype == "float64"
    assert np.all(np.isfinite(found.per_point))
    both = bidirectional(model, 2, 2, **settings)
    assert both.gap.per_point.dtype == "float64"
