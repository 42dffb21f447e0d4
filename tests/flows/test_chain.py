"""Chains of flows."""

import numpy as np
import pytest
import tensorflow as tf

from tests.flows.cases import made, normal
from tfvae.flows import Chain, InverseAutoregressive, MaskedAutoregressive, RealNVP


@pytest.mark.slow
def test_maps_one_after_the_other():
    parts = [made(cls, 3, 2) for cls in (RealNVP, InverseAutoregressive, MaskedAutoregressive)]
    chain = Chain(parts, dtype="float64")
    chain.build(3, 2)
    assert len(chain.trainable_weights) == sum(len(flow.trainable_weights) for flow in parts)
    x, context = normal(5, 3), normal(5, 2, seed=2)
    y, log_det = x, 0.0
    for flow in parts:
        f = flow.bijector(context)
        y, log_det = f.forward(y), log_det + f.forward_log_det_jacobian(y, 1)
    f = chain.bijector(context)
    np.testing.assert_allclose(f.forward(x), y, rtol=1e-10)
    np.testing.assert_allclose(f.forward_log_det_jacobian(x, 1), log_det, rtol=1e-10)
    np.testing.assert_allclose(f.inverse(tf.identity(y)), x, atol=1e-9)


def test_wrong_parts_are_explained():
    with pytest.raises(ValueError, match=r"at least one flow. Received: none"):
        Chain([])
    with pytest.raises(TypeError, match=r"objects of `tfvae.flows`.*Received: int"):
        Chain([RealNVP(), 3])
    with pytest.raises(ValueError, match=r"built for latents of shape \(3,\)"):
        Chain([made(RealNVP, 3)]).build(2)
