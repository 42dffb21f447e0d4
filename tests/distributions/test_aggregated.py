"""The aggregated posterior against TFP's mixture, and against closed forms."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import special, stats

import tfvae
from tests.conftest import assert_trains_under_xla, binary_data, mlp_decoder
from tests.kinds import kind, network
from tfvae.distributions import AggregatedPosterior, aggregated, as_factors
from tfvae.distributions.pairwise import pairwise_log_prob_exact

tfd = tfp.distributions
RNG = np.random.default_rng(0)
LOC = RNG.normal(size=(7, 3)).astype("float32")
SCALE = np.exp(RNG.normal(size=(7, 3))).astype("float32")

FAMILIES = {
    "diagonal": lambda: tfd.MultivariateNormalDiag(LOC, SCALE),
    "independent": lambda: tfd.Independent(tfd.Normal(LOC, SCALE), 1),
    "full": lambda: tfd.MultivariateNormalTriL(LOC, tf.linalg.diag(SCALE) + 0.1 * tf.eye(3)),
    "laplace": lambda: tfd.Independent(tfd.Laplace(LOC, SCALE), 1),
    "scalar": lambda: tfd.Normal(LOC[:, 0], SCALE[:, 0]),
    "matrix": lambda: tfd.Independent(tfd.Normal(LOC[..., None], SCALE[..., None]), 2),
    "bits": lambda: tfd.Independent(tfd.Bernoulli(logits=LOC, dtype=tf.float32), 1),
    "states": lambda: tfd.Categorical(logits=LOC),
    "positive": lambda: tfd.Independent(tfd.LogNormal(LOC, SCALE, validate_args=True), 1),
    "flow": lambda: tfd.TransformedDistribution(
        tfd.MultivariateNormalDiag(LOC, SCALE), tfp.bijectors.Shift(1.0)
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_densities_are_those_of_the_mixture_in_blocks_of_any_size(name, monkeypatch):
    components = FAMILIES[name]()
    logits = tf.constant(np.linspace(-1, 1, 7), tf.float32)
    for mixture in (None, tfd.Categorical(logits=logits)):
        q = AggregatedPosterior(components, mixture)
        expected = tfd.MixtureSameFamily(mixture or tfd.Categorical(tf.zeros(7)), components)
        z = expected.sample([2, 3], seed=[0, 1])
        scores = expected.log_prob(z)
        assert q.batch_shape == [] and q.event_shape == components.event_shape  # noqa: PT018
        np.testing.assert_allclose(q.log_prob(z), scores, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(q.log_prob(z[0, 0]), scores[0, 0], rtol=1e-5, atol=1e-5)
        with monkeypatch.context() as patched:
            patched.setattr(aggregated, "_ELEMENTS_AT_ONCE", 7 * 3 * 4)  # four of six rows
            np.testing.assert_allclose(q.log_prob(z), scores, rtol=1e-5, atol=1e-5)
            patched.setattr(aggregated, "_ELEMENTS_AT_ONCE", 1)
            np.testing.assert_allclose(q.log_prob(z), scores, rtol=1e-5, atol=1e-5)
        assert q.log_prob(z[:0]).shape == (0, 3)


@pytest.mark.slow
@pytest.mark.parametrize("elements", [2**24, 1])
@pytest.mark.parametrize("name", ["diagonal", "full", "laplace", "scalar", "bits"])
def test_draws_are_those_of_the_mixture(name, elements, monkeypatch):
    """All components at once, and pass by pass."""
    monkeypatch.setattr(aggregated, "_ELEMENTS_AT_ONCE", elements)
    components, num = FAMILIES[name](), 20_000
    logits = np.array([0.0, 1.0, -2.0, 0.5, -np.inf, 0.3, 0.1], "float32")
    q = AggregatedPosterior(components, tfd.Categorical(logits=logits))
    draws = q.sample(num, seed=[3, 4]).numpy().astype("float64")
    assert draws.shape == (num, *components.event_shape)
    mean, variance = (np.asarray(v, "float64") for v in (q.mean(), q.variance()))
    z = (draws.mean(axis=0) - mean) / np.sqrt(variance / num)
    assert np.max(np.abs(z)) < 5
    weights = special.softmax(logits.astype("float64"))
    expected = np.tensordot(weights, components.mean().numpy().astype("float64"), axes=1)
    np.testing.assert_allclose(mean, expected, rtol=1e-5, atol=1e-6)
    # Kurtosis of Laplace mixtures is below 40: the variance has a relative error of sqrt(40 / n).
    assert np.max(np.abs(draws.var(axis=0) / variance - 1.0)) < 5 * np.sqrt(40 / num)
    assert q.sample(seed=[0, 1]).shape == components.event_shape
    assert q.sample([2, 3], seed=[0, 1]).shape == (2, 3, *components.event_shape)
    assert q.sample(0, seed=[0, 1]).shape == (0, *components.event_shape)


@pytest.mark.parametrize("elements", [2**24, 1])
def test_draws_of_one_component_are_independent(elements, monkeypatch):
    """No draw of a component is given away twice."""
    monkeypatch.setattr(aggregated, "_ELEMENTS_AT_ONCE", elements)
    loc = np.array([[0.0], [1e6]], "float32")
    q = AggregatedPosterior(tfd.Independent(tfd.Laplace(loc, 1.0), 1))
    draws = q.sample(1000, seed=[5, 6]).numpy()[:, 0]
    low = draws[draws < 5e5]
    assert len(np.unique(low)) == len(low)
    assert abs(len(low) / 1000 - 0.5) < 5 * 0.5 / np.sqrt(1000)
    assert abs(np.corrcoef(low[:-1], low[1:])[0, 1]) < 5 / np.sqrt(len(low))


@pytest.mark.parametrize("distance", [0.0, 100.0])
def test_entropy_of_components_that_are_equal_or_far_apart(distance):
    loc = distance * np.arange(8, dtype="float32")[:, None] * np.ones([1, 2], "float32")
    q = AggregatedPosterior(tfd.MultivariateNormalDiag(loc, np.full([8, 2], 0.5, "float32")))
    found = q.estimate_entropy(4000, seed=1)
    expected = 2 * stats.norm(0, 0.5).entropy() + (np.log(8) if distance else 0.0)
    assert abs(found.entropy - expected) < 5 * found.standard_error
    # Of -log N(z) the variance is one half in each dimension.
    assert found.standard_error == pytest.approx(np.sqrt(2 / 2 / 4000), rel=0.1)


def test_densities_far_from_zero_keep_their_digits():
    """Products of matrices cancel digits: in float64, which has them."""
    loc = (1000.0 + LOC).astype("float32")
    q = AggregatedPosterior(tfd.MultivariateNormalDiag(loc, SCALE))
    z = loc[:4]
    each = stats.norm(loc.astype("float64"), SCALE).logpdf(z[:, None].astype("float64")).sum(-1)
    expected = special.logsumexp(each, axis=1) - np.log(7)
    np.testing.assert_allclose(q.log_prob(z), expected, atol=2e-6, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["plain", "hierarchical", "flow", "full_covariance", "codes", "mixture", "directions"]
)
def test_any_posterior_of_the_package_and_the_ledger_agree(name):
    """Its mean log-density at the draws of the ledger is minus the entropy of the ledger."""
    model, data = kind(name)
    q = AggregatedPosterior(model.encode(data))
    z = q.sample(200, seed=[1, 2])
    assert z.shape == (200, *model.latent_shape)
    found = q.estimate_entropy(2000, seed=3)
    ledger = tfvae.decompose(model, data, num_samples=200, evidence_samples=0, verbose=False)
    # Of these points the ledger leaves nothing to chance but 200 draws of each.
    error = found.standard_error * np.sqrt(1 + 2000 / 2400)
    assert abs(found.entropy - ledger.entropy_z.mean) < 5 * error + 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["laplace", "diagonal"])
def test_sizes_that_a_graph_leaves_open(name):
    """Posteriors and values of any number, none of these among them."""
    expected = AggregatedPosterior(FAMILIES[name]())
    like = [tf.TensorSpec([None, 3]), tf.TensorSpec([None, 3]), tf.TensorSpec([None, None, 3])]

    @tf.function(autograph=False, input_signature=like)
    def score(loc, scale, z):
        if name == "diagonal":
            q = AggregatedPosterior(tfd.MultivariateNormalDiag(loc, scale))
        else:
            q = AggregatedPosterior(tfd.Independent(tfd.Laplace(loc, scale), 1))
        return q.log_prob(z), q.sample(tf.shape(z)[0], seed=[0, 1])

    for shape in ([4, 2], [1, 1], [0, 2], [2, 0]):
        z = tf.constant(RNG.normal(size=(*shape, 3)), tf.float32)
        found, drawn = score(LOC, SCALE, z)
        assert found.shape == shape
        assert drawn.shape == (shape[0], 3)
        np.testing.assert_allclose(found, expected.log_prob(z), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_stays_what_it_is_through_a_graph():
    q = AggregatedPosterior(FAMILIES["diagonal"]())
    z = tf.constant(LOC[:2])

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, 3])])
    def score(z):
        return AggregatedPosterior(FAMILIES["full"]()).log_prob(z)

    expected = AggregatedPosterior(FAMILIES["full"]()).log_prob(z)
    np.testing.assert_allclose(score(z), expected, rtol=1e-6)
    again = tf.function(lambda q: q, autograph=False)(q)
    assert type(again).__name__ == type(q).__name__
    np.testing.assert_allclose(again.log_prob(z), q.log_prob(z), rtol=1e-6)
    assert as_factors(q) is None  # a mean of products is no product


@pytest.mark.parametrize("family", [tfd.Laplace, tfd.LogNormal])
def test_has_gradients_in_blocks(family, monkeypatch):
    """Of values that are all there are: zero has no density of a positive number."""
    monkeypatch.setattr(aggregated, "_ELEMENTS_AT_ONCE", 7 * 3 * 4)
    loc = tf.Variable(LOC)

    def gradient(make):
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(make(tfd.Independent(family(loc, SCALE), 1)))
        return tape.gradient(value, loc)

    z = tf.exp(tf.constant(RNG.normal(size=(6, 3)), tf.float32))
    one = tfd.Categorical(tf.zeros(7))
    found = gradient(lambda q: AggregatedPosterior(q).log_prob(z))
    expected = gradient(lambda q: tfd.MixtureSameFamily(one, q).log_prob(z))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_graphs_score_no_more_values_than_there_are(monkeypatch):
    """Values of which nobody knows how many come take one block, not the largest there may be."""
    scored = []

    def counting(q_z, z):
        tf.py_function(lambda size: scored.append(int(size)), [tf.shape(z)[1]], [])
        return pairwise_log_prob_exact(q_z, z)

    monkeypatch.setattr(aggregated, "pairwise_log_prob_exact", counting)
    q = AggregatedPosterior(FAMILIES["full"]())
    log_prob = tf.function(
        q.log_prob, autograph=False, input_signature=[tf.TensorSpec([None, 3], tf.float32)]
    )
    log_prob(LOC[:5])
    monkeypatch.setattr(aggregated, "_ELEMENTS_AT_ONCE", 7 * 3 * 4)
    aggregated.AggregatedPosterior(FAMILIES["full"]()).log_prob(LOC[:5])
    assert scored == [5, 3, 3]
    # Else the loops of a training step around them end in "already exists", of large graphs alone.
    library = log_prob.get_concrete_function().graph.as_graph_def().library.function
    assert any(function.attr["_noinline"].b for function in library)


@pytest.mark.parametrize("elements", [2**24, 1])
def test_draws_carry_the_gradient_of_their_component(elements, monkeypatch):
    """d mean z / d loc of each component: the share of the draws that came from it."""
    monkeypatch.setattr(aggregated, "_ELEMENTS_AT_ONCE", elements)
    loc = tf.Variable([[0.0], [1e6], [2e6]])
    with tf.GradientTape() as tape:
        q = AggregatedPosterior(tfd.Independent(tfd.Laplace(loc, 1.0), 1))
        z = q.sample(60, seed=[0, 1])
        mean = tf.reduce_mean(z)
    shares = np.bincount(np.round(z[:, 0] / 1e6).astype(int), minlength=3) / 60
    np.testing.assert_allclose(tape.gradient(mean, loc)[:, 0], shares, rtol=1e-5)


def test_is_made_again_by_a_copy_and_draws_without_a_seed():
    q = AggregatedPosterior(FAMILIES["laplace"]())
    other = q.copy(name="other")
    assert type(other) is AggregatedPosterior
    assert other.name.startswith("other")
    np.testing.assert_array_equal(other.log_prob(LOC), q.log_prob(LOC))
    assert q.sample(4).shape == (4, 3)
    found = q.estimate_entropy(1)
    assert np.isfinite(found.entropy)
    assert np.isnan(found.standard_error)
    with pytest.raises(ValueError, match="Received: num_samples=0"):
        q.estimate_entropy(0)


def test_of_one_posterior_is_that_and_of_none_is_refused():
    one = tfd.MultivariateNormalTriL(LOC[:1], tf.eye(3)[None])
    q = AggregatedPosterior(one)
    np.testing.assert_allclose(q.log_prob(LOC), one.log_prob(LOC), rtol=1e-6)
    assert q.sample(5, seed=[0, 1]).shape == (5, 3)
    with pytest.raises(ValueError, match=r"N >= 1.*Received: batch shape \(0,\)"):
        AggregatedPosterior(tfd.MultivariateNormalDiag(LOC[:0], SCALE[:0]))


def test_of_latents_without_elements_is_zero():
    q = AggregatedPosterior(tfd.MultivariateNormalDiag(tf.zeros([4, 0]), tf.ones([4, 0])))
    np.testing.assert_array_equal(q.log_prob(tf.zeros([3, 0])), np.zeros(3))


def test_what_is_no_batch_of_posteriors_is_refused():
    with pytest.raises(ValueError, match=r"of batch shape \[N\].*Received: batch shape \(\)"):
        AggregatedPosterior(tfd.Normal(0.0, 1.0))
    with pytest.raises(ValueError, match=r"of batch shape \[\]. Received: batch shape \(7,\)"):
        AggregatedPosterior(FAMILIES["diagonal"](), tfd.Categorical(tf.zeros([7, 7])))


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.xla
@pytest.mark.parametrize("objective", [None, tfvae.objectives.MMD()], ids=["elbo", "mmd"])
def test_trains_as_a_prior_under_xla(objective):
    encoder = network(tfvae.layers.MultivariateNormalTriL(2), x=(6,))
    vae = tfvae.VAE(encoder, mlp_decoder(), tfvae.priors.VampPrior(3), seed=0)
    assert isinstance(vae.prior_distribution(), AggregatedPosterior)
    if objective is not None:
        objective = tfvae.objectives.ELBO() + objective  # whose draws of the prior have gradients
    assert_trains_under_xla(vae, binary_data(12), objective)
