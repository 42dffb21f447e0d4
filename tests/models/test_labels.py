"""Labels of any of several latents, in any of the rows, against sums over what is not known."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tests.conftest import slow_but
from tests.kinds import semi_supervised
from tests.models.tables import SIZES, Graph
from tests.objectives.test_levels import FINITE, MIXED
from tfvae.distributions.hierarchy import Hierarchy
from tfvae.distributions.levels import Factor
from tfvae.objectives import ELBO, Enumerated, LeaveOneOut

tfd = tfp.distributions

LABELS = {
    "y": np.eye(3),
    "c": np.eye(2),
    "z": np.array([[0.3], [-1.2]]),
}


def patterns(names):
    """Every label of every node, and none, in every combination: dicts of what is known."""
    each = [[None, *LABELS[name]] for name in names]
    return [
        {name: value for name, value in zip(names, values, strict=True) if value is not None}
        for values in itertools.product(*each)
    ]


def directed(graph, names):
    model = graph.directed(partly_observed=names)
    objective = ELBO(num_samples=2, gradient=LeaveOneOut())
    model.compile("sgd", objective, jit_compile=False)
    return model


def data(graph, names, known):
    batch = graph.batch(len(known))
    unknown = {name: np.full(SIZES[name], np.nan) for name in names}
    labels = {
        name: np.stack([{**unknown, **row}[name] for row in known]).astype("float32")
        for name in names
    }
    return {**batch, **labels}


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("names", [["y"], ["c"], ["c", "y"]], ids=str)
@pytest.mark.parametrize("name", ["two causes", "chain, q apart", "chain, q a chain"])
def test_of_finite_latents(name, names):
    graph = Graph(*FINITE[name], scale=0.6)
    model = directed(graph, names)
    known = patterns(names)
    elbo = [graph.elbo(graph.params, row) for row in known]
    evidence = [graph.log_evidence(graph.params, row) for row in known]
    parts = data(graph, names, known)
    batch = model.data.as_batch(parts)
    # A level that depends on another one is drawn, and rows are then the truth where it is known.
    drawn = "c" if name == "chain, q a chain" else None
    exact = np.array([drawn is None or drawn in row for row in known])
    terms = model.terms(num_samples=4, seed=1, **batch)
    np.testing.assert_allclose(terms.elbo[exact], np.array(elbo)[exact], rtol=1e-5)
    np.testing.assert_allclose(terms.log_evidence[exact], np.array(evidence)[exact], rtol=1e-5)
    np.testing.assert_allclose(tf.reduce_sum(tf.exp(terms.log_weights), axis=0), 1.0, rtol=1e-5)
    found = tfvae.log_likelihood(model, parts, 2000, verbose=False)
    error = found.per_point_standard_error
    assert np.all(error[exact] < 1e-3)
    assert np.all(np.abs(found.per_point - evidence) < 5 * error + 1e-4)
    if exact.all():
        np.testing.assert_allclose(model.exact_log_p_x(**batch), evidence, rtol=1e-5)
        np.testing.assert_allclose(Enumerated(marginal=True)(terms), evidence, rtol=1e-5)
        ledger = tfvae.decompose(model, parts, num_samples=1, verbose=False)
        np.testing.assert_allclose(ledger.log_p_x.per_point, evidence, rtol=1e-5)
        np.testing.assert_allclose(ledger.elbo.per_point, elbo, rtol=1e-5)
    # Draws in place of sums have the same mean.
    objective = ELBO(num_samples=500, gradient=LeaveOneOut())
    log_w = model.terms(num_samples=500, seed=1, objective=objective, **batch).log_w.numpy()
    error = log_w.std(axis=0) / np.sqrt(500)
    assert np.all(np.abs(log_w.mean(axis=0) - elbo) < 5 * error + 1e-4)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("name", slow_but("styles, q a chain", of=list(MIXED)))
def test_of_finite_and_gaussian_latents(name):
    graph, names = Graph(*MIXED[name], scale=0.6), ["y", "z"]
    # Wide enough for importance weights of a small variance.
    graph.params[graph.columns["q", "z"][0] + 1] += 2.0
    model = directed(graph, names)
    known = patterns(names)
    parts = data(graph, names, known)
    terms = model.terms(num_samples=1000, seed=1, **model.data.as_batch(parts))
    found = tfvae.log_likelihood(model, parts, 4000, verbose=False)
    error = found.per_point_standard_error
    evidence = [graph.log_evidence(graph.params, row) for row in known]
    assert np.all(np.abs(found.per_point - evidence) < 5 * error + 1e-4)
    elbo = [graph.elbo(graph.params, row) for row in known]
    log_w = terms.log_w.numpy().reshape(-1, 1000, len(known))
    if terms.log_weights is not None:
        weights = np.exp(terms.log_weights.numpy()).reshape(log_w.shape) * 1000
        log_w = np.sum(weights * log_w, axis=0, keepdims=True)
    error = log_w[0].std(axis=0) / np.sqrt(1000)
    assert np.all(np.abs(log_w[0].mean(axis=0) - elbo) < 5 * error + 1e-3)
    assert np.all(np.abs(terms.elbo - elbo) < 5 * error + 1e-3)  # of less noise where rates are


def test_states_without_any_probability_under_q_count_in_the_evidence():
    """q = (1, 0, 0) where p = (0.2, 0.3, 0.5)."""
    q = tfd.OneHotCategorical(tf.constant([[0.0, -np.inf, -np.inf]]), dtype=tf.float32)
    factor = Factor("y", (), lambda _: q)
    levels = Hierarchy([factor], {"y": (3,)}, {"": tf.zeros([1, 0])})
    draws = levels.draw(2, tf.constant([0, 1]), max_states=3)
    log_p = np.log(np.repeat([0.2, 0.3, 0.5], 2))[:, None]
    np.testing.assert_allclose(
        tf.reduce_logsumexp(log_p.astype("float32") + draws.log_measure, axis=0), 0.0, atol=1e-6
    )


def test_rows_of_labels_are_known_whole_or_not_at_all():
    model, data = semi_supervised()
    model.compile("adam", run_eagerly=True)
    half = np.eye(3, dtype="float32")[np.maximum(data["y"], 0)]
    half[4, 1] = half[7, 2] = np.nan
    rows = {"x": data["x"], "y": half}
    with pytest.raises(ValueError, match=r"as a whole in each row.* Received: 2 such rows, row 4"):
        model.fit(rows, verbose=0)
    with pytest.raises(ValueError, match=r"^`y` must be known as a whole in each row"):
        model.fit(tf.data.Dataset.from_tensor_slices(rows).batch(6), verbose=0)
    half[[4, 7]] = np.nan
    assert np.isfinite(model.evaluate(rows, verbose=0)[0])
