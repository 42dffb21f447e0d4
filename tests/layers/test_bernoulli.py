"""What is particular to the Bernoulli layer: logits, and the type of its draws."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfvae.layers import IndependentBernoulli


def test_parameters_are_logits():
    logits = np.array([[-50.0, -1.0, 0.5, 50.0]], "float32")
    p = IndependentBernoulli(4)(logits)
    np.testing.assert_allclose(p.mean(), 1.0 / (1.0 + np.exp(-logits)), rtol=1e-5)
    # Exact where probabilities round to one: log(1 - sigmoid(50)) = -50 to ten digits.
    assert float(p.log_prob([[0.0, 0.0, 0.0, 0.0]])[0]) == pytest.approx(
        -(0.0 + np.log1p(np.exp(-1.0)) + np.log1p(np.exp(0.5)) + 50.0), rel=1e-6
    )


@pytest.mark.parametrize("dtype", ["int32", tf.uint8, "float64"])
def test_type_of_draws(dtype):
    layer = IndependentBernoulli((2, 2), sample_dtype=dtype)
    name = tf.as_dtype(dtype).name
    p = layer(np.zeros([3, 4], "float32"))
    draw = tf.convert_to_tensor(p)
    assert draw.dtype.name == name
    assert layer(keras.KerasTensor((None, 4))).dtype == name
    assert layer.get_config()["sample_dtype"] == name
    assert IndependentBernoulli.from_config(layer.get_config()).sample_dtype == name
    # The mean stays a probability, whatever the draws are.
    mean = IndependentBernoulli((2, 2), "mean", sample_dtype=dtype)
    assert np.all(np.asarray(mean(np.zeros([3, 4], "float32"))) == 0.5)
    assert mean(keras.KerasTensor((None, 4))).dtype == "float32"
