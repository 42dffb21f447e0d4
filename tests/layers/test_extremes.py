"""Whatever a layer draws, its own density is a number, and NaN stays NaN: all families."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.layers.cases import CASES, Case, mostly_slow
from tfvae import layers

TEMPERATURES = (0.01, 0.1, 1.0, 10.0)
EXTREMES = [
    *(family[0] for family in CASES.values()),
    *(family[-1] for family in CASES.values() if len(family) > 1),
    *(
        dataclasses.replace(case, kwargs={"temperature": temperature})
        for family in (layers.RelaxedBernoulli, layers.RelaxedOneHotCategorical)
        for case in CASES[family][-1:]
        for temperature in TEMPERATURES
    ),
]


def name_of(case: Case) -> str:
    return f"{case.label}-{case.kwargs.get('temperature', '')}".rstrip("-")


@pytest.mark.parametrize("case", mostly_slow(EXTREMES), ids=name_of)
def test_draws_have_finite_densities_and_gradients(case):
    """Logits from -50 to 50; scales and concentrations from their floors to a million."""
    generator, size = np.random.default_rng(0), case.params_size
    levels = np.array([-50.0, -7.0, 0.0, 7.0, 50.0, 1e6])
    same = levels[:, None] * np.ones(size)
    mixed = [generator.choice(levels[:end], (10, size)) for end in (5, 6)]
    params = tf.constant(np.concatenate([same, *mixed]), tf.float32)  # [B, P]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(params)
        p = case.make()(params)
        x = p.sample(50, seed=[1, 2])
        at_draw = p.log_prob(tf.stop_gradient(x))
        along_draw = p.log_prob(x)
    assert np.all(np.isfinite(x))
    assert np.all(np.isfinite(at_draw))
    found = [tape.gradient(value, params) for value in (at_draw, along_draw)]
    if x.dtype.is_floating:
        found.append(tape.gradient(x, params))
    assert all(np.all(np.isfinite(gradient)) for gradient in found if gradient is not None)


@pytest.mark.parametrize("case", mostly_slow([family[0] for family in CASES.values()]), ids=name_of)
def test_nan_stays_nan(case):
    """In a parameter or in the data of one example; the others of the batch keep their density."""
    if case.layer is layers.Masked:
        return  # To which NaN is an entry that was not observed: see test_masked.py.
    layer, rows = case.make(), 5
    params = np.repeat(case.params(1), rows, axis=0)
    x = np.repeat(np.asarray(tf.cast(case.values(1), layer(params).dtype)), rows, axis=0)
    expected = layer(params).log_prob(x)
    # The first entry and the last, which differ in kind where kinds do.
    params[0, 0] = params[1, -1] = np.nan
    broken = [True, True, False, False, False]
    if x.dtype.kind == "f":
        flat = x.reshape(rows, -1)
        flat[2, 0] = flat[3, -1] = np.nan
        broken = [True, True, True, True, False]

    def score(params, x):
        return layer(params).log_prob(x)

    for function in (score, tf.function(score, autograph=False)):
        log_prob = function(tf.constant(params), tf.constant(x))
        np.testing.assert_array_equal(np.isnan(log_prob), broken)
        np.testing.assert_allclose(log_prob[4], expected[4], rtol=1e-5, atol=1e-5)
