"""Importance-sampled evidence in blocks against NumPy on the same draws."""

import numpy as np
import pytest
import scipy.special
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tests.conftest import binary_data, mlp_vae, slow_but
from tfvae._random import fold_in, stateless_seed
from tfvae.graph.evidence import importance_evidence

BLOCKS = {"1-1": (1, 1), "7-7": (7, 7), "7-3": (7, 3), "3-10": (3, 10)}


@pytest.mark.slow
@pytest.mark.parametrize(("num_samples", "block"), slow_but("7-3", of=BLOCKS))
def test_blocks_are_one_estimate(num_samples, block):
    vae, x, seed = mlp_vae(), binary_data(5), stateless_seed(3)
    blocks = -(-num_samples // block)
    log_w = [vae.terms(x, block, fold_in(seed, i)).log_w for i in range(blocks)]
    log_w = np.concatenate(log_w, axis=0)[:num_samples].astype("float64")  # [S, B]
    expected = scipy.special.logsumexp(log_w, axis=0) - np.log(num_samples)
    w = np.exp(log_w - log_w.max(axis=0))
    ess = w.sum(axis=0) ** 2 / np.square(w).sum(axis=0)

    def estimate(count):
        return importance_evidence(vae, {"x": x}, count, seed, block, num_largest=4)

    for evidence in (estimate(num_samples), tf.function(estimate)(tf.constant(num_samples))):
        most = -np.sort(-np.pad(log_w, [(0, 4), (0, 0)], constant_values=-np.inf), axis=0)[:4]
        np.testing.assert_allclose(evidence.course.largest, most.T, rtol=1e-5)
        for power in range(1 + int(np.log2(num_samples // block)) if num_samples >= block else 0):
            first = log_w[: block << power]
            early = scipy.special.logsumexp(first, axis=0) - np.log(len(first))
            np.testing.assert_allclose(evidence.course.early[power], early, rtol=1e-5)
        np.testing.assert_allclose(evidence.log_p_x, expected, rtol=1e-5)
        np.testing.assert_allclose(evidence.ess, ess, rtol=1e-4)
        if num_samples == 1:
            assert np.all(np.isnan(evidence.standard_error))
            continue
        # The log of the mean weight, less that of the mean less its standard error.
        mean, error = w.mean(axis=0), w.std(axis=0, ddof=1) / np.sqrt(num_samples)
        below = np.log(mean) - np.log(mean - error)
        np.testing.assert_allclose(evidence.standard_error, below, rtol=1e-3, atol=1e-5)


class Weighed:
    """Stands in for a model: its draws have these log weights `[S, B]`."""

    def __init__(self, log_w):
        self.log_w = tf.constant(log_w, tf.float32)

    def exact_log_p_x(self, x):
        return None

    def encode(self, x):
        return tfp.distributions.MultivariateNormalDiag(tf.zeros_like(x), tf.ones_like(x))

    def prior_of(self, batch):
        return None

    def terms(self, x, **settings):
        zeros = tf.zeros_like(self.log_w)
        return tfvae.Terms(self.log_w, zeros, zeros, None, zeros[..., None], None, None)


@pytest.mark.parametrize(
    ("log_w", "error"),
    [
        ([-1.0, -1.0], 0.0),
        ([0.0, -10.0], 10.0 - np.log(2.0)),  # two draws: as far as the smaller weight
        ([0.0, -np.inf], np.inf),  # one draw carries all
        ([0.0, -np.inf, -np.inf, -np.inf], np.inf),
        ([-np.inf, -np.inf], np.inf),
        ([-5.0], np.nan),
    ],
)
def test_error_says_what_the_draws_can_tell(log_w, error):
    log_w = np.array(log_w)[:, None]
    batch = {"x": tf.zeros([1, 2])}
    evidence = importance_evidence(Weighed(log_w), batch, len(log_w), stateless_seed(0), len(log_w))
    with np.errstate(divide="ignore"):
        expected = np.log(np.mean(np.exp(log_w)))
    np.testing.assert_allclose(evidence.log_p_x, [expected], rtol=1e-5)
    np.testing.assert_allclose(evidence.standard_error, [error], rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.xla
def test_courses_are_the_same_under_xla():
    """At weights that are given: under XLA the same seed gives other draws."""
    log_w = np.random.default_rng(0).normal(size=(100, 3)) * 3.0
    model, batch, seed = Weighed(log_w), {"x": tf.zeros([3, 2])}, stateless_seed(0)

    def estimate(count):
        return importance_evidence(model, batch, count, seed, 100, num_largest=60)

    plain = estimate(tf.constant(250))  # all of them twice, and the first half once more
    compiled = tf.function(estimate, jit_compile=True)(tf.constant(250))
    np.testing.assert_array_equal(compiled.course.largest, plain.course.largest)
    np.testing.assert_allclose(compiled.course.early, plain.course.early, rtol=1e-6)
    every = np.concatenate([log_w, log_w, log_w[:50]]).astype("float32")
    np.testing.assert_array_equal(plain.course.largest, -np.sort(-every.T)[:, :60])


@pytest.mark.slow
def test_what_nobody_asks_for_costs_nothing():
    vae, x, seed = mlp_vae(), binary_data(5), stateless_seed(3)

    def operations(**settings):
        estimate = tf.function(
            lambda count: importance_evidence(vae, {"x": x}, count, seed, 3, **settings)
        )
        assert (estimate(tf.constant(7)).course is None) == (not settings)
        graph = estimate.get_concrete_function(tf.TensorSpec([], tf.int32)).graph
        loops = [op for op in graph.get_operations() if "While" in op.type]
        assert len(loops) == 1
        return len(loops[0].inputs), str(graph.as_graph_def())

    inputs, text = operations()
    more, text_with_course = operations(num_largest=4)
    assert "TopK" not in text
    assert "TopK" in text_with_course
    assert more > inputs


def test_a_known_evidence_has_a_course_without_news():
    mixture = tfvae.FiniteMixture(tfvae.layers.IndependentBernoulli(6), 3, seed=0)
    batch, seed = {"x": tf.constant(binary_data(5))}, stateless_seed(0)
    evidence = importance_evidence(mixture, batch, 9, seed, 3, num_largest=4)
    assert evidence.course.largest.shape == [5, 4]
    assert np.all(evidence.course.early == evidence.log_p_x)
    np.testing.assert_array_equal(evidence.course.largest[:, 0], evidence.log_p_x)
    assert importance_evidence(mixture, batch, 9, seed, 3).course is None


@pytest.mark.slow
def test_one_draw_has_no_standard_error():
    vae, x = mlp_vae(), binary_data(5)
    vae.compile("sgd", jit_compile=False)
    result = tfvae.log_likelihood(vae, x, 1, verbose=False)
    assert np.all(np.isfinite(result.per_point))
    assert np.all(np.isnan(result.per_point_standard_error))
    assert np.isnan(result.monte_carlo_error)
    assert np.isfinite(result.standard_error)  # over points, which are five
    assert "nan" in str(result)
