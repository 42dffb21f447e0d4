"""Masked layers: their formula, and what they refuse."""

import numpy as np
import pytest

from tests.networks.test_made import normal
from tfvae.networks import MaskedDense


def test_masked_dense_is_its_formula():
    x, context = normal(4, 3), normal(2, 1, 2, seed=1)  # the context has an axis more in front
    for exclusive, mask in [
        (False, [[1, 1], [0, 1], [0, 0]]),
        (True, [[0, 1], [0, 0], [0, 0]]),
    ]:
        layer = MaskedDense([1, 2, 3], [1, 2], exclusive=exclusive, context_size=2)
        layer.build(x.shape)
        assert np.all(layer.kernel.numpy()[np.logical_not(mask)] == 0.0)
        assert np.all(layer.kernel.numpy()[np.array(mask, bool)] != 0.0)
        layer.set_weights([normal(3, 2), normal(2, 2), normal(2)])
        expected = x @ (normal(3, 2) * mask) + context @ normal(2, 2) + normal(2)
        np.testing.assert_allclose(layer(x, context=context), expected, rtol=1e-5, atol=1e-6)
    layer = MaskedDense([1], [1, 1], activation="relu", use_bias=False, kernel_initializer="ones")
    np.testing.assert_array_equal(layer(np.array([[-1.0], [2.0]], "float32")), [[0, 0], [2, 2]])
    assert len(layer.weights) == 1


def test_another_number_of_inputs_is_refused():
    with pytest.raises(ValueError, match=r"must hold 1 values in its last axis.*\(2, 2\)"):
        MaskedDense([1], [1, 2])(np.zeros([2, 2]))
