"""What is left of graphs when nobody holds what they were traced for."""

import gc

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.func_graph import FuncGraph

import tfvae
from tests.conftest import binary_data, mlp_vae, slow_but
from tests.kinds import KINDS
from tfvae._tracing import in_xla, noting_graphs, outputs_of
from tfvae.graph.checks import check_missing


def graphs() -> dict[int, str]:
    """Names of the graphs of functions that the process holds."""
    gc.collect()
    return {id(x): x.name for x in gc.get_objects() if isinstance(x, FuncGraph)}


@pytest.mark.xla
def test_what_is_traced_for_xla_is_known_as_such():
    found = []

    def look():
        found.append(in_xla())
        return tf.constant(0)

    tf.while_loop(lambda i: i < 1, lambda i: (look() + 1,), [tf.constant(0)])
    for jit_compile in (False, True):
        within = tf.function(look, autograph=False)
        tf.function(within, autograph=False, jit_compile=jit_compile)()

        @tf.function(autograph=False, jit_compile=jit_compile)
        def loop():
            return tf.while_loop(lambda i: i < 1, lambda i: (look() + 1,), [tf.constant(0)])

        loop()
    assert found == [False, False, False, True, True]


def test_outputs_are_shapes_and_types_and_weights_last():
    layer = tf.keras.layers.Dense(3)
    found = outputs_of(lambda x: {"y": layer(x)}, tf.TensorSpec([None, 2]))
    assert found["y"].shape.as_list() == [None, 3]
    assert layer(tf.ones([4, 2])).shape == (4, 3)


@pytest.mark.slow
@pytest.mark.parametrize("make", slow_but("plain", of=KINDS))
def test_a_model_that_is_gone_leaves_no_graph(make):
    def live():
        model, data = make()
        draws = tfvae.objectives.ELBO(num_samples=2, gradient=tfvae.objectives.LeaveOneOut())
        model.compile("adam", draws if make is KINDS["drawn_bits"] else None)
        model.fit(data, batch_size=12, epochs=1, verbose=0)
        tf.keras.backend.clear_session()

    before = graphs()
    live()
    left = [name for key, name in graphs().items() if key not in before]
    # Others are functions that TFP makes once for the whole process.
    assert not {"_update", "_build_parts", "_explore", "<lambda>", "check"} & set(left)


def test_functions_of_many_models_are_not_taken_for_one_that_is_traced_often(caplog):
    """TensorFlow warns at the fifth tracing of one function, told apart by its code."""

    def of_a_model(number):
        def advance(x):
            return x + number

        return advance

    functions = [tf.function(noting_graphs(of_a_model(n), [])) for n in range(8)]
    with caplog.at_level("WARNING", logger="tensorflow"):
        found = [int(function(tf.constant(1))) for function in functions]
    assert found == list(range(1, 9))
    assert "retracing" not in caplog.text


def test_checks_of_many_encoders_are_not_taken_for_one(caplog):
    with caplog.at_level("WARNING", logger="tensorflow"):
        for _ in range(6):
            check_missing(tf.zeros_like, tf.ones([2, 3]), [])
    assert "retracing" not in caplog.text


@pytest.mark.slow
@pytest.mark.rewriting
def test_functions_of_the_users_leave_models_as_they_are(caplog):
    """AutoGraph would translate what they call: slowly, with warnings of what it cannot."""
    vae = mlp_vae()

    @tf.function
    def everything(x):
        q_z = vae.encode(x)
        p_x = vae.decode(q_z.mean())
        drawn = vae.sample(2, seed=1), vae.generate(2, seed=1), vae.reconstruct(x, seed=1)
        terms = vae.terms(x, 3, seed=1)
        return terms.elbo, p_x.mean(), vae.prior_distribution().mean(), drawn

    with caplog.at_level("WARNING", logger="tensorflow"):
        elbo, *_ = everything(binary_data(4))
    np.testing.assert_allclose(elbo, vae.terms(binary_data(4), 3, seed=1).elbo, rtol=1e-5)
    assert "AutoGraph" not in caplog.text
