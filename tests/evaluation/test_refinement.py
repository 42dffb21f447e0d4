"""Refined posteriors against the best of their family, in closed form, and the gap's two parts."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests import analytic
from tests.conftest import binary_data, mlp_vae
from tests.learning.test_base import conditional, ladder
from tests.models import test_context as context
from tests.models import test_directed as directed
from tests.objectives.test_life_cycle import finite_vae
from tfvae.evaluation import refine


def wrong_encoder(latents=3):
    """A linear Gaussian model whose encoder is far off: in location, slope and width."""
    near = analytic.LinearGaussian.random(dims=5, latents=latents)
    return dataclasses.replace(near, a=0.3 * near.a, c=near.c + 1.0, s=np.full(latents, 2.0))


def approximation_gap(model):
    """KL of the best diagonal Gaussian from the true posterior: (sum log M_jj - log |M|) / 2."""
    return 0.5 * (np.log(np.diag(model.m)).sum() - np.linalg.slogdet(model.m)[1])


@pytest.mark.slow
def test_reaches_the_best_diagonal_posterior():
    """S_jj = s2 / M_jj around the exact mean; sigma points make every ELBO exact."""
    model = wrong_encoder()
    x = model.draw(20)
    vae = model.vae(analytic.SigmaPointLayer)
    weights = vae.get_weights()
    found = refine(vae, x, steps=600, learning_rate=0.1, num_samples=6, batch_size=8)
    q, exact = found.posterior(), (x - model.b) @ model.posterior_matrix.T
    np.testing.assert_allclose(q.mean(), exact, atol=2e-3)
    best = np.broadcast_to(model.s2 / np.diag(model.m), exact.shape)
    np.testing.assert_allclose(q.variance(), best, rtol=2e-3)
    # The ledger of B7: what the family cannot do, and what the encoder did not.
    log_p_x = model.log_p_x(x)
    np.testing.assert_allclose(
        log_p_x - found.refined_elbo.per_point, approximation_gap(model), atol=1e-4, rtol=1e-3
    )
    np.testing.assert_allclose(
        found.amortisation_gap.per_point, model.gap(x) - approximation_gap(model), rtol=1e-4
    )
    np.testing.assert_allclose(found.elbo.per_point, log_p_x - model.gap(x), rtol=1e-4)
    np.testing.assert_array_equal(found.params.shape, (20, 6))
    for before, after in zip(weights, vae.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert q.batch_shape == [20]
    assert "amortisation_gap" in str(found)
    assert found.to_dict()["refined_elbo"]["mean"] == found.refined_elbo.mean


@pytest.mark.slow
def test_ledger_splits_the_gap():
    model = wrong_encoder(2)
    x = model.draw(200)
    settings = {"num_samples": 10, "evidence_samples": 200, "batch_size": 200, "verbose": False}
    ledger = tfvae.decompose(model.vae(), x, refine_steps=300, **settings)
    parts = {
        "gap": model.gap(x),
        "approximation_gap": np.full(200, approximation_gap(model)),
        "amortisation_gap": model.gap(x) - approximation_gap(model),
        "log_p_x": model.log_p_x(x),
    }
    for name, expected in parts.items():
        entry = getattr(ledger, name)
        error = tfvae.evaluation.Estimate.of(entry.per_point - expected)
        # Adam stops short of the best by less than this, in nats.
        assert abs(error.mean) < 5 * error.standard_error + 2e-3, name
    residual = ledger.residuals["gap = amortisation_gap + approximation_gap"]
    assert abs(residual.mean) < 5 * residual.standard_error
    rows = [line for line in str(ledger).splitlines() if "part of gap" in line or "of gap:" in line]
    assert len(rows) == 2
    assert ledger.to_dict()["refine_steps"] == 300

    plain = tfvae.decompose(model.vae(), x[:20], **settings)
    assert plain.amortisation_gap is None
    assert plain.approximation_gap is None
    assert "of gap:" not in str(plain)
    assert "amortisation_gap" not in plain.to_dict()


@pytest.mark.slow
@pytest.mark.exhaustive
def test_finite_latents_reach_the_exact_responsibilities():
    """A table for each point can hold any posterior over three states: nothing is left."""
    vae, x = finite_vae(), binary_data(12)
    vae.encoder.layers[0].set_weights([np.zeros([6, 3]), np.array([2.0, 0.0, -2.0])])
    found = refine(vae, x, steps=400, learning_rate=0.1, num_samples=1)
    log_p_x = vae.exact_log_p_x(x).numpy()
    np.testing.assert_allclose(found.refined_elbo.per_point, log_p_x, atol=1e-4)
    assert found.amortisation_gap.mean > 0.1
    # Too many states to sum over: score functions come to any parameters.
    vae.max_states = 0
    drawn = refine(vae, x, steps=100, num_samples=20)
    assert drawn.amortisation_gap.mean > 0.1


@pytest.mark.slow
def test_a_graph_of_one_latent_node():
    """The same networks as a plain VAE: the same encoder, and as much to be gained."""
    encoder = directed.network(tfvae.layers.MultivariateNormalDiag(2), x=(6,))
    decoder = directed.network(tfvae.layers.IndependentBernoulli(6), z=(2,))
    vae, x = tfvae.VAE(encoder, decoder, seed=0), binary_data(8)
    prior = tfvae.priors.StandardNormal()
    graph = tfvae.DirectedModel({"z": prior, "x": decoder}, {"z": encoder}, seed=0)
    gains = [refine(m, x, steps=30).amortisation_gap.per_point for m in (vae, graph)]
    assert gains[0].mean() > 0.0
    np.testing.assert_allclose(*gains, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_contexts_half_precision_and_datasets():
    vae = conditional()
    found = refine(vae, context.DATA, steps=30, num_samples=4)
    assert found.amortisation_gap.mean > 0.0
    batches = tf.data.Dataset.from_tensor_slices(context.DATA).batch(24)
    np.testing.assert_array_equal(
        refine(vae, batches, steps=30, num_samples=4).params, found.params
    )
    keras.config.set_dtype_policy("mixed_float16")
    try:
        vae = mlp_vae()
        found = refine(vae, binary_data(8), steps=5)
        assert found.params.dtype == np.float32
        # Steps so large that they lead to no number leave what the encoder says.
        lost = refine(vae, binary_data(8), steps=5, learning_rate=1e30)
        np.testing.assert_array_equal(lost.refined_elbo.per_point, lost.elbo.per_point)
        assert np.all(np.isfinite(lost.params))
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.slow
def test_what_cannot_be_refined():
    with pytest.raises(ValueError, match=r"parameters that one layer.*HierarchicalVAE.*Hierarchy"):
        refine(ladder(), binary_data(4))
    with pytest.raises(ValueError, match="parameters that one layer"):
        tfvae.decompose(ladder(), binary_data(4), refine_steps=1)
    with pytest.raises(ValueError, match=r"`steps` must be .*steps=0"):
        refine(mlp_vae(), binary_data(4), steps=0)
    with pytest.raises(ValueError, match=r"`learning_rate` must be .*learning_rate=0"):
        refine(mlp_vae(), binary_data(4), learning_rate=0)
    with pytest.raises(ValueError, match=r"`refine_steps` must be .*refine_steps=-1"):
        tfvae.decompose(mlp_vae(), binary_data(4), refine_steps=-1)
