"""Graphs without what depends on sizes alone."""

import numpy as np
import tensorflow as tf

from tfvae.export.specialised import Specialised, size_of


def traced(function, *shapes):
    specs = {f"x_{k}": tf.TensorSpec(shape, name=f"x_{k}") for k, shape in enumerate(shapes)}
    return tf.function(function, autograph=False).get_concrete_function(**specs)


def specialised(function):
    def inputs(sizes):
        return {"x_0": tf.random.stateless_normal([sizes["B"], 3], (0, 1))}

    return Specialised(traced(function, [None, 3]), inputs)


def asked(graph, x):
    return tf.function(lambda x: graph({"x_0": x}, {"B": tf.shape(x)[0]}))(x)


def test_sizes_are_told_apart():
    assert size_of([3, 3, 3]) == (3, ())
    assert size_of([10, 15, 14]) == (1, ("S", "B"))
    assert size_of([10, 15, 10]) == (5, ("S",))
    assert size_of([5, 5, 8]) is None


def test_shapes_become_constants_and_what_is_no_work_goes():
    weight = tf.Variable(2.0)

    def function(x_0):
        wide = tf.broadcast_to(x_0 * weight, tf.broadcast_dynamic_shape(tf.shape(x_0), [1, 3]))
        ones = tf.ones(tf.concat([tf.shape(x_0)[:1], [2]], axis=0))
        checked = tf.ensure_shape(tf.reshape(wide, tf.shape(x_0)), [None, 3])
        return {"y": tf.concat([checked, ones], axis=-1), "z": tf.math.expm1(x_0)}

    graph = specialised(function)
    assert graph.ops == {
        "Placeholder": 3,
        "Mul": 3,
        "Const": 4,
        "Pack": 1,
        "Fill": 1,
        "ConcatV2": 1,
        "Exp": 1,
        "Tanh": 1,
        "AddV2": 1,
    }
    x = tf.random.stateless_normal([4, 3], (0, 2))
    weight.assign(3.0)  # Weights are read, and not kept.
    found, expected = asked(graph, x), function(x)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-6)


def test_numbers_that_depend_on_values_are_no_sizes():
    def function(x_0):
        best = tf.argmax(x_0, axis=-1, output_type=tf.int32)
        return {"best": best, "one": tf.one_hot(best, 3), "count": tf.shape(x_0)[0] * 2}

    graph = specialised(function)
    x = tf.constant([[0.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
    found = asked(graph, x)
    np.testing.assert_array_equal(found["best"], [1, 0])
    np.testing.assert_array_equal(found["one"], [[0, 1, 0], [1, 0, 0]])
    assert found["count"] == 4


def test_small_numbers_keep_their_digits():
    small = tf.constant([[1e-9, -3e-6, 0.0], [2e-4, -0.5, 40.0], [-1.0, 1.0, -30.0]])

    def function(x_0):
        return {"expm1": tf.math.expm1(x_0), "log1p": tf.math.log1p(tf.maximum(x_0, -1.0))}

    graph = specialised(function)
    assert not {"Expm1", "Log1p"} & set(graph.ops)
    found, expected = asked(graph, small), function(small)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6)
