"""Every parameter of every distribution of ours broadcasts against every other."""

import inspect

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tfvae import distributions
from tfvae.distributions import (
    DiscretizedLogistic,
    FullNormal,
    Heterogeneous,
    Labelled,
    Masked,
    OneHotMixture,
    ZeroInflated,
)
from tfvae.distributions.mixture import ReparameterizedMixture

tfd = tfp.distributions
SIZE = 2  # of events, and of components


def lower(raw):
    return tf.linalg.set_diag(tf.linalg.band_part(raw, -1, 0), tf.exp(tf.linalg.diag_part(raw)))


# From two arrays of parameters, and how many axes of each are no batch.
MAKERS = {
    ZeroInflated: (lambda a, b: ZeroInflated(tfd.Poisson(log_rate=2.0 + a), b), 0, 0),
    DiscretizedLogistic: (lambda a, b: DiscretizedLogistic(a, tf.exp(b), 8), 0, 0),
    FullNormal: (lambda a, b: FullNormal(a, lower(b)), 1, 2),
    OneHotMixture: (
        lambda a, b: OneHotMixture(tfd.Categorical(a), tfd.OneHotCategorical(b)),
        1,
        2,
    ),
    ReparameterizedMixture: (
        lambda a, b: ReparameterizedMixture(
            tfd.Categorical(a), tfd.Independent(tfd.Normal(b, 1.0), 1)
        ),
        1,
        2,
    ),
    Heterogeneous: (
        lambda a, b: Heterogeneous([tfd.Normal(a, 1.0), tfd.Normal(b, 1.0)], "ab"),
        0,
        0,
    ),
    Masked: (lambda a, b: Masked(tfd.Independent(tfd.Normal(a, tf.exp(b)), 1)), 1, 1),
    Labelled: (lambda a, b: Labelled(tfd.Normal(a, 1.0), tf.where(b > 0.0, b, np.nan)), 0, 0),
}
# Of one array of parameters, of none with a batch, or no parameters but other distributions.
ALONE = {
    "AggregatedPosterior",
    "Autoregressive",
    "Bernoulli",
    "EntropyEstimate",
    "Hierarchy",
    "KernelDensity",
    "NormalMixture",
    "Support",
}


def test_battery_is_complete():
    exported = {
        name for name in distributions.__all__ if inspect.isclass(vars(distributions)[name])
    }
    ours = {cls.__name__ for cls in MAKERS} - {"ReparameterizedMixture"}
    assert exported == ours | ALONE


@pytest.mark.parametrize(
    "shapes", [((), (40,)), ((40,), ()), ((8, 1), (5,)), ((1,), (40,))], ids=str
)
@pytest.mark.parametrize("cls", MAKERS, ids=lambda cls: cls.__name__)
def test_parameters_broadcast(cls, shapes):
    make, *axes = MAKERS[cls]
    generator = np.random.default_rng(0)
    batch = np.broadcast_shapes(*shapes)
    given, full = [], []
    for shape, rank in zip(shapes, axes, strict=True):
        event = rank * (SIZE,)
        given.append(generator.normal(size=shape + event).astype("float32"))
        full.append(np.broadcast_to(given[-1], batch + event))
    p, whole = make(*given), make(*full)
    assert p.batch_shape == batch
    x = whole.sample(seed=[1, 2])
    np.testing.assert_allclose(p.log_prob(x), whole.log_prob(x), rtol=1e-5)
    for name in ("mean", "mode", "variance"):
        try:
            expected = getattr(whole, name)()
        except NotImplementedError:
            continue
        np.testing.assert_allclose(getattr(p, name)(), expected, rtol=1e-4, atol=1e-6)
    draws = p.sample(3, seed=[1, 2])
    assert draws.shape == (3, *batch, *p.event_shape)
    assert p.sample(seed=[1, 2]).shape == x.shape
    if shapes != ((), (40,)):
        return
    # In graphs of unknown sizes too.
    specs = [
        tf.TensorSpec([None] * len(part.shape[: part.ndim - rank]) + rank * [SIZE])
        for part, rank in zip(given, axes, strict=True)
    ]
    drawn = tf.function(lambda a, b: make(a, b).sample(3, seed=[1, 2])).get_concrete_function(
        *specs
    )
    assert drawn(*map(tf.constant, given)).shape == draws.shape


@pytest.mark.parametrize("cls", MAKERS, ids=lambda cls: cls.__name__)
def test_draws_are_independent_over_a_broadcast_batch(cls):
    """Each of 40 equal distributions draws for itself, whichever parameter brings the batch in."""
    make, *axes = MAKERS[cls]
    for shapes in ((), (40,)), ((40,), ()):
        given = [
            np.zeros(shape + rank * (SIZE,), "float32")
            for shape, rank in zip(shapes, axes, strict=True)
        ]
        draws = make(*given).sample(100, seed=[1, 2])  # [100, 40, *E]
        draws = np.asarray(draws).reshape(100, 40, -1)
        # Of two independent draws at most one in two is the same on average, of one all are.
        same = np.all(draws == draws[:, :1], axis=-1)[:, 1:]
        assert np.mean(same) < 0.6


def test_zero_inflated_by_hand():
    counts = ZeroInflated(tfd.Poisson(5.0), logits=np.zeros(2000)).sample(seed=3)
    assert len(np.unique(counts)) > 8
    assert np.mean(counts) == pytest.approx(2.5, abs=5 * np.sqrt(8.75 / 2000))
