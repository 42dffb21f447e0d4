"""Streams of batches train a model as data in memory does, whatever their sizes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import binary_data, mlp_vae, slow_but
from tests.kinds import KINDS
from tfvae.training.batches import _MOST_SIZES, Batches

X = binary_data(24)
WEIGHTS = np.linspace(0.5, 2.0, 24, dtype="float32")


def of_sizes(*sizes, x=X):
    """A stream of batches of such sizes, of rows that begin anew where they end."""
    ends = np.cumsum(sizes)
    rows = [np.arange(end - size, end) % len(x) for end, size in zip(ends, sizes, strict=True)]
    spec = tf.TensorSpec([None, *x.shape[1:]], x.dtype)
    stream = tf.data.Dataset.from_generator(lambda: (x[i] for i in rows), output_signature=spec)
    return stream.apply(tf.data.experimental.assert_cardinality(len(sizes)))


def trained(fit, **compiled):
    keras.utils.set_random_seed(0)
    vae = mlp_vae()
    vae.compile(keras.optimizers.Adam(0.01), **compiled)
    history = fit(vae).history
    return vae, history


def assert_same(one, other):
    for mine, its in zip(one.trainable_weights, other.trainable_weights, strict=True):
        np.testing.assert_array_equal(mine.numpy(), its.numpy())


@pytest.mark.slow
@pytest.mark.parametrize(
    "compiled",
    slow_but(
        "auto",
        of={
            "auto": {},
            "one by one": {"steps_per_execution": 1},
            "three": {"steps_per_execution": 3},
            "eagerly": {"run_eagerly": True},
        },
    ),
)
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["", "weights"])
def test_streams_train_as_arrays_do_to_the_bit(compiled, weights):
    quiet = {"epochs": 2, "verbose": 0}

    def arrays(vae):
        return vae.fit(
            X,
            sample_weight=weights,
            batch_size=10,
            shuffle=False,
            validation_data=(X[:7],),
            **quiet,
        )

    def stream(vae):
        rows = X if weights is None else (X, X, weights)
        batches = tf.data.Dataset.from_tensor_slices(rows).batch(10)
        held_out = tf.data.Dataset.from_tensor_slices(X[:7]).batch(10)
        return vae.fit(batches, validation_data=held_out, **quiet)

    one, logs = trained(arrays, **compiled)
    other, same = trained(stream, **compiled)
    assert logs == same
    assert_same(one, other)


@pytest.mark.slow
@pytest.mark.xla
def test_streams_train_as_arrays_do_to_the_bit_under_xla():
    stream = tf.data.Dataset.from_tensor_slices(X).batch(10)
    one, logs = trained(lambda vae: vae.fit(X, batch_size=10, shuffle=False, verbose=0))
    other, same = trained(lambda vae: vae.fit(stream, verbose=0))
    assert logs == same
    assert_same(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_reads_streams(kind):
    model, data = KINDS[kind]()
    draws = tfvae.objectives.ELBO(num_samples=2, gradient=tfvae.objectives.LeaveOneOut())
    model.compile("adam", draws if kind == "drawn_bits" else None, steps_per_execution=2)
    stream = tf.data.Dataset.from_tensor_slices(data).batch(5)
    logs = model.fit(stream, validation_data=stream, verbose=0).history
    assert np.isfinite(logs["loss"]).all()
    assert np.isfinite(logs["val_loss"]).all()
    assert int(model.optimizer.iterations) == int(stream.cardinality())


@pytest.mark.slow
@pytest.mark.parametrize("bad", [0, 1, 3])
def test_batches_before_a_bad_one_are_taken_and_no_other(bad):
    x = np.tile(X, (2, 1))[:40].copy()
    x[10 * bad + 4] = np.nan
    stream = tf.data.Dataset.from_tensor_slices(x).batch(10)
    keras.utils.set_random_seed(0)
    vae = mlp_vae()
    vae.compile(keras.optimizers.Adam(0.01))
    with pytest.raises(ValueError, match=r"^`x` holds NaN or infinite values"):
        vae.fit(stream, verbose=0)
    assert int(vae.optimizer.iterations) == bad
    if bad:
        same, _ = trained(lambda other: other.fit(stream.take(bad), verbose=0))
        assert_same(vae, same)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [2, 12])
def test_batches_of_many_sizes_go_through_a_few_loops(steps):
    sizes = [3, 3, 5, 2, 4, 4, 6, 1, 7, 7, 3, 8, 2]
    vae, _ = trained(lambda vae: vae.fit(of_sizes(*sizes), verbose=0), steps_per_execution=steps)
    assert int(vae.optimizer.iterations) == len(sizes)
    loops = [key for key, _ in vae.functions._made if isinstance(key, tuple)]
    found = {shape[1] for _, shape in loops}
    assert len(found) == _MOST_SIZES + 1
    assert None in found
    one_by_one, _ = trained(lambda vae: vae.fit(of_sizes(*sizes), verbose=0), steps_per_execution=1)
    for mine, its in zip(vae.trainable_weights, one_by_one.trainable_weights, strict=True):
        np.testing.assert_allclose(mine.numpy(), its.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("error", [OSError("disk"), None], ids=["in reading", "of one number"])
def test_batches_before_one_that_cannot_be_read_are_taken(error):
    def rows():
        yield from np.split(X[:20], 5)
        if error is not None:
            raise error
        yield np.float32(1.0)

    stream = tf.data.Dataset.from_generator(rows, output_signature=tf.TensorSpec(None, X.dtype))
    vae = mlp_vae()
    vae.compile(keras.optimizers.Adam(0.01))
    with pytest.raises((tf.errors.UnknownError, ValueError), match=r"disk|one number at a time"):
        vae.fit(stream, verbose=0)
    assert int(vae.optimizer.iterations) == 5


@pytest.mark.slow
def test_an_endless_stream_goes_on_where_an_epoch_ended():
    stream = tf.data.Dataset.from_tensor_slices(X).repeat().batch(5)
    heard = []

    class Listening(keras.callbacks.Callback):
        hears_calls = True

        def on_train_batch_end(self, batch, logs=None):
            heard.append(batch)

    two = {"steps_per_epoch": 15, "epochs": 2, "callbacks": [Listening()], "verbose": 0}
    vae, _ = trained(lambda vae: vae.fit(stream, **two))
    assert heard[-1] == 14
    same, _ = trained(lambda vae: vae.fit(stream.take(30), verbose=0))
    assert_same(vae, same)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (X, r"Expected: \[batch, 6\]. Received: \[6\]"),
        (X[:, 0], "must come in batches.* Received: one number at a time"),
        (X[None, :, :5], r"Expected: \[batch, 6\]. Received: \[24, 5\]"),
    ],
)
def test_what_is_in_no_batches_is_told_as_it_came(rows, message):
    vae = mlp_vae()
    vae.compile("adam")
    with pytest.raises(ValueError, match=message):
        vae.fit(tf.data.Dataset.from_tensor_slices(rows), verbose=0)
    assert int(vae.optimizer.iterations) == 0


@pytest.mark.slow
def test_no_more_is_held_at_once_than_may_be(monkeypatch):
    monkeypatch.setattr("tfvae.training.rows._CALL_BYTES", 4 * 6 * 10 * 3 + 4)
    held = []
    taken = Batches._taken
    monkeypatch.setattr(Batches, "_taken", lambda *given: held.append(given[1]) or taken(*given))
    vae, _ = trained(lambda vae: vae.fit(of_sizes(*[10] * 8), verbose=0))
    assert [len(some) for some in held] == [3, 3, 2]
    loops = [key for key, _ in vae.functions._made if isinstance(key, tuple)]
    assert {shape for _, shape in loops} == {(3, 10)}
    assert int(vae.optimizer.iterations) == 8


def test_batches_that_end_are_told_as_python_tells_it():
    vae = mlp_vae()
    vae.compile("adam", run_eagerly=True)
    taken = []

    def loop_of(kind, shape):
        def loop(batches, weights, count):
            taken.append((kind, shape, int(count), weights is None))
            return {"loss": 0.0}

        return loop

    batches = Batches(vae, "train", loop_of)
    vae.steps_per_execution = 3
    iterator = iter(tf.data.Dataset.from_tensor_slices(X).batch(5))
    assert batches(iterator) == {"loss": 0.0}
    assert batches(iterator) == {"loss": 0.0}
    with pytest.raises(StopIteration):
        batches(iterator)
    assert taken == [
        ("train", (10, 5), 3, True),
        ("train", (10, 5), 1, True),  # and no loop of another length
        ("train", (1, 4), 1, True),
    ]
    batches._model.steps_per_execution = 1
    assert batches(iter([X[:5]])) == {"loss": 0.0}
    assert taken[-1] == ("train", (1, 5), 1, True)
