"""The factors of a graph: in an order, drawn from, with other roots."""

import numpy as np
import pytest
import tensorflow as tf

from tests.graph.test_graph import X, part, two_finite
from tfvae import priors
from tfvae.graph.factors import Factors
from tfvae.graph.parts import Root
from tfvae.graph.posteriors import Networks
from tfvae.layers import MultivariateNormalDiag


def test_draws_have_the_marginals_of_the_factors():
    graph = two_finite()
    draws, means = graph.generate(4000, tf.constant([3, 4]), {})
    assert set(draws) == {"y", "k", "x", "w"}
    assert set(means) == {"x", "w"}
    np.testing.assert_allclose(np.mean(draws["y"], 0), [1 / 3] * 3, atol=0.03)
    np.testing.assert_allclose(np.mean(draws["x"] - means["x"], 0), np.zeros(4), atol=0.03)


def test_another_root_shares_all_else():
    graph = two_finite()
    other = graph.with_root("y", Root(priors.OneHot(), "y"))
    assert other.generative["x"] is graph.generative["x"]
    assert other.generative["y"] is not graph.generative["y"]
    assert graph.generative_weights[1:] == other.generative_weights[1:]


def test_circles_are_refused():
    factors = {
        "a": part(MultivariateNormalDiag(2), "a", b=(2,)),
        "b": part(MultivariateNormalDiag(2), "b", a=(2,)),
    }
    with pytest.raises(ValueError, match=r"circle: (a|b) reads (a|b); (a|b) reads"):
        Factors(factors, Networks({}))


def test_nodes_are_taken_apart_and_put_together():
    graph = two_finite()
    z = graph.p({}).sample(4, seed=(1, 2))
    parts = graph.split(z)
    assert {name: tuple(value.shape) for name, value in parts.items()} == {"y": (4, 3), "k": (4, 2)}
    np.testing.assert_array_equal(graph.join(parts), z)


@pytest.mark.slow
def test_the_likelihood_is_the_product_of_the_observed_nodes():
    graph = two_finite()
    z = graph.q({"x": tf.constant(X), "w": tf.zeros([5, 2])}).sample(seed=(1, 2))
    parts = graph.split(z)
    w = np.random.default_rng(1).normal(size=(5, 2)).astype("float32")
    alone = [
        graph.generative["x"].network({"y": parts["y"], "k": parts["k"]}).log_prob(X),
        graph.generative["w"].network({"y": parts["y"]}).log_prob(w),
    ]
    together = graph.likelihood(z, {}).log_prob(tf.concat([X, w], axis=-1))
    np.testing.assert_allclose(together, alone[0] + alone[1], rtol=1e-5)
