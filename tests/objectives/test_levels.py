"""Every gradient estimator on latents of several levels, against the exact gradient of a bound."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tests.models.tables import Graph, gradients
from tests.models.test_hierarchy import BOTTOM_UP, TOP_DOWN, LinearGaussian
from tfvae.objectives import (
    ELBO,
    DoublyReparameterised,
    ImportanceWeighted,
    LeaveOneOut,
    PathDerivative,
    Relaxed,
    ScoreFunction,
    StraightThrough,
)

ROWS = 8000

# What p and q of each node read. Nodes w and z are Gaussian, x is seen, the others are one-hot.
FINITE = {
    "chain, q apart": ({"y": [], "c": ["y"], "x": ["c"]}, {"y": ["x"], "c": ["x"]}),
    "chain, q a chain": ({"c": [], "y": ["c"], "x": ["y"]}, {"y": ["x"], "c": ["x", "y"]}),
    "two causes": ({"y": [], "c": [], "x": ["y", "c"]}, {"y": ["x"], "c": ["x"]}),
    "levels, q apart": (
        {"z_2": [], "z_1": ["z_2"], "x": ["z_1"]},
        {"z_2": ["x"], "z_1": ["x"]},
    ),
    "levels, q down": (
        {"z_2": [], "z_1": ["z_2"], "x": ["z_1"]},
        {"z_2": ["x"], "z_1": ["x", "z_2"]},
    ),
}
MIXED = {
    "clusters, q apart": ({"y": [], "z": ["y"], "x": ["z"]}, {"y": ["x"], "z": ["x"]}),
    "clusters, q a chain": ({"y": [], "z": ["y"], "x": ["z"]}, {"y": ["x"], "z": ["x", "y"]}),
    "styles, q apart": ({"z": [], "y": ["z"], "x": ["z", "y"]}, {"y": ["x"], "z": ["x"]}),
    "styles, q a chain": ({"z": [], "y": ["z"], "x": ["y"]}, {"z": ["x"], "y": ["x", "z"]}),
}
GAUSSIAN = {
    "levels, q apart": ({"w": [], "z": ["w"], "x": ["z", "w"]}, {"w": ["x"], "z": ["x"]}),
    "levels, q down": ({"w": [], "z": ["w"], "x": ["z", "w"]}, {"w": ["x"], "z": ["x", "w"]}),
    "levels, q up": ({"w": [], "z": ["w"], "x": ["z"]}, {"z": ["x"], "w": ["z"]}),
}
# Parameters where levels say much of each other.
SETTINGS = {"levels, q down": {"seed": 1}, "levels, q up": {"scale": 1.5}}
OF_SCORES = [
    ELBO(num_samples=2, gradient=LeaveOneOut()),
    ELBO(beta=0.7, gradient=ScoreFunction()),
    ELBO(analytic_kl=False, num_samples=2, gradient=LeaveOneOut()),
]
OF_DRAWS = [
    ELBO(),
    ELBO(analytic_kl=False, gradient=PathDerivative()),
    ELBO(beta=0.7, analytic_kl=False, gradient=DoublyReparameterised()),
    *(
        ImportanceWeighted(2, gradient=gradient)
        for gradient in (ELBO().gradient, DoublyReparameterised(), LeaveOneOut())
    ),
    *(
        ImportanceWeighted(2, encoder_groups=2, gradient=gradient)
        for gradient in (ELBO().gradient, PathDerivative(), DoublyReparameterised())
    ),
]
MADE = {}


def quick_first(cases):
    """Marks all cases slow but the first: they are quick, and many."""
    first, *others = cases
    return [first, *(pytest.param(case, marks=pytest.mark.slow) for case in others)]


def made(kinds, name):
    """Returns a graph and its model, which tests only read."""
    p, q = kinds[name]
    key = str((p, q))
    if key not in MADE:
        settings = SETTINGS.get(name, {}) if kinds is GAUSSIAN else {}
        graph = Graph(p, q, **{"scale": 0.6, **settings})
        MADE[key] = graph, graph.hierarchical() if "z_1" in p else graph.directed()
    return MADE[key]


@functools.cache
def exact_elbo(graph, beta):
    return graph.elbo(graph.params, beta=beta), graph.slope(lambda p: graph.elbo(p, beta=beta))


@functools.cache
def exact_iwae(graph):
    return graph.iwae(graph.params), graph.slope(graph.iwae)


def exact(graph, objective):
    """The expectation of the bound, and its gradient in all parameters."""
    if isinstance(objective, ELBO):
        return exact_elbo(graph, objective.beta)
    value, slope = exact_iwae(graph)
    if objective.encoder_groups:  # of one draw each: the ELBO is what the encoder climbs
        slope = np.where(graph.of_q(), exact_elbo(graph, 1.0)[1], slope)
    return value, slope


def assert_unbiased(graph, model, objective, columns=slice(None)):
    value, slope = exact(graph, objective)
    bounds, found = gradients(model, graph.batch(ROWS), objective)
    for rows, expected in ((bounds, value), (found[:, columns], slope[columns])):
        error = rows.std(axis=0) / np.sqrt(ROWS)
        np.testing.assert_array_less(np.abs(rows.mean(axis=0) - expected), 5 * error + 2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", quick_first(FINITE))
@pytest.mark.parametrize(
    "objective", quick_first([*OF_SCORES, ImportanceWeighted(2, gradient=LeaveOneOut())])
)
def test_of_finite_latents(name, objective):
    assert_unbiased(*made(FINITE, name), objective)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["chain, q apart", "two causes"])
def test_of_sums_over_finite_latents(name):
    graph, model = made(FINITE, name)
    assert_unbiased(graph, model, ELBO())
    bounds, _ = gradients(model, graph.batch(3), ELBO())
    np.testing.assert_allclose(bounds, graph.elbo(graph.params), rtol=1e-5)  # without noise


@pytest.mark.parametrize("objective", [ELBO(gradient=StraightThrough()), ELBO(gradient=Relaxed())])
def test_of_p_beside_draws_that_are_biased_for_q(objective):
    graph, model = made(FINITE, "two causes")
    assert_unbiased(graph, model, objective, columns=~graph.of_q())


@pytest.mark.slow
@pytest.mark.parametrize("name", quick_first(MIXED))
@pytest.mark.parametrize(
    "objective", quick_first([*OF_SCORES, ImportanceWeighted(2, gradient=LeaveOneOut())])
)
def test_of_finite_and_gaussian_latents(name, objective):
    assert_unbiased(*made(MIXED, name), objective)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["clusters, q apart", "clusters, q a chain", "styles, q apart"])
def test_of_sums_beside_gaussian_latents(name):
    assert_unbiased(*made(MIXED, name), ELBO())


@pytest.mark.slow
@pytest.mark.parametrize("name", quick_first(GAUSSIAN))
@pytest.mark.parametrize("objective", quick_first([*OF_SCORES[:1], *OF_DRAWS]))
def test_of_gaussian_latents(name, objective):
    assert_unbiased(*made(GAUSSIAN, name), objective)


@pytest.mark.slow
@pytest.mark.parametrize("reads", [TOP_DOWN, BOTTOM_UP], ids=["top-down", "bottom-up"])
def test_paths_alone_have_no_gradient_at_the_exact_posterior(reads):
    """log w is log p(x) wherever z lies: not on average, but for each draw."""
    linear = LinearGaussian()
    x = linear.draw(1)
    q = {name: linear.conditional(name, parents) for name, parents in reads.items()}
    vae = linear.model(q)
    largest = {}
    for objective in (
        ELBO(analytic_kl=False),
        ELBO(analytic_kl=False, gradient=PathDerivative()),
        ELBO(analytic_kl=False, gradient=DoublyReparameterised()),
        ImportanceWeighted(3, gradient=DoublyReparameterised()),
        ImportanceWeighted(4, encoder_groups=2, gradient=DoublyReparameterised()),
    ):
        with tf.GradientTape() as tape:
            bound = objective(vae.terms(x, objective.num_samples, 3, objective=objective))
        slopes = tape.gradient(bound, vae.graph.posterior_weights)
        largest[objective] = max(float(tf.reduce_max(tf.abs(slope))) for slope in slopes)
    plain, *others = largest.values()
    assert plain > 0.1
    assert max(others) < 1e-3 * plain
