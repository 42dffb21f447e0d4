"""What has collapsed is told, and what has not is left alone."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests import analytic
from tests.conftest import (
    binary_data,
    mlp_decoder,
    mlp_encoder,
    mlp_vae,
    real_data,
    slow_but,
)
from tests.models.test_directed import labelled_tables, table_data
from tests.models.test_hierarchy import two_levels
from tfvae.evaluation import collapse, measure_collapse
from tfvae.layers import Autoregressive, IndependentBernoulli, IndependentNormal
from tfvae.objectives import ELBO, Linear, Plateau, Supervised
from tfvae.priors import GaussianMixture


def gaussian_vae():
    return tfvae.VAE(mlp_encoder(), mlp_decoder(likelihood=IndependentNormal), seed=0)


def silent_encoder(loc=0.0):
    """q(z|x) = N(loc, 1) whatever x is."""
    encoder = mlp_encoder()
    kernel, bias = encoder.layers[-2].get_weights()
    one = np.log(np.expm1(1.0 - encoder.layers[-1].min_scale))
    encoder.layers[-2].set_weights([0.0 * kernel, 0.0 * bias + [loc, loc, one, one]])
    return encoder


def deaf_decoder(layer, raw=None):
    """p(x|z) = p(x), with all raw scales at `raw`."""
    decoder = mlp_decoder(likelihood=layer if isinstance(layer, type) else IndependentBernoulli)
    kernel, bias = decoder.layers[-2].get_weights()
    if raw is not None:
        bias[len(bias) // 2 :] = raw
    decoder.layers[-2].set_weights([0.0 * kernel, bias])
    return decoder


def collapsed(cause):
    """A model, its data, and its objective."""
    x, objective, prior = binary_data(40), ELBO(), None
    encoder, decoder = silent_encoder(), deaf_decoder(IndependentBernoulli)
    if cause == "weight":
        objective = ELBO(beta=10.0)
    elif cause == "young":
        objective = ELBO(beta=Linear(0.0, 1.0, steps=10))
    elif cause == "plateau":
        objective = Supervised() + ELBO(beta=Plateau(0.5, 1.0, increment=0.1, patience=3))
    elif cause == "decoder":
        layer = Autoregressive(6, IndependentBernoulli(), context_size=3, hidden_units=[8])
        decoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3), layer])
        kernel, bias = decoder.layers[0].get_weights()
        decoder.layers[0].set_weights([0.0 * kernel, bias])
    elif cause == "floor":
        x = 0.1 * real_data(40)
        decoder = keras.Sequential(
            [keras.Input((2,)), keras.layers.Dense(12), IndependentNormal(6, min_scale=1.0)]
        )
        kernel, bias = decoder.layers[0].get_weights()
        bias[6:] = -9.0
        decoder.layers[0].set_weights([0.0 * kernel, bias])
    elif cause == "components":
        prior = GaussianMixture(5, 2)
        prior.loc.assign(np.repeat(9.0 * np.arange(5.0)[:, None], 2, axis=1))
        encoder = silent_encoder(loc=9.0)
    elif cause == "posterior":
        x = real_data(40)
        decoder = mlp_decoder(likelihood=IndependentNormal)
        kernel = np.zeros((2, 12))
        kernel[0, :3] = kernel[1, 3:6] = 2.0
        decoder.layers[-2].set_weights([kernel, np.zeros(12)])
    vae = tfvae.VAE(encoder, decoder, prior, seed=0)
    vae.compile("adam", objective, jit_compile=False)
    return vae, x


@pytest.mark.slow
def test_a_model_that_uses_its_latents_is_left_alone():
    """All numbers of a linear model are known: E_q of squares of Gaussians."""
    exact = analytic.LinearGaussian.with_exact_posterior()
    vae, x = exact.vae(), exact.draw(400)
    vae.compile("adam", jit_compile=False)
    report = measure_collapse(vae, x, batch_size=150)
    assert report.message is None
    assert report.cause is None
    assert report.active_units == 3
    np.testing.assert_allclose(report.activity, exact.loc(x).var(axis=0), rtol=1e-4)
    np.testing.assert_allclose(report.rate, exact.rate(x).mean(), rtol=1e-4)
    np.testing.assert_allclose(report.dimension_rates.sum(), exact.rate(x).mean(), rtol=1e-4)
    # Each point with the mean of any other: the residual grows by W (m_i - m_j).
    decoded = exact.loc(x) @ exact.w.T + exact.b
    square = ((x[:, None] - decoded[None]) ** 2).sum(axis=-1) / (2 * exact.s2)  # [N, N]
    costs = (square - np.diag(square)[:, None])[~np.eye(400, dtype=bool)]
    assert abs(report.shuffle_cost - costs.mean()) < 5 * costs.std() / np.sqrt(400)
    assert abs(report.gap) < 1e-3
    assert max(map(len, str(report).splitlines())) <= 80


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_part_that_says_nothing_is_told_in_its_own_words():
    vae, x = two_levels(), binary_data(60)
    top = vae.posteriors[1].layers[-2]
    kernel, bias = top.get_weights()
    one = np.log(np.expm1(1.0 - 1e-5))
    top.set_weights([0.0 * kernel, np.concatenate([0.0 * bias[:3], np.full(3, one)])])
    report = measure_collapse(vae, x)
    assert not report.collapsed
    assert report.idle_levels == ["rate_2"]
    assert "Partial collapse: of 2 latents nothing is said by 2" in report.message

    one_of_three = mlp_vae(latents=3)
    dense = one_of_three.encoder.layers[-2]
    kernel, bias = dense.get_weights()
    kernel = 8.0 * kernel
    kernel[:, [1, 2, 4, 5]] = 0.0
    dense.set_weights([kernel, bias])
    report = measure_collapse(one_of_three, x)
    np.testing.assert_array_equal(report.active, [True, False, False])
    assert "2 of 3 dimensions of z say nothing" in report.message


@pytest.mark.slow
@pytest.mark.exhaustive
def test_activity_is_that_of_means_where_there_are_none():
    """Flows have no mean, and numbered categories none that says anything."""
    flow = tfvae.layers.TransformedDistribution(
        tfvae.layers.MultivariateNormalDiag(2),
        tfvae.flows.InverseAutoregressive(1, [4]),
    )
    size = tfvae.layers.MultivariateNormalDiag.params_size(2)
    encoder = keras.Sequential([keras.Input((6,)), keras.layers.Dense(size), flow])
    kernel, bias = encoder.layers[0].get_weights()
    x = binary_data(300)
    active = []
    for scale in (0.0, 3.0):
        encoder.layers[0].set_weights([scale * kernel, bias])
        vae = tfvae.VAE(encoder, mlp_decoder(), seed=0)
        vae.compile("adam", jit_compile=False)
        active.append(measure_collapse(vae, x, evidence_samples=2).active_units)
    assert active == [0, 2]

    codes = tfvae.layers.IndependentCategorical(2, 3)
    encoder = keras.Sequential([keras.Input((6,)), keras.layers.Dense(6), codes])
    kernel, bias = encoder.layers[0].get_weights()
    encoder.layers[0].set_weights([0.0 * kernel, bias])
    vae = tfvae.VAE(encoder, mlp_decoder(), tfvae.priors.Categorical(3), seed=0)
    vae.compile("adam", jit_compile=False)
    np.testing.assert_allclose(measure_collapse(vae, x).activity, 0.0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_labels_and_contexts_are_kept_with_their_points():
    model, data = labelled_tables(), table_data()
    model.compile("adam", jit_compile=False)
    report = measure_collapse(model, data, batch_size=19)  # a last batch of one
    assert np.isfinite(report.shuffle_cost)
    assert set(report.level_rates) == {"rate_y", "rate_z"}


@pytest.mark.slow
@pytest.mark.parametrize("size", slow_but("40", of={"2": 2, "7": 7, "40": 40}))
def test_the_order_of_the_data_does_not_matter(size):
    """Sorted by class, the neighbour of a point looks like it: the others are from anywhere."""
    exact = analytic.LinearGaussian.with_exact_posterior()
    x = np.sort(np.concatenate([exact.draw(20) - 9.0, exact.draw(20) + 9.0]), axis=0)
    vae = exact.vae()
    vae.compile("adam", jit_compile=False)
    # Two classes: other points are of the other one in 20 of 39 cases, at a distance of 18.
    costs = [
        measure_collapse(vae, data, batch_size=size, evidence_samples=1).shuffle_cost
        for data in (x, np.random.default_rng(0).permutation(x))
    ]
    decoded = exact.loc(x) @ exact.w.T + exact.b
    square = ((x[:, None] - decoded[None]) ** 2).sum(axis=-1) / (2 * exact.s2)
    each = (square - np.diag(square)[:, None])[~np.eye(40, dtype=bool)]
    for cost in costs:
        assert abs(cost - each.mean()) < 4 * each.std() / np.sqrt(40)


@pytest.mark.slow
@pytest.mark.parametrize("seed", slow_but(0, of=range(5)))
def test_few_points_are_no_collapse(seed):
    """z says 0.8 nats of 12 points: one draw of each leaves noise of a third of a nat."""
    exact = analytic.LinearGaussian(
        w=np.ones((1, 1)),
        b=np.zeros(1),
        s2=0.5,
        a=np.full((1, 1), 2.0 / 3.0),
        c=np.zeros(1),
        s=np.full(1, 1.0 / 3.0),
    )
    vae = exact.vae()
    vae.compile("adam", run_eagerly=True)
    report = measure_collapse(vae, exact.draw(12), evidence_samples=1, seed=seed)
    assert report.mutual_information > 0.3
    assert not report.collapsed


@pytest.mark.slow
def test_scores_that_are_not_finite_are_said_to_be_that():
    exact = analytic.LinearGaussian.with_exact_posterior()
    vae, x = exact.vae(), (1e19 * exact.draw(6)).astype("float32")
    vae.compile("adam", run_eagerly=True)
    report = measure_collapse(vae, x, evidence_samples=2)
    assert not report.collapsed
    assert "not finite (distortion inf, rate inf)" in report.message
    assert report.cause is None
    assert not np.isfinite(tfvae.evaluation.refine(vae, x, steps=1, verbose=False).elbo.mean)


@pytest.mark.slow
def test_data_and_models_that_cannot_be_measured_are_refused():
    with pytest.raises(ValueError, match="At least two points"):
        measure_collapse(mlp_vae(), binary_data(1))
    with pytest.raises(ValueError, match="does not have the shape"):
        measure_collapse(mlp_vae(), binary_data(4, (5,)))
    density = tfvae.DensityModel(tfvae.priors.GaussianMixture(2, 3))
    with pytest.raises(ValueError, match="no latents that could collapse"):
        measure_collapse(density, tf.zeros([4, 3]))


@pytest.mark.slow
def test_a_ledger_at_hand_is_read_and_not_taken_again(monkeypatch):
    vae, x = mlp_vae(), binary_data(20)
    settings = {"evidence_samples": 3, "verbose": False}
    ledger = tfvae.decompose(vae, x, num_samples=2, **settings)
    uncompared = tfvae.decompose(vae, x, num_samples=1, max_pairs=0, **settings)

    def never(*args, **kwargs):
        raise AssertionError("was at hand")

    monkeypatch.setattr(collapse, "decompose", never)
    report = measure_collapse(vae, x, ledger=ledger)
    for name in ("mutual_information", "rate", "distortion", "gap"):
        assert getattr(report, name) == getattr(ledger, name).mean
    assert report.information_ceiling == ledger.information_ceiling
    with pytest.raises(ValueError, match=r"Expected: 19 points\. Received: 20 points"):
        measure_collapse(vae, x[1:], ledger=ledger)
    with pytest.raises(ValueError, match="Received: one without, as `max_pairs=0` makes it"):
        measure_collapse(vae, x, ledger=uncompared)
    without = dataclasses.replace(ledger, gap=None, log_p_x=None)
    assert np.isnan(measure_collapse(vae, x, ledger=without).gap)
