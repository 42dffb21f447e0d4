import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfvae
from tests.conftest import binary_data, mlp_decoder, mlp_encoder, mlp_vae
from tests.kinds import normal
from tfvae.training.placement import NO_STRATEGY, without_placement

tfd = tfp.distributions
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


def test_keras_knows_of_no_strategy_but_within_its_scope():
    for strategy in (
        tf.distribute.OneDeviceStrategy("/cpu:0"),
        tf.distribute.MirroredStrategy(["/cpu:0"]),
    ):
        assert without_placement(strategy) is NO_STRATEGY
        with strategy.scope():
            assert without_placement(strategy) is strategy


def test_one_device_is_trained_on_within_its_scope():
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        vae = mlp_vae()
        vae.compile("adam", run_eagerly=True)
        for data in (X[:6], tf.data.Dataset.from_tensor_slices(X[:6]).batch(3)):
            assert np.isfinite(vae.fit(data, verbose=0).history["loss"][0])
    assert np.isfinite(vae.fit(X[:6], verbose=0).history["loss"][0])


def own_layer(layer):
    encoder = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4), layer, normal()])
    return tfvae.VAE(encoder, mlp_decoder())


REFUSED = {
    "XLA": (mlp_vae, {"jit_compile": True}, "XLA does not compile steps that several"),
    "schemes with passes of their own": (
        mlp_vae,
        {"scheme": tfvae.learning.WakeSleep()},
        "`WakeSleep` is not known to give on several devices",
    ),
    "rows that are compared": (
        lambda: own_layer(keras.layers.BatchNormalization()),
        {},
        "Batch normalisation compares the rows",
    ),
    "weights that are not there": (
        lambda: tfvae.VAE(
            keras.Sequential([keras.layers.Dense(4), normal()]),
            keras.Sequential([keras.layers.Dense(6), tfvae.layers.DistributionLambda(bits)]),
        ),
        {},
        "waits for data to tell their shapes",
    ),
    "posteriors of maps": (
        lambda: tfvae.VAE(Mapped(), mlp_decoder()),
        {},
        "draws the noise of all rows.*Received: _?TransformedDistribution",
    ),
}


def bits(logits):
    return tfd.Independent(tfd.Bernoulli(logits), 1)


class Mapped(keras.Model):
    """An encoder that makes its distribution by itself."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(2)
        self.dense.build((None, 6))
        self.built = True

    def call(self, x):
        q = tfd.MultivariateNormalDiag(self.dense(x), tf.ones(2))
        return tfd.TransformedDistribution(q, tfp.bijectors.Shift([1.0, 2.0]))


@pytest.mark.slow
@pytest.mark.each_case
@pytest.mark.parametrize("case", REFUSED)
def test_what_several_devices_cannot_do_is_refused(case):
    make, settings, message = REFUSED[case]
    with tf.distribute.MirroredStrategy(["/cpu:0"]).scope():
        model = make()
        if case == "posteriors of maps":
            model.build((None, 6))
        with pytest.raises(ValueError, match=message):
            model.compile("adam", **settings)
    assert not model.compiled


def test_parts_are_made_where_the_model_is():
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    encoder, optimizer = mlp_encoder(), keras.optimizers.Adam()
    with strategy.scope():
        model = mlp_vae()
        mixed = tfvae.VAE(encoder, mlp_decoder())
        decoder = mlp_decoder()
    with pytest.raises(ValueError, match=r"a model made outside, of parts made within: .*kernel"):
        tfvae.VAE(encoder, decoder).compile("adam")
    with pytest.raises(ValueError, match=r"Received, made outside of .*: optimizer 'adam"):
        model.compile(optimizer)
    with pytest.raises(ValueError, match=r"Received, made outside of .*kernel"):
        mixed.compile("adam")
    model.compile("adam")  # in the scope, though called outside
    with strategy.scope(), pytest.raises(ValueError, match="Leave the `with` before it"):
        model.fit(X, verbose=0)


def test_other_strategies_are_refused():
    strategy = tf.distribute.experimental.CentralStorageStrategy(["/cpu:0"], "/cpu:0")
    with strategy.scope():
        model = mlp_vae()
        with pytest.raises(ValueError, match=r"Received: CentralStorageStrategy with 1 replicas"):
            model.compile("adam")
