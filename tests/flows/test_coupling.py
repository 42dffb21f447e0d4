"""Coupling flows: which half maps which."""

import numpy as np
import pytest
import tensorflow as tf

from tests.flows.cases import normal, perturb
from tfvae.flows import NeuralSpline, RealNVP


def jacobian(flow, size):
    x = normal(1, size)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = flow.bijector().forward(x)
    return tape.batch_jacobian(y, x)[0].numpy()


@pytest.mark.slow
@pytest.mark.parametrize("cls", [RealNVP, NeuralSpline])
@pytest.mark.parametrize("size", [2, 5])
def test_one_transform_keeps_one_half(cls, size):
    flow = cls(1, [8], activation="tanh", dtype="float64")
    flow.build(size)
    found, kept = jacobian(perturb(flow), size), size // 2
    np.testing.assert_array_equal(found[:kept], np.eye(size)[:kept])
    below = found[kept:, kept:]
    np.testing.assert_array_equal(below, np.diag(np.diag(below)))
    assert np.all(np.diag(below) > 0.0)
    assert np.all(found[kept:, :kept] != 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("cls", [RealNVP, NeuralSpline])
@pytest.mark.parametrize("size", [2, 7])
def test_transforms_mix_all_dimensions(cls, size):
    flow = cls(6, [8], activation="tanh", dtype="float64")
    flow.build(size)
    found = jacobian(perturb(flow), size)
    assert np.all(found != 0.0)
    # With the gradients of reordering, by differences.
    f, x = flow.bijector(), normal(1, size)
    steps = tf.concat([x + 1e-6 * np.eye(size), x - 1e-6 * np.eye(size)], axis=0)
    above, below = tf.split(f.forward(steps), 2)
    np.testing.assert_allclose(found, np.transpose(above - below) / 2e-6, rtol=1e-4, atol=1e-6)
    log_det = f.forward_log_det_jacobian(x, 1)[0]
    assert float(log_det) == pytest.approx(np.linalg.slogdet(found)[1], abs=1e-8)


def test_halves_are_drawn_by_the_seed():
    orders = [np.concatenate(RealNVP(6, seed=seed)._orders(8)) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(orders[0], orders[1])
    assert np.any(orders[0] != orders[2])


@pytest.mark.parametrize("cls", [RealNVP, NeuralSpline])
def test_one_dimension_has_no_halves(cls):
    with pytest.raises(ValueError, match=r"at least 2 dimensions. Received: 1.*autoregressive"):
        cls().build(1)


def test_numbers_of_no_spline_are_refused():
    for kwargs in ({"num_bins": 1}, {"bound": 0.0}, {"bound": float("nan")}):
        with pytest.raises(ValueError, match=r"needs `num_bins` >= 2 and `bound` > 0. Received"):
            NeuralSpline(**kwargs)
    with pytest.raises(ValueError, match=r"`num_bins` must be .* num_bins=2.5"):
        NeuralSpline(num_bins=2.5)


def test_splines_leave_what_is_outside():
    flow = NeuralSpline(2, [8], bound=2.0)
    flow.build(2)
    x = tf.constant([[2.5, -3.0], [-7.0, 1e3]])
    f = perturb(flow).bijector()
    np.testing.assert_array_equal(f.forward(x), x)
    np.testing.assert_array_equal(f.forward_log_det_jacobian(x, 1), [0.0, 0.0])
