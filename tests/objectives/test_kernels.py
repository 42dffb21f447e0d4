"""Kernels against SciPy's distances."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.spatial.distance import cdist

from tests.conftest import real_data
from tfvae.objectives import RBF, InverseMultiquadratic
from tfvae.objectives.kernels import Kernel

FORMULAS = {RBF: lambda d: np.exp(-d / 2), InverseMultiquadratic: lambda d: 1 / (1 + d / 2)}


@pytest.mark.parametrize("kind", [RBF, InverseMultiquadratic])
@pytest.mark.parametrize("length_scale", [None, 0.5, 3])
def test_values(kind, length_scale):
    a, b = real_data(4, (3,)), real_data(6, (3,), seed=1)
    kernel = kind() if length_scale is None else kind(length_scale)
    square = cdist(a, b, "sqeuclidean") / (3.0 if length_scale is None else length_scale**2)
    np.testing.assert_allclose(kernel(a, b), FORMULAS[kind](square), rtol=1e-5)
    batched = kernel(tf.stack([a, a + 1.0]), tf.stack([b, b + 1.0]))
    np.testing.assert_allclose(batched[1], kernel(a, b), rtol=1e-4)
    assert np.linalg.eigvalsh(kernel(a, a)).min() > 0
    stored = keras.saving.serialize_keras_object(kernel)
    assert keras.saving.deserialize_keras_object(stored) == kernel


def test_bad_arguments():
    for value in (0.0, -1.0, "wide"):
        with pytest.raises(ValueError, match=f"`length_scale` must be a number > 0.*{value!r}"):
            RBF(value)
    with pytest.raises(NotImplementedError):
        Kernel()(None, None)
