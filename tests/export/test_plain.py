"""Plain operations say what those say in whose place they are."""

import numpy as np
import pytest
import tensorflow as tf

from tests.export.test_specialised import asked, specialised
from tfvae.export.plain import PLAIN


def of_states(x_0):
    states = tf.cast(x_0[:, 0] > 0.0, tf.int32)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(states, 3.0 * x_0)


CASES = {
    "MulNoNan": lambda x_0: tf.math.multiply_no_nan(x_0, tf.exp(x_0)),
    "Expm1": tf.math.expm1,
    "Log1p": lambda x_0: tf.math.log1p(tf.square(x_0) - 0.5),
    "SoftmaxCrossEntropyWithLogits": lambda x_0: tf.nn.softmax_cross_entropy_with_logits(
        tf.nn.softmax(-x_0), 30.0 * x_0
    ),
    "SparseSoftmaxCrossEntropyWithLogits": of_states,
}


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_equals_what_it_stands_for(name):
    def function(x_0):
        return {"y": CASES[name](x_0)}

    graph = specialised(function)
    assert name not in graph.ops
    x = tf.random.stateless_normal([50, 3], (0, 3)) * tf.constant([1e-6, 0.7, 1.0])
    np.testing.assert_allclose(asked(graph, x)["y"], function(x)["y"], rtol=3e-6, atol=1e-12)
