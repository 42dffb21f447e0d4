"""What is left of graphs when nobody holds what they were traced for."""

import gc

import pytest
import tensorflow as tf

import tfvae
from tests.conftest import slow_but
from tests.kinds import KINDS
from tfvae._tracing import outputs_of


def num_operations() -> int:
    """How many operations of graphs the process holds."""
    gc.collect()
    return sum(isinstance(thing, tf.Operation) for thing in gc.get_objects())


def test_outputs_are_shapes_and_types_and_weights_last():
    layer = tf.keras.layers.Dense(3)
    found = outputs_of(lambda x: {"y": layer(x)}, tf.TensorSpec([None, 2]))
    assert found["y"].shape.as_list() == [None, 3]
    assert layer(tf.ones([4, 2])).shape == (4, 3)


@pytest.mark.parametrize("make", slow_but("plain", of=KINDS))
def test_a_model_that_is_gone_leaves_no_graph(make):
    def live():
        model, data = make()
        draws = tfvae.objectives.ELBO(num_samples=2, gradient=tfvae.objectives.LeaveOneOut())
        model.compile("adam", draws if make is KINDS["drawn_bits"] else None)
        model.fit(data, batch_size=12, epochs=1, verbose=0)
        model.evaluate(data, batch_size=12, verbose=0)
        tf.keras.backend.clear_session()

    live()  # Whatever is made once for the whole process.
    before = num_operations()
    live()
    assert num_operations() <= before
