"""The information of models of p(x|c): nats that z says of x beyond c."""

import keras
import numpy as np
import pytest

import tfvae
from tests import analytic
from tests.conftest import mlp_decoder, slow_but
from tests.evaluation.test_decomposition import gaussian_mixture_entropy
from tests.models.test_directed import network
from tfvae.evaluation import measure_collapse
from tfvae.layers import IndependentBernoulli, MultivariateNormalDiag

MODEL = analytic.LinearGaussian.random(seed=1, dims=3, latents=1)
LABELS = np.repeat([0, 1, 2], [9, 7, 4])
SHIFT, PRIOR = np.array([-1.0, 0.5, 2.0]), np.array([-0.5, 0.0, 3.0])


def softplus_inverse(value):
    return np.log(np.expm1(value))


def conditional(context_size=3, posterior=MultivariateNormalDiag, reads_x=True, matches=False):
    """q(z|x,c) = N(A x + b.c, s), p(z|c) = N(m.c, 1) in one dimension, p(x|z) linear.

    Without `reads_x`, A is zero; where p(z|c) `matches`, it is the posterior then.
    """
    x, c = keras.Input((3,)), keras.Input((context_size,))
    dense = keras.layers.Dense(2)
    head = posterior(1, min_scale=0.0)
    encoder = keras.Model([x, c], head(dense(keras.layers.Concatenate()([x, c]))))
    kernel = np.zeros((3 + context_size, 2))
    kernel[:3, 0] = MODEL.a[0] * reads_x
    kernel[3:6, 0] = SHIFT
    scale = softplus_inverse(np.sqrt(MODEL.s[0]))
    dense.set_weights([kernel, np.array([MODEL.c[0] * reads_x, scale])])
    of_c = keras.layers.Dense(2)
    prior = keras.Sequential(
        [keras.Input((context_size,)), of_c, MultivariateNormalDiag(1, min_scale=0.0)]
    )
    kernel = np.zeros((context_size, 2))
    kernel[:3, 0] = SHIFT if matches else PRIOR
    of_c.set_weights([kernel, np.array([0.0, scale if matches else softplus_inverse(1.0)])])
    vae = tfvae.VAE(encoder, MODEL.vae().decoder, tfvae.priors.Conditional(prior), seed=0)
    if posterior is MultivariateNormalDiag:  # else of draws that no objective has
        vae.compile("adam", run_eagerly=True)
    return vae


def data(repeated=True):
    c = np.eye(3, dtype="float32")[LABELS]
    if not repeated:
        c = np.concatenate([c, np.linspace(0.0, 1.0, 20, dtype="float32")[:, None]], axis=1)
    return {"x": MODEL.draw(20), "context": c}


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", slow_but(20, of=[20, 6]))
def test_entries_of_a_conditional_prior_match_their_closed_forms(batch_size):
    order = np.random.default_rng(0).permutation(20)  # equal contexts are in different chunks
    given = {name: part[order] for name, part in data().items()}
    ledger = tfvae.decompose(
        conditional(posterior=analytic.QuantileLayer),
        given,
        num_samples=4000,
        evidence_samples=2,
        batch_size=batch_size,
        verbose=False,
    )
    labels, scale = LABELS[order], np.sqrt(MODEL.s[0])
    loc = MODEL.loc(given["x"])[:, 0] + SHIFT[labels]
    shares = np.bincount(labels) / 20
    square = scale**2 + (loc - PRIOR[labels]) ** 2
    rate = 0.5 * (square - 1.0 - np.log(scale**2))
    cross_entropy = 0.5 * (np.log(2 * np.pi) + square)
    entropy_z = shares @ [gaussian_mixture_entropy(loc[labels == c], scale) for c in range(3)]
    entropy_z_given_x = 0.5 * np.log(2 * np.pi * np.e * scale**2)
    np.testing.assert_allclose(ledger.rate.per_point, rate, atol=1e-4)
    expected = {
        "entropy_z": entropy_z,
        "entropy_z_given_x": entropy_z_given_x,
        "cross_entropy": cross_entropy.mean(),
        "mutual_information": entropy_z - entropy_z_given_x,
        "marginal_kl": cross_entropy.mean() - entropy_z,
        "total_correlation": 0.0,
        "dimension_wise_kl": cross_entropy.mean() - entropy_z,
    }
    for name, value in expected.items():
        assert abs(getattr(ledger, name).mean - value) < 1e-3, name
    assert ledger.information_ceiling == pytest.approx(shares @ np.log(20 * shares))
    assert ledger.conditions == ("context",)
    assert "at most E log N_c" in str(ledger)


@pytest.mark.slow
def test_nothing_is_told_of_contexts_that_come_once():
    ledger = tfvae.decompose(
        conditional(4), data(repeated=False), evidence_samples=2, verbose=False
    )
    for name in ("mutual_information", "marginal_kl", "entropy_z", "dimension_wise_kl"):
        assert getattr(ledger, name) is None
        assert name not in ledger.to_dict()
    assert ledger.information_ceiling == 0.0
    assert set(ledger.residuals) == {"log_p_x = elbo + gap", "elbo = -(distortion + rate)"}
    assert "at least I[x;z|c] " in str(ledger)
    assert "Given c: context." in str(ledger)
    assert max(map(len, str(ledger).splitlines())) <= 80


@pytest.mark.slow
@pytest.mark.parametrize("repeated", [True, False])
@pytest.mark.parametrize("matches", slow_but(False, of=[True, False]))
def test_a_collapse_is_told_whatever_z_says_of_the_context(repeated, matches):
    """z tells c apart, 0.5 to 2.5 nats of it, and says nothing of x."""
    size = 3 if repeated else 4
    report = measure_collapse(conditional(size, reads_x=False, matches=matches), data(repeated))
    assert report.collapsed
    assert (report.rate < 1e-5) == matches
    assert abs(report.shuffle_cost) < 1e-5
    assert "Posterior collapse" in str(report)
    if repeated:
        assert report.mutual_information == pytest.approx(0.0, abs=1e-5)
    else:
        assert report.mutual_information is None
        assert "mutual_information" not in report.to_dict()
    assert max(map(len, str(report).splitlines()[:-1])) <= 80  # but the message


@pytest.mark.slow
@pytest.mark.parametrize("repeated", [True, False])
def test_a_conditional_model_in_use_is_left_alone(repeated):
    report = measure_collapse(conditional(3 if repeated else 4), data(repeated))
    assert not report.collapsed
    assert report.shuffle_cost > 0.2
    # The latents of another x, under the point's own context.
    given = data(repeated)
    loc = MODEL.loc(given["x"]) + SHIFT[LABELS][:, None]
    moved = (MODEL.loc(given["x"])[None] - MODEL.loc(given["x"])[:, None]) + loc[:, None]
    square = ((given["x"][:, None] - moved @ MODEL.w.T - MODEL.b) ** 2).sum(axis=-1)
    costs = (square - np.diag(square)[:, None])[~np.eye(20, dtype=bool)] / (2 * MODEL.s2)
    assert abs(report.shuffle_cost - costs.mean()) < 5 * costs.std() / np.sqrt(20)


def by_observed_node():
    """y -> z -> x with y given: the prior of z reads a node of the data."""
    normal, bits = MultivariateNormalDiag(2), IndependentBernoulli(6)
    model = tfvae.DirectedModel(
        generative={
            "y": tfvae.priors.OneHot(),
            "z": network(normal, y=(3,)),
            "x": network(bits, z=(2,)),
        },
        posterior={"z": network(normal, x=(6,), y=(3,))},
        seed=0,
    )
    return model, {"y": np.eye(3, dtype="float32")[LABELS], "x": BITS}


def in_levels():
    normal, bits = MultivariateNormalDiag(1), IndependentBernoulli(6)
    model = tfvae.HierarchicalVAE(
        [network(normal, x=(6,)), network(normal, x=(6,))],
        [network(bits, z_1=(1,)), network(normal, z_2=(1,), context=(3,))],
        seed=0,
    )
    return model, {"x": BITS, "context": np.eye(3, dtype="float32")[LABELS]}


def finite():
    one_hot = tfvae.layers.OneHotCategorical(4)
    model = tfvae.VAE(
        network(one_hot, first=(6,), context=(3,)),
        mlp_decoder(latents=4),
        tfvae.priors.Conditional(network(one_hot, context=(3,))),
        seed=0,
    )
    return model, {"x": BITS, "context": np.eye(3, dtype="float32")[LABELS]}


def of_integers():
    label = keras.Input((), dtype="int32")
    params = keras.layers.Embedding(3, 4)(label)
    prior = tfvae.priors.Conditional(keras.Model(label, MultivariateNormalDiag(2)(params)))
    encoder = network(MultivariateNormalDiag(2), first=(6,))
    return tfvae.VAE(encoder, mlp_decoder(), prior, seed=0), {"x": BITS, "context": LABELS}


BITS = np.random.default_rng(0).integers(0, 2, (20, 6)).astype("float32")


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("make", [by_observed_node, in_levels, finite, of_integers])
def test_information_given_the_condition_keeps_its_bounds(make):
    model, given = make()
    model.compile("adam", run_eagerly=True)
    assert not model.graph.compares_pairs
    assert len(model.graph.conditions) == 1
    logs = model.evaluate(given, verbose=0, return_dict=True)
    assert not {"mutual_information", "marginal_kl"} & set(logs)
    ledger = tfvae.decompose(
        model, given, num_samples=100, evidence_samples=2, batch_size=8, verbose=False
    )
    sizes = np.bincount(LABELS)
    assert ledger.information_ceiling == pytest.approx(sizes @ np.log(sizes) / 20)
    information = ledger.mutual_information
    assert -3 * information.standard_error <= information.mean <= ledger.information_ceiling
    assert ledger.marginal_kl.mean >= -3 * ledger.marginal_kl.standard_error
    for residual in ledger.residuals.values():
        assert abs(residual.mean) <= 5 * residual.standard_error + 1e-4
    report = measure_collapse(model, given, evidence_samples=2)
    assert np.isfinite(report.shuffle_cost)


@pytest.mark.slow
def test_terms_of_equal_conditions_are_compared_and_no_others():
    """Minus zero is zero."""
    vae, given = conditional(), data()
    context = given["context"]
    odd = np.arange(20)[:, None] % 2 == 1
    signed = {**given, "context": np.where((context == 0.0) & odd, -0.0, context)}
    one, other = (
        tfvae.decompose(vae, d, evidence_samples=1, verbose=False) for d in (given, signed)
    )
    assert one.mutual_information.mean == other.mutual_information.mean


@pytest.mark.slow
def test_alternating_needs_information_that_is_logged():
    scheme = tfvae.learning.Alternating(2, until_information_stops=5)
    with pytest.raises(ValueError, match="its prior depends on context"):
        conditional().compile("adam", scheme=scheme)
