"""Training that goes wrong ends with a sentence and weights that are finite."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import binary_data, mlp_decoder, mlp_encoder, mlp_vae
from tests.kinds import kind
from tfvae.learning import Best, GoBack, Raise, Skip, WakeSleep
from tfvae.training.guard import not_finite

X = binary_data(200)


def exploding(rate=1e12, **settings):
    keras.utils.set_random_seed(2)
    decoder = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(12), tfvae.layers.IndependentNormal(6)]
    )
    vae = tfvae.VAE(mlp_encoder(), decoder, seed=1)
    vae.compile(keras.optimizers.SGD(rate), jit_compile=False, **settings)
    return vae


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"run_eagerly": True}, {"steps_per_execution": 1}])
@pytest.mark.parametrize("stream", [False, True])
def test_a_loss_that_is_not_finite_ends_training_with_the_weights_of_before(settings, stream):
    vae = exploding(**settings)
    before = [np.copy(w) for w in vae.variables]
    data = tf.data.Dataset.from_tensor_slices(X).batch(10) if stream else X
    size = {} if stream else {"batch_size": 10}
    with pytest.raises(FloatingPointError, match=r"after \d+ updates: not finite are loss, elbo"):
        vae.fit(data, epochs=3, verbose=0, **size)
    for old, new in zip(before, vae.variables, strict=True):
        np.testing.assert_array_equal(old, new)
    assert int(vae.optimizer.iterations) == 0
    assert np.isfinite(vae.evaluate(X, verbose=0)[0])
    # It can be trained from there.
    vae.compile(keras.optimizers.SGD(1e-3), jit_compile=False)
    assert np.isfinite(vae.fit(X, verbose=0).history["loss"][0])


class Exploding(keras.callbacks.Callback):
    """Raises the learning rate in an epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 12:
            self.model.optimizer.learning_rate = 1e20


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("steps", [1, 7, 15])
def test_the_state_that_training_goes_back_to_is_at_most_200_updates_old(steps):
    vae, same = (exploding(1e-3, steps_per_execution=steps) for _ in range(2))
    with pytest.raises(FloatingPointError, match=r"state after (\d+) updates") as caught:
        vae.fit(X, batch_size=10, epochs=15, shuffle=False, callbacks=[Exploding()], verbose=0)
    updates = int(vae.optimizer.iterations)
    assert 240 - 200 - steps < updates <= 242
    assert f"after {updates} updates" in str(caught.value)
    # Weights, slots and seeds are those of an undisturbed run of so many updates.
    batches = np.split(np.tile(X, [13, 1]), 260)[:updates]
    same.compile(keras.optimizers.SGD(1e-3), jit_compile=False)
    same.fit(np.concatenate(batches), batch_size=10, shuffle=False, verbose=0)
    for mine, theirs in zip(vae.variables, same.variables, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)


@pytest.mark.slow
def test_a_weight_that_only_the_last_update_spoils_is_found():
    vae = exploding(1e39)
    with pytest.raises(FloatingPointError, match="not finite are the weights"):
        vae.fit(X[:10], batch_size=10, verbose=0)
    assert all(np.all(np.isfinite(w)) for w in vae.get_weights())


def test_weights_that_are_not_finite_from_the_beginning_are_named():
    vae = exploding(1e-3)
    weights = vae.get_weights()
    weights[0][0, 0] = np.nan
    vae.set_weights(weights)
    said = r"not finite are loss.*from the beginning were \S+kernel\."
    with pytest.raises(FloatingPointError, match=said):
        vae.fit(X, verbose=0)


@pytest.mark.slow
def test_loss_scaling_skips_what_overflows_as_keras_does():
    vae = mlp_vae(seed=3)
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(1e-3), initial_scale=2.0**127
    )
    vae.compile(optimizer, jit_compile=False)
    vae.fit(X, batch_size=10, verbose=0)
    assert all(np.all(np.isfinite(w)) for w in vae.get_weights())


class Silent(tfvae.VAE):
    """Logs nothing of its steps."""

    def train_step(self, data):
        return {"steps": super().train_step(data)["loss"]}


def test_a_step_of_the_users_own_need_not_log_a_loss():
    made = mlp_vae(seed=3)
    vae = Silent(made.encoder, made.decoder, seed=1)
    vae.compile("adam", run_eagerly=True)
    vae.fit(X[:20], batch_size=10, verbose=0)
    assert int(vae.optimizer.iterations) == 2


@pytest.mark.slow
def test_nothing_is_kept_after_training():
    vae = exploding(1e-3)
    vae.fit(X, verbose=0)
    assert vae.guard._kept == []
    assert vae._reader._rows == {}


def spoiling(remedy, rate=1e-3, bad=(3,), **settings):
    """A model whose loss is not finite for points of which the first entry is 7."""
    keras.utils.set_random_seed(2)
    decoder = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(12), tfvae.layers.IndependentNormal(6)]
    )
    encoder = keras.Sequential([keras.Input((6,)), Overflowing(), *mlp_encoder().layers])
    vae = tfvae.VAE(encoder, decoder, seed=1)
    vae.compile(keras.optimizers.Adam(rate), when_not_finite=remedy, jit_compile=False, **settings)
    x = binary_data(100)
    for row in bad:
        x[row] = 7.0
    return vae, x


@keras.saving.register_keras_serializable("tests")
class Overflowing(keras.layers.Layer):
    """Returns what it is given, and NaN for 7; counts its calls in a weight."""

    def build(self, shape):
        self.calls = self.add_weight(shape=(), trainable=False)

    def call(self, x):
        self.calls.assign_add(1.0)
        return tf.where(x == 7.0, float("nan"), x)


FIT = {"batch_size": 10, "shuffle": False, "verbose": 0}


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"run_eagerly": True}, {"scheme": WakeSleep()}])
def test_a_skipped_batch_is_as_if_it_were_not_there(settings):
    """Rows 30 to 39 are those of the fourth batch."""
    vae, x = spoiling(Skip(2), bad=(33,), **settings)
    said = r"^Skipped 1 batch: not finite were the loss or its gradients, .*rate.* in batch 4 since"
    noise = []

    class Noise(keras.callbacks.Callback):
        """What the seed is after the batch that is left out, which has drawn from it."""

        def on_train_batch_end(self, batch, logs=None):
            if batch == 3:
                noise.append(tf.identity(self.model.seed_generator.state))

    with pytest.warns(UserWarning, match=said):
        logs = vae.fit(x, callbacks=[Noise()], **FIT).history
    assert logs["skipped"] == [1.0]
    assert np.all(np.isfinite([v[0] for v in logs.values()]))
    same, _ = spoiling(None, **settings)
    same.fit(x[:30], **FIT)
    same.seed_generator.state.assign(noise[0])
    same.fit(x[40:], **FIT)
    for mine, theirs in zip(vae.weights, same.weights, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, err_msg=mine.path)


@pytest.mark.slow
def test_more_than_may_be_skipped_is_met_by_what_follows():
    vae, x = spoiling(Skip(2, then=GoBack(1, then=Raise())), bad=range(0, 100, 10))
    with (
        pytest.warns(UserWarning, match=r"After 0 updates not finite were the loss or its grad"),
        pytest.raises(FloatingPointError, match=r"Training stopped after 0 updates: .* batch 10 "),
    ):
        vae.fit(x, epochs=3, **FIT)
    assert np.all([np.all(np.isfinite(w)) for w in vae.get_weights()])


@pytest.mark.slow
def test_going_back_lowers_the_rate_until_training_goes_on():
    vae = exploding(1e12, when_not_finite=GoBack(30, factor=1e-2))
    with pytest.warns(UserWarning, match=r"goes on from the state after 0 updates, with the lea"):
        logs = vae.fit(X, batch_size=10, epochs=3, verbose=0).history
    assert np.isfinite(logs["loss"][-1])
    assert 0.0 < float(vae.optimizer.learning_rate) <= 1e10
    assert all(np.all(np.isfinite(w)) for w in vae.get_weights())


@pytest.mark.slow
def test_the_best_state_is_that_after_the_best_epoch():
    """The second epoch descends, and the rate of the third is much too large."""

    class Rates(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.optimizer.learning_rate = [1e-3, -1e-4, 1e30][epoch]

    vae, rates = exploding(1e-3, when_not_finite=GoBack(1, 1e-33, to=Best("val_loss"))), Rates()
    with pytest.warns(UserWarning, match="Training goes on from the state after 20 updates"):
        vae.fit(
            X,
            batch_size=10,
            epochs=3,
            verbose=0,
            validation_data=(X,),
            callbacks=[rates],
        )
    with pytest.raises(ValueError, match="`Best` watches `val_loss`, which this `fit` does not"):
        vae.fit(X, batch_size=10, verbose=0)


def test_remedies_are_stored_and_refused():
    vae = exploding(1e-3, when_not_finite=Skip(3, then=GoBack(2, 0.1, to=Best("elbo"))))
    config = keras.saving.deserialize_keras_object(vae.get_compile_config())
    assert config["when_not_finite"] == Skip(3, then=GoBack(2, 0.1, to=Best("elbo")))
    with pytest.raises(TypeError, match=r"^`when_not_finite` must be an object of"):
        vae.compile("adam", when_not_finite="skip")
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    with pytest.raises(ValueError, match=r"takes it from a schedule: ExponentialDecay.*factor=1"):
        vae.compile(keras.optimizers.SGD(schedule), when_not_finite=Skip(then=GoBack()))
    vae.compile(keras.optimizers.SGD(schedule), when_not_finite=GoBack(factor=1.0))
    for make in (
        lambda: Skip(0),
        lambda: GoBack(factor=0.0),
        lambda: GoBack(to="best"),
        lambda: Skip(then=None),
    ):
        with pytest.raises(ValueError, match="Received"):
            make()


def test_the_rows_of_the_batch_are_named():
    vae, x = spoiling(None, bad=(33,), run_eagerly=True)
    with pytest.raises(FloatingPointError, match=r"It was batch 4 of the pass, of rows 30, 31,"):
        vae.fit(x, **FIT)


def test_what_is_made_of_weights_that_are_not_finite_is_refused(tmp_path):
    vae = mlp_vae(seed=3)
    vae.compile("adam", run_eagerly=True)
    weights = vae.get_weights()
    weights[2][0, 0] = np.inf
    vae.set_weights(weights)
    said = r"of this model would mean nothing: its weights \S+kernel hold NaN or infinite"
    for use in (
        lambda: vae.evaluate(X, verbose=0),
        lambda: tfvae.log_likelihood(vae, X),
        lambda: tfvae.decompose(vae, X),
        lambda: vae.export(tmp_path / "export"),
    ):
        with pytest.raises(ValueError, match=said):
            use()
    assert not (tmp_path / "export").exists()
    with pytest.warns(UserWarning, match=r"What is saved is of no use: its weights \S+kernel hold"):
        vae.save(tmp_path / "vae.keras")
    assert (tmp_path / "vae.keras").exists()


def test_entries_that_data_lacks_may_be_lacking_in_pseudo_inputs():
    vae, x = kind("with_gaps")
    start = x[:3]
    own = tfvae.VAE(vae.encoder, vae.decoder, tfvae.priors.VampPrior(3, pseudo_inputs=start))
    assert np.isnan(own.prior.pseudo_inputs).any()
    assert not_finite(own) == []
    own.prior.pseudo_inputs.assign(np.full_like(start, np.inf))
    assert len(not_finite(own)) == 1


@pytest.mark.slow
def test_data_beyond_half_precision_is_named_where_the_encoder_computes_in_it():
    x = np.linspace(1.0, 2.0, 48, dtype="float32").reshape(8, 6)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        likelihood = tfvae.layers.IndependentNormal
        vae = mlp_vae(seed=0)
        vae = tfvae.VAE(vae.encoder, mlp_decoder(likelihood=likelihood), seed=0)
        vae.compile("adam", run_eagerly=True)
        assert np.isfinite(vae.evaluate(x, verbose=0)[0])
        for use in (vae.fit, vae.evaluate, vae.predict):
            with pytest.raises(ValueError, match=r"beyond what 16 bits hold.* up to 200000.*Data"):
                use(1e5 * x, verbose=0)
        one = x.copy()
        one[3, 2] = 1e5  # a bounded activation hides it, and no gradient does
        with pytest.raises(ValueError, match=r"16 bits hold.* up to 100000, and layers"):
            vae.fit(one, verbose=0)
        with pytest.raises(ValueError, match=r"^`data` holds numbers beyond"):
            tfvae.log_likelihood(vae, 1e5 * x, 2, verbose=False)
        features = tfvae.layers.DataEncoder({"x": ("real", 6)}, indicators=False)
        features.adapt(1e5 * x)
        scaled = keras.Sequential([keras.Input((6,)), features, *vae.encoder.layers])
        vae = tfvae.VAE(scaled, mlp_decoder(likelihood=likelihood), seed=0)
        vae.compile("adam", run_eagerly=True)
        assert np.isfinite(vae.predict(1e5 * x, verbose=0)["z_mean"]).all()
    finally:
        keras.config.set_dtype_policy("float32")
