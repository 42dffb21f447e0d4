"""What `fit` and `evaluate` are given: told where it is wrong, and read by the right way."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import binary_data, mlp_vae

X = binary_data(37)


class Meddler(keras.callbacks.Callback):
    """Evaluates and trains on other data in the middle of an epoch."""

    def __init__(self):
        super().__init__()
        self.found = []

    def on_train_batch_end(self, batch, logs=None):
        if batch == 3:
            others = X[:10]
            self.found.append(self.model.evaluate(others, batch_size=4, verbose=0))
            stream = tf.data.Dataset.from_tensor_slices(others).batch(4)
            self.found.append(self.model.evaluate(stream, verbose=0))
            self.model.test_on_batch(X[:4])


@pytest.mark.slow
@pytest.mark.exhaustive
def test_callbacks_may_evaluate_other_data_between_steps():
    meddler = Meddler()
    vaes = []
    for callbacks in ([meddler], []):
        keras.utils.set_random_seed(1)
        vaes.append(mlp_vae(seed=3))
        vaes[-1].compile(keras.optimizers.Adam(0.02))
        vaes[-1].fit(X, batch_size=5, epochs=3, verbose=0, callbacks=callbacks)
    assert len(meddler.found) == 6
    for by_rows, by_batches in zip(meddler.found[::2], meddler.found[1::2], strict=True):
        np.testing.assert_allclose(by_rows, by_batches, rtol=1e-5)
    for mine, theirs in zip(*(vae.get_weights() for vae in vaes), strict=True):
        np.testing.assert_array_equal(mine, theirs)


class Own(tfvae.VAE):
    """Counts its steps in Python, so that Keras has to call each of them."""

    steps = 0

    def train_step(self, data):
        Own.steps += 1
        return super().train_step(data)


@pytest.mark.slow
def test_a_step_of_the_users_own_is_taken_batch_by_batch():
    base = mlp_vae()
    vae = Own(base.encoder, base.decoder, seed=1)
    vae.compile("adam", run_eagerly=True)
    vae.fit(X[:10], batch_size=5, verbose=0)
    assert Own.steps == 2


def test_what_is_wrong_with_rows_is_said_before_any_is_read():
    vae = mlp_vae()
    vae.compile("adam", run_eagerly=True)
    before = vae.get_weights()
    with pytest.raises(ValueError, match=r"^`y` must have one row for each of `x`"):
        vae.fit(X, np.zeros(3), verbose=0)
    for wrong in (np.ones(3), np.ones([37, 2]), 2.0):
        with pytest.raises(ValueError, match=r"^`sample_weight` must have one number for each row"):
            vae.fit(X, sample_weight=wrong, verbose=0)
    weights = np.ones(37)
    weights[3] = np.nan
    with pytest.raises(ValueError, match=r"^`sample_weight` must hold finite numbers"):
        vae.fit(X, sample_weight=weights, verbose=0)
    with pytest.raises(ValueError, match=r"^`validation_split` must leave rows on both sides"):
        vae.fit(X, validation_split=0.999, verbose=0)
    with pytest.raises(ValueError, match=r"`batch_size`"):
        vae.fit(X, batch_size=0, verbose=0)
    with pytest.raises(TypeError, match=r"^`fit` takes its arguments as `keras.Model.fit` does"):
        vae.fit(X, None, 5, batch_size=5)
    for old, new in zip(before, vae.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


class Interrupting(keras.callbacks.Callback):
    """Ends each validation after two of its batches."""

    def on_test_batch_end(self, batch, logs=None):
        self.model.stop_evaluating = batch >= 1


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_pass_that_was_cut_short_begins_anew():
    vae = mlp_vae(seed=3)
    vae.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    history = vae.fit(
        X, batch_size=10, epochs=3, validation_data=(X,), callbacks=[Interrupting()], verbose=0
    ).history
    assert len(set(history["val_elbo"])) == 1


class Predicting(keras.callbacks.Callback):
    """Evaluates and predicts wherever it can."""

    def __init__(self):
        super().__init__()
        self.traces = 0

    def on_epoch_end(self, epoch, logs=None):
        self.model.predict(X, verbose=0)
        self.model.evaluate(X, batch_size=4, verbose=0)

    def on_predict_begin(self, logs=None):
        self.model.evaluate(X, batch_size=4, verbose=0)


@pytest.mark.slow
def test_calls_within_calls_trace_nothing_twice():
    vae, traces = mlp_vae(seed=3), []
    vae.compile("adam")
    decode = vae.decode  # by which predictions are described, and training is not
    vae.decode = lambda *given: traces.append(1) or decode(*given)
    vae.fit(X, batch_size=4, epochs=1, callbacks=[Predicting()], verbose=0)
    once = len(traces)
    for _ in range(2):
        vae.fit(X, batch_size=4, epochs=2, callbacks=[Predicting()], verbose=0)
        vae.predict(X, verbose=0, callbacks=[Predicting()])
    assert len(traces) == once > 0


@pytest.mark.slow
@pytest.mark.exhaustive
def test_labels_that_are_no_array_are_ignored_and_none_are_read():
    found = []
    for labels in (None, [X, X], {"a": X}, np.zeros(37)):
        keras.utils.set_random_seed(1)
        vae = mlp_vae(seed=3)
        vae.compile("adam", run_eagerly=True)
        found.append(vae.fit(X, labels, validation_split=0.2, epochs=1, verbose=0).history)
    assert found == found[:1] * 4
    assert "val_elbo" in found[0]


@pytest.mark.slow
@pytest.mark.exhaustive
def test_validation_has_a_batch_size_of_its_own():
    vae, sizes = mlp_vae(seed=3), []
    vae.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    score = vae._step.score
    vae._step.score = lambda batch, *rest: sizes.append(len(batch["x"])) or score(batch, *rest)
    for settings, expected in (
        ({"validation_batch_size": 7}, [7, 7, 6]),
        ({"validation_batch_size": None}, [10, 10]),
        ({}, [10, 10]),
    ):
        sizes.clear()
        vae.fit(X, batch_size=10, validation_data=(X[:20],), verbose=0, **settings)
        assert sizes == expected


@pytest.mark.slow
def test_single_batches_are_told_what_is_wrong_with_them_in_a_sentence():
    vae = mlp_vae()
    vae.compile("adam", run_eagerly=True)
    for use in (vae.train_on_batch, vae.test_on_batch, vae.predict_on_batch):
        with pytest.raises(ValueError, match=r"^`x` does not have the shape"):
            use(X[:, :3])
        with pytest.raises(ValueError, match=r"^`x` holds NaN or infinite values in a batch\."):
            use(np.full_like(X, np.nan))
        with pytest.raises(ValueError, match=r"^A batch of the data is empty"):
            use(X[:0])


@pytest.mark.slow
def test_weights_of_streams_are_looked_at_before_anything_changes():
    vae = mlp_vae()
    vae.compile("adam", run_eagerly=True)
    before = vae.get_weights()

    def stream(weights):
        return tf.data.Dataset.from_tensor_slices((X, X, weights)).batch(20)

    with pytest.raises(ValueError, match=r"^`sample_weight` must have one number for each row"):
        vae.fit(stream(np.ones((37, 2))), verbose=0)
    with pytest.raises(ValueError, match=r"^`sample_weight` must hold finite numbers"):
        vae.fit(stream(np.full(37, np.inf)), verbose=0)
    with pytest.raises(ValueError, match=r"none of them negative"):
        vae.fit(stream(np.full(37, -1.0)), verbose=0)
    with pytest.raises(ValueError, match=r"none of them negative"):
        vae.fit(X, sample_weight=np.full(37, -1.0), verbose=0)
    for use in (vae.fit, vae.evaluate):
        with pytest.raises(ValueError, match=r"^`sample_weight` must be above 0 for one row"):
            use(X, sample_weight=np.zeros(37), verbose=0)
    for old, new in zip(before, vae.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    vae.evaluate(stream(np.ones((37, 1))), verbose=0)
    vae.evaluate(stream(np.ones(37, "int32")), verbose=0)


@pytest.mark.slow
def test_an_empty_batch_of_a_stream_is_told():
    vae = mlp_vae()
    vae.compile("adam", run_eagerly=True)
    spec = tf.TensorSpec([None, 6])
    stream = tf.data.Dataset.from_generator(lambda: iter([X[:4], X[:0]]), output_signature=spec)
    for use in (vae.fit, vae.evaluate, vae.predict):
        with pytest.raises(ValueError, match=r"^A batch of the data is empty"):
            use(stream, verbose=0)


@pytest.mark.slow
def test_weights_of_classes_take_labels():
    vae = mlp_vae()
    vae.compile("adam", run_eagerly=True)
    for data in (X, tf.data.Dataset.from_tensor_slices(X).batch(20)):
        with pytest.raises(ValueError, match=r"^`class_weight` weighs rows by their labels"):
            vae.fit(data, class_weight={0: 2.0}, verbose=0)
    labelled = tf.data.Dataset.from_tensor_slices((X, np.zeros(37))).batch(37)
    for data in ((X, np.zeros(37)), labelled):
        vae.fit(data, class_weight={0: 0.0}, verbose=0)


@pytest.mark.slow
def test_rows_are_named_of_data_in_memory_alone():
    vae = mlp_vae()
    vae.compile(keras.optimizers.SGD(1e20), run_eagerly=True)
    with pytest.raises(FloatingPointError, match="of rows"):
        vae.fit(X, batch_size=5, epochs=9, verbose=0)
    stream = tf.data.Dataset.from_tensor_slices(X).batch(5).repeat(9)
    with pytest.raises(FloatingPointError) as caught:
        vae.fit(stream, verbose=0)
    assert "of rows" not in str(caught.value)
