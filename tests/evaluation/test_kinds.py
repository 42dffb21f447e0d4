"""Every evaluation of every kind of model: against quadrature over z, sums, or a clear refusal."""

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import special

import tfvae
from tests.conftest import slow_but
from tests.kinds import KINDS, kind
from tfvae.distributions.finite import all_states, num_states
from tfvae.evaluation import measure_collapse, refine
from tfvae.evaluation.streaming import Stream

# Of these, z has two real dimensions or finitely many states.
KNOWN = [
    "plain",
    "one_latent",
    "conditional",
    "context_of_decoder",
    "directed",
    "given_node",
    "mixture",
    "codes",
    "drawn_bits",
    "flow",
    "full_covariance",
    "with_gaps",
]
NO_LATENTS = ["observed_graph", "density", "regression"]
NOT_OF_ONE_LAYER = ["hierarchical", "levels_apart", "semi_supervised", "tables", *NO_LATENTS]


def states(q_z):
    """All z `[G, *E]`, or those of a grid, and the log of the volume that each stands for."""
    if num_states(q_z) is not None:
        return all_states(q_z), 0.0
    dims = q_z.event_shape[0]
    points = np.linspace(-9.0, 9.0, 121 if dims == 2 else 2001)
    grid = np.stack(np.meshgrid(*[points] * dims), axis=-1).reshape(-1, dims)
    return tf.constant(grid, tf.float32), dims * math.log(points[1] - points[0])


def ledger_by_sums(model, data):
    ((batch, num),) = Stream(model, data, 100)
    q_z, p_z = model.encode(**batch), model.prior_of(batch)
    z, log_volume = states(q_z)
    z = tf.repeat(z[:, None], num, axis=1)
    p_x = model.decode(z, batch.get("context"))
    x = tf.broadcast_to(tf.cast(batch["x"], p_x.dtype), [len(z), *batch["x"].shape])
    log_p_x, log_q, log_p = (
        np.broadcast_to(np.asarray(values, np.float64), [len(z), num])
        for values in (p_x.log_prob(x), q_z.log_prob(z), p_z.log_prob(z))
    )
    weights = np.exp(log_q + log_volume)
    np.testing.assert_allclose(weights.sum(axis=0), 1.0, atol=1e-3)

    def expect(values):
        return np.sum(weights * np.where(weights > 0.0, values, 0.0), axis=0)

    parts = model.data.named(data)
    given = [np.asarray(parts[name]).reshape(num, -1) for name in model.graph.conditions]
    key = np.concatenate([*given, np.zeros([num, 1])], axis=1)
    alike = np.all(key[:, None] == key[None], axis=-1)
    log_q_z = np.stack(
        [special.logsumexp(log_q[:, row], axis=1) - math.log(row.sum()) for row in alike],
        axis=1,
    )
    return {
        "log_p_x": special.logsumexp(log_p_x + log_p + log_volume, axis=0),
        "elbo": expect(log_p_x + log_p - log_q),
        "distortion": -expect(log_p_x),
        "rate": expect(log_q - log_p),
        "mutual_information": expect(log_q - log_q_z),
        "marginal_kl": expect(log_q_z - log_p),
        "entropy_z": -expect(log_q_z),
        "entropy_z_given_x": -expect(log_q),
        "cross_entropy": -expect(log_p),
    }, alike


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but("plain", "given_node", "codes", of=KNOWN))
def test_the_ledger_is_that_of_sums_over_z(name):
    model, data = kind(name)
    expected, alike = ledger_by_sums(model, data)
    ledger = tfvae.decompose(
        model, data, num_samples=200, evidence_samples=20, batch_size=7, verbose=False
    )
    exact = name in ("mixture", "codes")
    for entry, values in expected.items():
        deviation = getattr(ledger, entry).per_point - values
        if entry == "log_p_x" and not exact:
            # Draws from a narrow q(z|x) have weights of heavy tails, with p(x) as their mean.
            assert np.mean(deviation) < 0.3, entry
            continue
        error = np.std(deviation, ddof=1) / math.sqrt(len(deviation))
        assert abs(np.mean(deviation)) < (0.0 if exact else 6 * error) + 1e-4, entry
    ceiling = np.mean(np.log(alike.sum(axis=1)))
    assert ledger.information_ceiling == pytest.approx(ceiling)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_every_evaluation_says_something_finite_or_why_not(name):
    model, data = kind(name)
    chunks = {"batch_size": 5, "verbose": False}
    evidence = tfvae.log_likelihood(model, data, 20, **chunks)
    assert evidence.per_point.shape == (12,)
    assert np.all(np.isfinite(evidence.per_point))
    if name in NO_LATENTS:
        with pytest.raises(ValueError, match="no latents that could collapse"):
            measure_collapse(model, data)
    else:
        report = measure_collapse(model, data, evidence_samples=2)
        assert np.all(np.isfinite(list(report.to_dict().values())))
        assert report.rate >= report.mutual_information - 0.3
    if name in NOT_OF_ONE_LAYER:
        with pytest.raises(ValueError, match=r"one layer of `tfvae\.layers` makes all"):
            refine(model, data, steps=1)
    else:
        found = refine(model, data, steps=2, **chunks)
        assert np.all(np.isfinite(found.amortisation_gap.per_point))
    if name == "with_gaps":
        filled = tfvae.impute(model, data, 20, **chunks)
        assert np.all(np.isfinite(filled.x))
        assert np.all(np.isfinite(filled.draws))
    else:
        with pytest.raises(ValueError, match=r"does not (take missing entries|know the nodes)"):
            tfvae.impute(model, data)
    one = {n: part[:1] for n, part in data.items()} if isinstance(data, dict) else data[:1]
    ledger = tfvae.decompose(model, one, num_samples=2, evidence_samples=2, verbose=False)
    assert np.isfinite(ledger.elbo.mean)
    assert "elbo" in str(ledger)
    assert max(map(len, str(ledger).splitlines())) <= 80


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def every_second(x):
    twice = np.zeros([2 * len(x), *x.shape[1:]], x.dtype)
    twice[::2] = x
    return twice[::2]


# The same numbers, otherwise kept. Labels, whole numbers among them, stay what they are.
LAYOUTS = {
    "read-only": read_only,
    "by columns": np.asfortranarray,
    "every second row": every_second,
    "backwards": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "other bytes": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "64 bits": lambda x: x.astype("float64" if x.dtype.kind == "f" else "int64"),
    "more bits": lambda x: x.astype(np.longdouble) if x.dtype.kind == "f" else x,
    "a subclass": lambda x: x.view(type("Mine", (np.ndarray,), {})),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_data_is_the_same_however_it_is_kept(name):
    model, data = kind(name)

    def evidence(keep):
        given = (
            {n: keep(part) for n, part in data.items()} if isinstance(data, dict) else keep(data)
        )
        return tfvae.log_likelihood(model, given, 2, seed=0, verbose=False).per_point

    expected = evidence(lambda x: x)
    assert np.all(np.isfinite(expected))
    for layout, keep in LAYOUTS.items():
        np.testing.assert_array_equal(evidence(keep), expected, err_msg=layout)
