import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import binary_data, mlp_vae
from tfvae.training.placement import NO_STRATEGY, without_placement

X = binary_data(37)


def trained(strategy, **settings):
    keras.utils.set_random_seed(1)
    with strategy.scope():
        vae = mlp_vae(seed=3)
        vae.compile("adam", jit_compile=False, **settings)
    history = vae.fit(X, batch_size=10, epochs=2, verbose=0, validation_data=(X,)).history
    return vae, history


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_model_of_one_device_is_any_model():
    one, one_logs = trained(tf.distribute.OneDeviceStrategy("/cpu:0"))
    other, other_logs = trained(NO_STRATEGY)
    assert one_logs == other_logs
    for weight, expected in zip(one.variables, other.variables, strict=True):
        np.testing.assert_array_equal(weight, expected)
    assert one._reader._rows_of(tfvae.data.source.Source.of(X), "train", 10) is not None
    np.testing.assert_array_equal(
        one.predict(X, verbose=0)["reconstruction"], other.predict(X, verbose=0)["reconstruction"]
    )
    stream = tf.data.Dataset.from_tensor_slices(X).batch(10)
    assert one.evaluate(stream, verbose=0) == other.evaluate(stream, verbose=0)


def test_strategies_of_several_devices_and_those_in_force_stay():
    mirrored = tf.distribute.MirroredStrategy(["/cpu:0"])
    assert without_placement(mirrored) is mirrored
    one = tf.distribute.OneDeviceStrategy("/cpu:0")
    assert without_placement(one) is NO_STRATEGY
    with one.scope():
        assert without_placement(one) is one
