"""Estimates of log p(x) from any proposal: unbiased, flagged where it is bad, and mended."""

import dataclasses
import functools
from dataclasses import dataclass

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tests import analytic
from tests.conftest import binary_data, mlp_vae, slow_but
from tests.evaluation.test_kinds import KNOWN, NO_LATENTS, NOT_OF_ONE_LAYER, ledger_by_sums
from tests.evaluation.test_likelihood import narrowed
from tests.kinds import KINDS, kind
from tfvae.evaluation import Defensive, Encoder, Proposal, Refined, Widened, refine
from tfvae.graph.graph import Graph

MODEL = analytic.LinearGaussian.random(seed=4)


def repeated(refinement, num):
    """The refinement of one point, as if it had been of many of it."""
    return dataclasses.replace(refinement, params=np.repeat(refinement.params[:1], num, axis=0))


PROPOSALS = {
    "encoder": Encoder,
    "widened": lambda: Widened(1.2),
    "defensive": Defensive,
    "both": lambda: Defensive(0.3, of=Widened(0.6)),
}


@pytest.mark.parametrize("make", slow_but("defensive", of=PROPOSALS))
def test_mean_weight_is_p_x(make):
    """20,000 estimates of one p(x) with four draws each."""
    # Wide enough for the weights of the encoder to have a variance.
    model = dataclasses.replace(MODEL, s=1.2 * np.diag(MODEL.posterior_covariance))
    x = np.repeat(model.draw(1), 20_000, axis=0)
    found = tfvae.log_likelihood(model.vae(), x, 4, proposal=make(), batch_size=1000, verbose=False)
    exact = model.log_p_x(x[:2])[0]
    ratios = np.exp(found.per_point.astype("float64") - exact)
    assert abs(ratios.mean() - 1.0) < 5 * ratios.std() / np.sqrt(len(x))
    assert found.mean < exact  # Jensen


def test_refined_posteriors_are_tighter_and_unbiased():
    model = dataclasses.replace(MODEL, c=MODEL.c + 0.7)
    x, vae = model.draw(30), model.vae()
    refinement = refine(vae, x, steps=100, learning_rate=0.1, verbose=False)
    chunks = {"batch_size": 7, "verbose": False}
    plain = tfvae.log_likelihood(vae, x, 300, **chunks)
    better = tfvae.log_likelihood(vae, x, 300, proposal=Refined(refinement), **chunks)
    assert np.median(better.ess) > 2 * np.median(plain.ess)
    deviation = (better.per_point - model.log_p_x(x)) / better.per_point_standard_error
    assert np.abs(deviation).max() < 5
    # The rows are those of their points, whatever the batches.
    turned = dataclasses.replace(refinement, params=refinement.params[::-1])
    worse = tfvae.log_likelihood(vae, x, 300, proposal=Refined(turned), **chunks)
    assert np.median(worse.ess) < np.median(plain.ess)
    wide = Widened(1.1, of=Refined(refinement))
    both = tfvae.log_likelihood(vae, x, 300, proposal=Defensive(of=wide), **chunks)
    deviation = (both.per_point - model.log_p_x(x)) / both.per_point_standard_error
    assert np.abs(deviation).max() < 5
    many = np.repeat(x[:1], 4000, axis=0)
    proposal = Defensive(0.01, of=Refined(repeated(refinement, 4000)))
    found = tfvae.log_likelihood(vae, many, 4, proposal=proposal, batch_size=1000, verbose=False)
    ratios = np.exp(found.per_point.astype("float64") - model.log_p_x(x)[0])
    assert abs(ratios.mean() - 1.0) < 5 * ratios.std() / np.sqrt(4000)


def test_a_bad_proposal_is_flagged_and_the_defensive_one_mends_it():
    """Draws from 0.3 of the true width: k = 0.91; a tenth from the prior bounds the weights."""
    model = narrowed(1.0)
    x, vae = model.draw(50), model.vae()
    exact, narrow = model.log_p_x(x), Widened(0.3)

    def estimate(proposal):
        return tfvae.log_likelihood(vae, x, 4000, proposal=proposal, verbose=False)

    bad, mended = estimate(narrow), estimate(Defensive(0.1, of=narrow))
    assert bad.median_k_hat == pytest.approx(0.9, abs=0.1)
    assert bad.share_of_large_k_hat > 0.7
    assert "likely too low" in bad.message
    assert mended.median_k_hat < 0.5
    assert mended.share_of_large_k_hat <= 0.1
    assert mended.message is None
    deviation = (mended.per_point - exact) / mended.per_point_standard_error
    assert np.abs(deviation).max() < 5
    assert exact.mean() - bad.mean > 5 * abs(exact.mean() - mended.mean)


@pytest.mark.parametrize("scale", [1.1, 1.5])
def test_too_wide_a_proposal_leaves_its_known_share_of_the_draws(scale):
    model = narrowed(1.0)
    found = tfvae.log_likelihood(
        model.vae(), model.draw(100), 5000, proposal=Widened(scale), verbose=False
    )
    share = (2 * scale**2 - 1) / scale**4  # two latents
    assert np.mean(found.ess) / 5000 == pytest.approx(share, rel=0.01)
    assert share > scale**-2
    assert np.all(found.k_hat < 0.5)


def test_widened_is_the_encoder_times_a_number():
    vae, x = mlp_vae(), binary_data(5)
    batch = {"x": tf.constant(x)}
    q, wide = (proposal.distribution(vae, batch, {}) for proposal in (Encoder(), Widened(1.5)))
    np.testing.assert_allclose(wide.mean(), q.mean())
    np.testing.assert_allclose(wide.stddev(), 1.5 * q.stddev())
    assert wide.batch_shape == [5]
    assert wide.event_shape == [2]
    twice = Widened(2.0, of=Widened(1.5)).distribution(vae, batch, {})
    np.testing.assert_allclose(twice.stddev(), 3.0 * q.stddev())
    one, other = (
        tfvae.log_likelihood(vae, x, 50, proposal=p, verbose=False)
        for p in (Encoder(), Widened(1.0))
    )
    np.testing.assert_allclose(one.per_point, other.per_point, rtol=1e-5)


GAUSSIAN = [
    "plain",
    "one_latent",
    "conditional",
    "context_of_decoder",
    "directed",
    "given_node",
    "with_gaps",
    *NO_LATENTS,
]
WITH_LABELS = ["semi_supervised", "tables"]
CHUNKS = {"batch_size": 5, "verbose": False}


@functools.cache
def truth(name):
    """Quadrature over z, or for levels and directions the mean of draws from the prior."""
    model, data = kind(name)
    if name in KNOWN:
        return ledger_by_sums(model, data)[0]["log_p_x"], 0.0
    prior = tfvae.log_likelihood(model, data, 5000, proposal=Defensive(0.99), verbose=False)
    return prior.per_point, prior.per_point_standard_error


def assert_near_the_truth(name, proposal):
    """The encoders are not trained, and some are far from the posterior, so that all these
    proposals have draws from the prior among them.
    """
    model, data = kind(name)
    found = tfvae.log_likelihood(model, data, 2000, proposal=proposal, **CHUNKS)
    expected, error = truth(name)
    error = 5 * np.hypot(found.per_point_standard_error, error) + 1e-3
    assert np.all(np.abs(found.per_point - expected) < error)
    assert found.share_of_large_k_hat <= 0.1


@pytest.mark.parametrize("name", slow_but("conditional", of=list(KINDS)))
def test_every_kind_of_model_takes_draws_from_the_prior_or_says_why_not(name):
    if name not in WITH_LABELS:
        assert_near_the_truth(name, Defensive(0.3))
        return
    with pytest.raises(ValueError, match="nothing of values that the data gives of y"):
        tfvae.log_likelihood(*kind(name), 1000, proposal=Defensive())


@pytest.mark.parametrize("name", slow_but("conditional", "flow", of=list(KINDS)))
def test_every_kind_of_model_is_widened_or_says_why_not(name):
    if name in GAUSSIAN:
        assert_near_the_truth(name, Defensive(0.3, of=Widened(1.3)))
        return
    with pytest.raises(ValueError, match=r"takes proposals that are diagonal Gaussians.*Received"):
        tfvae.log_likelihood(*kind(name), 1000, proposal=Widened(1.3))


@pytest.mark.parametrize(
    "name", slow_but(of=[name for name in KINDS if name not in NOT_OF_ONE_LAYER])
)
def test_refined_posteriors_of_every_kind(name):
    refinement = refine(*kind(name), steps=3, **CHUNKS)
    assert_near_the_truth(name, Defensive(0.3, of=Refined(refinement)))


def test_a_refinement_of_other_data_or_of_another_model_is_refused():
    vae, x = mlp_vae(), binary_data(6)
    refinement = refine(vae, x, steps=1, verbose=False)
    proposal = Defensive(of=Widened(of=Refined(refinement)))
    for data in (x[:5], np.concatenate([x, x])):
        with pytest.raises(ValueError, match=rf"Expected: {len(data)} points\. Received: 6"):
            tfvae.log_likelihood(vae, data, 9, proposal=proposal, verbose=False)
        batches = tf.data.Dataset.from_tensor_slices(data).batch(4)
        with pytest.raises(ValueError, match=r"Expected: \d+ points\. Received: 6"):
            tfvae.log_likelihood(vae, batches, 9, proposal=proposal, verbose=False)
    batches = tf.data.Dataset.from_tensor_slices(x).batch(4)
    result = tfvae.log_likelihood(vae, batches, 9, proposal=proposal, verbose=False)
    assert np.all(np.isfinite(result.per_point))
    with pytest.raises(
        ValueError, match=r"Expected parameters: \(6,\) per point. Received: \(4,\)"
    ):
        tfvae.log_likelihood(mlp_vae(latents=3), x, 9, proposal=proposal, verbose=False)


def test_arguments_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"must be a number > 0\. Received: scale=0.0"):
        Widened(0.0)
    for share in (1.0, 1.5):
        with pytest.raises(ValueError, match=rf"between 0 and 1\. Received: share={share}"):
            Defensive(share)
    with pytest.raises(ValueError, match=r"must be a number > 0\. Received: share=0"):
        Defensive(0)
    with pytest.raises(TypeError, match=r"such as `tfvae.*Received: the class Defensive, and no"):
        tfvae.log_likelihood(mlp_vae(), binary_data(3), proposal=Defensive)


@dataclass(frozen=True)
class Broad(Proposal):
    """A proposal from outside: one Gaussian for all points."""

    def distribution(self, model, batch, own):
        zeros = tf.zeros([tf.shape(batch["x"])[0], 2])
        return tfp.distributions.MultivariateNormalDiag(zeros, 1.5 + zeros)


def test_proposals_from_outside_and_equal_ones_share_a_program():
    vae, x = mlp_vae(), binary_data(5)
    vae.compile("adam", run_eagerly=True)
    found = tfvae.log_likelihood(vae, x, 2000, proposal=Broad(), verbose=False)
    plain = tfvae.log_likelihood(vae, x, 2000, verbose=False)
    error = np.hypot(found.per_point_standard_error, plain.per_point_standard_error)
    assert np.all(np.abs(found.per_point - plain.per_point) <= 5 * error)
    refinements = [refine(vae, x, steps=steps, verbose=False) for steps in (1, 2)]
    before = len(vae.functions._made)
    for proposal in (Broad(), Defensive(), Defensive(0.1), *map(Refined, refinements)):
        tfvae.log_likelihood(vae, x, 2000, proposal=proposal, verbose=False)
    assert len(vae.functions._made) == before + 2


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.xla
def test_compiles_with_xla():
    vae, x = mlp_vae(), binary_data(5)
    vae.compile("adam", jit_compile=True)
    plain = tfvae.log_likelihood(vae, x, 2000, verbose=False)
    proposal = Defensive(of=Widened(of=Refined(refine(vae, x, steps=3, verbose=False))))
    found = tfvae.log_likelihood(vae, x, 2000, proposal=proposal, verbose=False)
    error = np.hypot(found.per_point_standard_error, plain.per_point_standard_error)
    assert np.all(np.abs(found.per_point - plain.per_point) <= 5 * error)


def test_networks_of_posterior_and_prior_run_once_per_batch(monkeypatch):
    """However many blocks there are: the mixture is made before the loop."""
    calls = []
    of_graph = Graph.q
    monkeypatch.setattr(Graph, "q", lambda *a, **k: (calls.append(1), of_graph(*a, **k))[1])
    vae = mlp_vae()
    vae.compile("adam", run_eagerly=True)
    counts = []
    for num_samples in (5, 5000, 20_000):  # the first also measures how many draws fit
        calls.clear()
        tfvae.log_likelihood(vae, binary_data(5), num_samples, proposal=Defensive(), verbose=False)
        counts.append(len(calls))
    assert counts[1] == counts[2]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Widened(1.2, of="encoder"), r"^`of` must be a .*Proposal.*Received: str$"),
        (lambda: Defensive(of=None), r"^`of` must be a .*Proposal.*Received: NoneType$"),
        (lambda: Refined([0.0]), r"^`refinement` must be what .*refine` returns\. Received: list$"),
    ],
)
def test_what_is_no_proposal_is_told_where_it_is_given(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_a_stream_of_another_order_each_time_has_no_refined_posteriors():
    vae, x = MODEL.vae(), MODEL.draw(8)
    proposal = Defensive(of=Refined(refine(vae, x, steps=1, verbose=False)))
    stream = tf.data.Dataset.from_tensor_slices(x)
    kept = tfvae.log_likelihood(vae, stream.batch(3), 2, proposal=proposal, verbose=False)
    assert len(kept.per_point) == 8
    shuffled = stream.shuffle(8).batch(3)
    for use in (tfvae.log_likelihood, tfvae.annealed_log_likelihood):
        name = "proposal" if use is tfvae.log_likelihood else "start"
        with pytest.raises(ValueError, match="since each of its points has a posterior of its own"):
            use(vae, shuffled, 2, **{name: proposal}, verbose=False)
