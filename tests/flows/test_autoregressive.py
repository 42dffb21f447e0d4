"""Autoregressive flows: what depends on what, and how many passes each direction takes."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.flows.cases import made, normal, perturb
from tfvae.flows import InverseAutoregressive, MaskedAutoregressive, NeuralSpline, RealNVP

tfd = tfp.distributions


@pytest.mark.parametrize("cls", [MaskedAutoregressive, InverseAutoregressive])
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_jacobian_of_one_transform_is_triangular(cls, direction):
    flow = cls(1, [16, 16], activation="tanh", dtype="float64")
    flow.build(4)
    x, f = normal(3, 4), perturb(flow).bijector()
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = getattr(f, direction)(x)
    found = tape.batch_jacobian(y, x, experimental_use_pfor=False).numpy()
    np.testing.assert_array_equal(np.triu(found, 1), 0.0)
    assert np.all(np.diagonal(found, axis1=1, axis2=2) > 0.0)
    assert np.all(found[:, *np.tril_indices(4, -1)] != 0.0)
    # Affine in the own element: the scales alone make the determinant.
    log_det = getattr(f, f"{direction}_log_det_jacobian")(x, 1)
    scales = np.log(np.diagonal(found, axis1=1, axis2=2))
    np.testing.assert_allclose(log_det, scales.sum(axis=-1), atol=1e-10)


@pytest.mark.parametrize("cls", [MaskedAutoregressive, InverseAutoregressive])
def test_one_dimension_is_shifted_and_scaled(cls):
    flow = made(cls, 1, 2)
    x, context = normal(50, 1, 1), normal(5, 2, seed=2)
    f = flow.bijector(context)
    y = f.forward(x)
    slopes = np.diff(y, axis=0) / np.diff(x, axis=0)  # [49, 5, 1]
    np.testing.assert_allclose(slopes, np.broadcast_to(slopes[:1], slopes.shape), rtol=1e-8)
    scalar = made(cls, (), 2)
    scalar.set_weights(flow.get_weights())
    g = scalar.bijector(context)
    np.testing.assert_array_equal(g.forward(x[..., 0]), y[..., 0])
    np.testing.assert_array_equal(
        g.forward_log_det_jacobian(x[..., 0], 0), f.forward_log_det_jacobian(x, 1)
    )


@pytest.mark.parametrize("cls", [MaskedAutoregressive, InverseAutoregressive])
@pytest.mark.parametrize("leading", [(), (1,), (4,), (6, 1), (6, 4), (1, 6, 4)])
def test_contexts_of_any_leading_axes(cls, leading):
    flow = made(cls, 3, 2)
    x, context = normal(6, 4, 3), normal(*leading, 2, seed=2)
    f = flow.bijector(context)
    each = np.broadcast_to(np.reshape(context, context.shape[-3:]), (6, 4, 2))
    for direction in ("forward", "inverse"):
        found = getattr(f, direction)(tf.identity(x))
        assert found.shape == ((1, 6, 4, 3) if len(leading) == 3 else (6, 4, 3))
        found = np.reshape(found, (6, 4, 3))
        for i, j in ((0, 0), (2, 3), (5, 1)):
            one = getattr(flow.bijector(tf.constant(each[i, j])), direction)(x[i, j])
            np.testing.assert_allclose(one, found[i, j], atol=1e-10)


class Counter:
    """Counts the passes through the networks of a flow, and the maps solved step by step."""

    def __init__(self, flow):
        self.calls = []
        for name in ("_parameters", "_solved"):
            setattr(flow, name, self.counting(name, getattr(flow, name, None)))

    def counting(self, name, method):
        def call(*args, **kwargs):
            self.calls.append(name)
            return method(*args, **kwargs)

        return call

    def __call__(self, function):
        self.calls.clear()
        result = function()
        return result, (self.calls.count("_parameters"), self.calls.count("_solved"))


@pytest.mark.parametrize(
    ("cls", "forward", "inverse"),
    [
        (RealNVP, (2, 0), (2, 0)),
        (NeuralSpline, (2, 0), (2, 0)),
        (MaskedAutoregressive, (2, 2), (2, 0)),
        (InverseAutoregressive, (2, 0), (2, 2)),
    ],
)
def test_number_of_passes(cls, forward, inverse):
    """Of two transforms: one pass gives value and density, and own draws are not inverted."""
    flow = cls(2, [4])
    flow.build(5)
    count, base = Counter(flow), tfd.MultivariateNormalDiag(tf.zeros(5), tf.ones(5))

    def q():
        return tfd.TransformedDistribution(base, flow.bijector())

    one = q()
    (z, log_prob), num = count(lambda: one.experimental_sample_and_log_prob(3, seed=[1, 2]))
    assert num == forward
    again, num = count(lambda: one.log_prob(z))
    assert num == (0, 0)
    np.testing.assert_allclose(again, log_prob, rtol=1e-5)
    z, num = count(lambda: one.sample(3, seed=[1, 2]))
    assert num == forward
    _, num = count(lambda: one.log_prob(z))
    assert num == (0, 0)
    fresh, num = count(lambda: q().log_prob(tf.identity(z)))
    assert num == inverse
    np.testing.assert_allclose(fresh, log_prob, rtol=1e-4, atol=1e-4)
