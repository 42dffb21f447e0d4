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


@pytest.mark.parametrize(
    ("cls", "forward", "inverse"),
    [
        (RealNVP, 1, 1),
        (NeuralSpline, 1, 1),
        (MaskedAutoregressive, 5, 1),
        (InverseAutoregressive, 1, 5),
    ],
)
def test_number_of_passes(cls, forward, inverse):
    """Of five dimensions: values and densities come from one pass, own draws are not inverted."""
    flow = cls(1, [4])
    flow.build(5)
    passes = []
    parameters = flow._parameters
    flow._parameters = lambda *args: (passes.append(1), parameters(*args))[1]

    def count(function):
        passes.clear()
        result = function()
        return result, len(passes)

    base = tfd.MultivariateNormalDiag(tf.zeros(5), tf.ones(5))

    def q():
        return tfd.TransformedDistribution(base, flow.bijector())

    one = q()
    (z, log_prob), num = count(lambda: one.experimental_sample_and_log_prob(3, seed=[1, 2]))
    assert num == forward
    again, num = count(lambda: one.log_prob(z))
    assert num == 0
    np.testing.assert_allclose(again, log_prob, rtol=1e-5)
    z, num = count(lambda: one.sample(3, seed=[1, 2]))
    assert num == forward
    _, num = count(lambda: one.log_prob(z))
    assert num == 0
    fresh, num = count(lambda: q().log_prob(tf.identity(z)))
    assert num == inverse
    np.testing.assert_allclose(fresh, log_prob, rtol=1e-4, atol=1e-4)
