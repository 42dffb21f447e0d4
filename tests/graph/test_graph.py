"""A graph without any model draws, scores and adds up what its factors say."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.test_directed import network
from tfvae import priors
from tfvae.graph.graph import Graph
from tfvae.graph.parts import Network, Root
from tfvae.graph.posteriors import Networks
from tfvae.layers import IndependentBernoulli, MultivariateNormalDiag, OneHotCategorical
from tfvae.objectives import ELBO, ScoreFunction

X = np.random.default_rng(0).integers(0, 2, (5, 4)).astype("float32")
FLOATS = {"x": "float32", "w": "float32"}


def part(layer, title, **inputs):
    return Network(network(layer, **inputs), title, (), list(inputs))


def two_finite(**settings):
    """y and k, summed over, make x and w; w reads y alone."""
    keras.utils.set_random_seed(1)
    factors = {
        "y": Root(priors.OneHot(), "y"),
        "k": part(OneHotCategorical(2), "k", y=(3,)),
        "x": part(IndependentBernoulli(4), "x", y=(3,), k=(2,)),
        "w": part(MultivariateNormalDiag(2), "w", y=(3,)),
    }
    posterior = Networks(
        {
            "y": part(OneHotCategorical(3), "q(y)", x=(4,)),
            "k": part(OneHotCategorical(2), "q(k)", x=(4,)),
        }
    )
    graph = Graph(factors, posterior, **settings)
    graph.build(graph.known_shapes(), FLOATS)
    return graph


def given_y(**settings):
    """As `two_finite`, but under q k is drawn after y."""
    graph = two_finite()
    parts = {
        "y": part(OneHotCategorical(3), "q(y)", x=(4,)),
        "k": part(OneHotCategorical(2), "q(k)", x=(4,), y=(3,)),
    }
    graph = Graph(graph.generative, Networks(parts), **settings)
    graph.build(graph.known_shapes(), FLOATS)
    return graph


@pytest.mark.slow
@pytest.mark.each_case
@pytest.mark.parametrize("make", [two_finite, given_y])
def test_each_node_is_charged_with_what_its_draw_may_change(make):
    """The estimates of all states, each with its probability, are the gradient of the sum."""
    beta = 2.5
    graph, states = make(max_states=0), list(itertools.product(np.eye(3), np.eye(2)))
    data = {"x": tf.repeat(X[:1], 6, axis=0), "w": tf.ones([6, 2])}
    values = {
        "y": tf.constant([[y for y, _ in states]], tf.float32),
        "k": tf.constant([[k for _, k in states]], tf.float32),
    }
    objective = ELBO(beta, analytic_kl=False, gradient=ScoreFunction())
    seed = tf.constant([0, 1])
    with tf.GradientTape(persistent=True) as tape:
        q_z, p_z = graph.q(data), graph.p(data)
        levels = graph.levels(q_z)
        given = levels.conditionals(values)
        drawn = graph.draw(levels, 1, seed, objective)._replace(
            values=values,
            log_probs={n: given[n].log_prob(v, graph.shapes[n]) for n, v in values.items()},
        )
        graph.draw = lambda *_: drawn
        terms = graph.terms(data, 1, seed, q_z=q_z, p_z=p_z, objective=objective)
        probability = tf.exp(terms.log_q_z[0])
        exact = tf.reduce_sum(probability * terms.log_w_at(beta)[0])
        estimated = tf.reduce_sum(tf.stop_gradient(probability) * objective(terms))
    np.testing.assert_allclose(tf.reduce_sum(probability), 1.0, rtol=1e-5)
    np.testing.assert_allclose(estimated, exact, rtol=1e-5)
    for part in graph.posterior.networks:
        for weight in part.trainable_weights:
            one, other = tape.gradient(estimated, weight), tape.gradient(exact, weight)
            assert np.abs(other).max() > 0.01
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    moved = {"y", "k"} if make is given_y else {"y"}
    assert terms.reach == {"y": ({"y", "k", "x", "w"}, moved), "k": ({"k", "x"}, {"k"})}


@pytest.mark.slow
def test_sums_over_all_states_are_those_of_a_loop():
    graph = two_finite()
    data = {"x": tf.constant(X), "w": tf.constant(np.ones([5, 2], "float32"))}
    joint, under_q = [], []
    q = graph.levels(graph.q(data))
    for y, k in itertools.product(np.eye(3, dtype="float32"), np.eye(2, dtype="float32")):
        values = {"y": np.tile(y, [1, 5, 1]), "k": np.tile(k, [1, 5, 1])}
        z = q.join({name: tf.constant(value) for name, value in values.items()})
        joint.append((graph.log_p_observed(data, values) + graph.p(data).log_prob(z))[0])
        under_q.append(q.log_prob(z)[0])
    joint, under_q = np.float64(joint), np.float64(under_q)
    evidence = np.log(np.sum(np.exp(joint), axis=0))
    np.testing.assert_allclose(graph.log_evidence(data), evidence, rtol=1e-5)
    seed = tf.constant([0, 1])
    terms = graph.terms(data, 7, seed, q_z=graph.q(data), p_z=graph.p(data))
    assert terms.log_p_x.shape == (6, 5)  # no noise to average: one row for each state
    elbo = np.sum(np.exp(under_q) * (joint - under_q), axis=0)
    np.testing.assert_allclose(terms.elbo, elbo, rtol=1e-5)


def test_a_node_that_no_latent_acts_on_is_scored_once():
    graph = two_finite(max_states=0)
    data = {"x": tf.constant(X), "w": tf.constant(np.ones([5, 2], "float32"))}
    terms = graph.terms(data, 3, tf.constant([0, 1]), q_z=graph.q(data), p_z=graph.p(data))
    assert terms.log_p_x.shape == (3, 5)
    values = graph.split(terms.z)
    expected = graph.likelihood(terms.z[1], {})
    both = tf.concat([data["x"], data["w"]], axis=-1)
    np.testing.assert_allclose(terms.log_p_x[1], expected.log_prob(both), rtol=1e-5)
    np.testing.assert_allclose(graph.join({n: v[0] for n, v in values.items()}), terms.z[0])


def test_labels_of_one_point_are_none_of_another():
    """y is summed over, or given: each row is that of the row alone, whatever the others say."""
    keras.utils.set_random_seed(2)
    factors = {"y": Root(priors.OneHot(), "y"), "x": part(IndependentBernoulli(4), "x", y=(3,))}
    posterior = Networks({"y": part(OneHotCategorical(3), "q(y)", x=(4,))})
    graph = Graph(factors, posterior, partly_observed=["y"])
    graph.build(graph.known_shapes(), FLOATS)
    states = np.eye(3, dtype="float32")
    y = np.float32([[np.nan] * 3, states[1], states[2], [np.nan] * 3, states[0]])
    data = {"x": tf.constant(X), "y": tf.constant(y)}
    log_p = (
        np.log(1 / 3) + graph.generative["x"].network({"y": states}).log_prob(X[:, None]).numpy()
    )
    given = np.where(np.isnan(y), 1.0, y)
    exact = np.log(np.sum(np.exp(log_p) * given, axis=1))
    np.testing.assert_allclose(graph.log_evidence(data), exact, rtol=1e-5)
    backwards = {name: value[::-1] for name, value in data.items()}
    np.testing.assert_allclose(graph.log_evidence(backwards), exact[::-1], rtol=1e-5)


def test_no_rows():
    """Nodes that are summed over, one that none of them acts on, and a graph without latents."""
    for data in ({"x": X[:0], "w": np.zeros([0, 2], "float32")}, {"x": X[:0]}):
        observed_alone = len(data) == 1
        graph = observed_graph() if observed_alone else two_finite()
        given = {name: tf.constant(value) for name, value in data.items()}
        terms = graph.terms(given, 3, tf.constant([0, 1]), q_z=graph.q(given), p_z=graph.p(given))
        assert terms.log_p_x.shape == (3 if observed_alone else 6, 0)
        assert terms.elbo.shape == (0,)
        p_x = graph.likelihood(tf.zeros([0, *graph.latent_shape]), {})
        assert p_x.mean().shape == (0, *p_x.event_shape)


def observed_graph():
    graph = Graph({"x": Root(priors.Parametric(IndependentBernoulli(4)), "x")}, Networks({}))
    graph.build({"x": (4,)}, FLOATS)
    return graph
