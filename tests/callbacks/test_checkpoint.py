"""Runs that end and go on, equal to the bit to those that were never interrupted."""

import io
import json
import os
import pathlib
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import binary_data, slow_but
from tests.conftest import mlp_vae as unseeded
from tfvae.callbacks import Checkpoint
from tfvae.data import shuffled_rows
from tfvae.learning import Alternating, SemiAmortised, WakeSleep

X = binary_data(23)
ROOT = pathlib.Path(__file__).parents[2]
KINDS = ("rows", "stream", "kept stream")


class PowerCut(Exception):
    pass


class CutAt(keras.callbacks.Callback):
    """Ends a run after so many calls."""

    hears_calls = True

    def __init__(self, calls):
        super().__init__()
        self.left = calls

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left < 0:
            raise PowerCut


def streamed(x=X, seed=5):
    return {"x": tf.data.Dataset.from_tensor_slices(x).shuffle(23, seed=seed).batch(5)}


def endless():
    return {"x": streamed()["x"].repeat(), "steps_per_epoch": 4}


def of_unknown_size():
    return {"x": tf.data.Dataset.from_tensor_slices(X).shuffle(9, seed=2).filter(any_row).batch(5)}


def any_row(x):
    return tf.reduce_sum(x) > -1.0


def in_one_order():
    return {"x": tf.data.Dataset.from_tensor_slices(X).batch(5)}


def drawn_rows():
    return {"x": shuffled_rows(len(X), 5, seed=4).map(lambda row: tf.gather(X, row))}


def rows():
    return {"x": X, "batch_size": 5}


def dropping():
    """A network that draws noise of its own."""
    base = unseeded(seed=3)
    dropped = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dropout(0.5, seed=2), *base.encoder.layers]
    )
    return tfvae.VAE(dropped, base.decoder, seed=3)


def unbuilt():
    """A model whose weights are made when data comes."""
    encoder = keras.Sequential(
        [keras.layers.Dense(4), tfvae.layers.MultivariateNormalDiag(2)], name="encoder"
    )
    decoder = keras.Sequential([keras.layers.Dense(6), tfvae.layers.IndependentBernoulli(6)])
    return tfvae.VAE(encoder, decoder, seed=3)


CASES = {
    "rows": {},
    "weights": {"data": lambda: {**rows(), "sample_weight": np.linspace(0.0, 2.0, 23)}},
    "stream": {"data": streamed},
    "endless": {"data": endless},
    "unknown size": {"data": of_unknown_size},
    "not read again": {"data": in_one_order, "read_again": False},
    "kept stream": {"data": streamed, "keep_stream": True},
    "kept rows": {"data": drawn_rows, "keep_stream": True},
    "kept, of unknown size": {"data": of_unknown_size, "keep_stream": True},
    "alternating": {"scheme": Alternating(2, until_information_stops=4)},
    "wake-sleep": {"scheme": WakeSleep()},
    "semi-amortised": {"scheme": SemiAmortised(2, 0.1), "data": streamed},
    "schedule": {"objective": tfvae.objectives.ELBO(tfvae.objectives.Linear(0.0, 1.0, steps=9))},
    "averages": {"optimizer": {"use_ema": True, "ema_overwrite_frequency": 3}},
    "accumulation": {"optimizer": {"gradient_accumulation_steps": 2}},
    "loss scaling": {"scaled": True},
    "dropout": {"make": dropping},
    "unbuilt": {"make": unbuilt, "data": streamed},
}


def run(case, path=None, cut=None, epochs=3, steps=2, **settings):
    """Returns the model after training and its history, None for a run that was cut."""
    keras.utils.set_random_seed(1)
    vae = case.get("make", lambda: unseeded(seed=3))()
    optimizer = keras.optimizers.Adam(0.02, **case.get("optimizer", {}))
    if case.get("scaled"):
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, dynamic_growth_steps=2)
    vae.compile(
        optimizer,
        case.get("objective", tfvae.objectives.TargetDistortion(3.0)),
        scheme=case.get("scheme"),
        jit_compile=False,
        run_eagerly=steps == 2,
        steps_per_execution=steps,
    )
    callbacks = [
        keras.callbacks.ReduceLROnPlateau("val_loss", patience=1),
        keras.callbacks.EarlyStopping("val_loss", patience=9, restore_best_weights=True),
    ]
    if cut is not None:
        callbacks.insert(0, CutAt(cut))
    if path is not None:
        settings = {"updates": 1, "file": io.StringIO(), **settings}
        for name in ("read_again", "keep_stream"):
            if name in case:
                settings[name] = case[name]
        callbacks.append(Checkpoint(path, **settings))
    data = case.get("data", rows)()
    try:
        history = vae.fit(
            **data, epochs=epochs, validation_data=(X[:9],), verbose=0, callbacks=callbacks
        )
    except PowerCut:
        return None
    return vae, history.history


def assert_equal(found, expected):
    for name in ("variables", "optimizer.variables"):
        one, other = (
            vae.variables if name == "variables" else vae.optimizer.variables
            for vae in (found[0], expected[0])
        )
        for mine, theirs in zip(one, other, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert found[1] == expected[1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize(
    "name",
    slow_but(of=list(CASES)),
)
def test_a_run_that_was_cut_ends_as_one_that_was_not(name, tmp_path):
    """Cut in the first epoch, and in the second."""
    case = CASES[name]
    for cut in (1, 2):
        assert run(case, tmp_path / "run", cut) is None
    assert_equal(run(case, tmp_path / "run"), run(case))


@pytest.mark.slow
@pytest.mark.parametrize("cut", [2, 5])
def test_of_a_stream_that_is_kept_nothing_is_read_again(cut, tmp_path):
    """Cut within the first epoch of three calls, and after it."""
    read = []

    def data():
        def noted(row):
            read.append(row.tolist())
            return X[row]

        rows = shuffled_rows(len(X), 5, seed=4)
        x = rows.map(lambda row: tf.numpy_function(noted, [row], tf.float32))
        return {"x": x.map(lambda x: tf.ensure_shape(x, [None, 6]))}

    case = {"data": data, "keep_stream": True}
    expected = run(case)
    whole, read[:] = list(read), []
    assert run(case, tmp_path / "run", cut) is None
    before, read[:] = len(read), []
    assert_equal(run(case, tmp_path / "run"), expected)
    # Calls are of two batches; the one that was cut is taken again.
    assert read == whole[-len(read) :]
    assert before + len(read) - len(whole) <= 2


def test_streams_that_cannot_be_kept_are_refused_at_once(tmp_path):
    vae = compiled()
    kept = Checkpoint(tmp_path / "run", keep_stream=True, file=io.StringIO())
    spec = tf.TensorSpec([None, 6])
    generated = tf.data.Dataset.from_generator(lambda: iter([X] * 99), output_signature=spec)
    with pytest.raises(ValueError, match="whose place TensorFlow can keep"):
        vae.fit(generated, verbose=0, callbacks=[kept])
    assert int(vae.optimizer.iterations) <= 10  # one call
    with pytest.raises(ValueError, match=r"whose passes are the epochs, .* steps_per_epoch=2\."):
        vae.fit(streamed()["x"].repeat(), steps_per_epoch=2, verbose=0, callbacks=[kept])


@pytest.mark.slow
@pytest.mark.exhaustive
def test_how_many_steps_a_call_takes_is_no_part_of_it(tmp_path):
    assert run({}, tmp_path / "run", 1, steps=3) is None
    assert_equal(run({}, tmp_path / "run", steps="auto"), run({}, steps=1))


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_run_goes_on_from_the_epochs_that_it_keeps(tmp_path):
    expected = run({}, epochs=5)
    kept = io.StringIO()
    assert run({}, tmp_path / "run", 11, epochs=5, updates=None, file=kept) is None
    found = run({}, tmp_path / "run", epochs=5, updates=None, file=kept)
    assert_equal(found, expected)
    assert kept.getvalue().endswith("run: 3 epochs are done.\n")
    # A run that is done is done; more epochs may follow.
    assert_equal(run({}, tmp_path / "run", epochs=5, updates=None, file=kept), expected)
    assert_equal(run({}, tmp_path / "run", epochs=6, file=kept), run({}, epochs=6))


@pytest.mark.slow
def test_a_run_that_was_stopped_stays_so(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    for _ in range(2):
        keras.utils.set_random_seed(1)
        vae = unseeded(seed=3)
        vae.compile("adam", run_eagerly=True)
        callbacks = [Checkpoint(tmp_path / "run", file=io.StringIO()), Stop()]
        history = vae.fit(X, epochs=5, batch_size=10, verbose=0, callbacks=callbacks)
        assert history.epoch == [0, 1]
        assert int(vae.optimizer.iterations) == 6


def fitted(vae, path, x=X, **settings):
    callbacks = [Checkpoint(path, file=io.StringIO())]
    return vae.fit(x, **{"verbose": 0, "batch_size": 10, "callbacks": callbacks, **settings})


def compiled(latents=2, optimizer="sgd"):
    vae = unseeded(seed=3, latents=latents)
    vae.compile(optimizer, run_eagerly=True)
    return vae


def test_what_another_run_left_is_refused_before_anything_changes(tmp_path):
    fitted(compiled(), tmp_path / "run")
    before = (tmp_path / "run").read_bytes()
    other = X.copy()
    other[3, 2] = 1.0 - other[3, 2]
    with pytest.raises(ValueError, match=r"run over other data: checksums=.*Give another path"):
        fitted(compiled(), tmp_path / "run", other)
    with pytest.raises(ValueError, match="batch_size=10 there and 5 here"):
        fitted(compiled(), tmp_path / "run", batch_size=5)
    vae = compiled(latents=3)
    weights = vae.get_weights()
    with pytest.raises(ValueError, match=r"run with another model: `\S*kernel` is \(\(5, 6\)"):
        fitted(vae, tmp_path / "run")
    for old, new in zip(weights, vae.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    with pytest.raises(ValueError, match="run with another optimizer"):
        fitted(compiled(optimizer="adam"), tmp_path / "run")
    assert (tmp_path / "run").read_bytes() == before
    # A file of something else is not written over.
    (tmp_path / "mine").write_text("data of mine")
    with pytest.raises(ValueError, match="mine: it is no checkpoint of `tfvae`"):
        fitted(compiled(), tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "data of mine"


def test_what_cannot_be_kept_is_refused(tmp_path):
    vae, path = compiled(), tmp_path / "run"
    with pytest.raises(ValueError, match=r"order of this data .* ndarray with shuffle=True"):
        fitted(vae, path, steps_per_epoch=2)
    with pytest.raises(ValueError, match="must hold one `Checkpoint` at most"):
        fitted(vae, path, callbacks=[Checkpoint(path), [Checkpoint(path)]])
    made = keras.callbacks.CallbackList([Checkpoint(path)], model=vae)
    with pytest.raises(ValueError, match=r"in a plain list\. Received: 1 of them in a Call"):
        fitted(vae, path, callbacks=made)
    stock = keras.Sequential([keras.Input((6,)), keras.layers.Dense(6)])
    stock.compile("sgd", "mse")
    with pytest.raises(TypeError, match="is for models of `tfvae`"):
        stock.fit(X, X, verbose=0, callbacks=[Checkpoint(path)])
    for wrong in ({"epochs": 0}, {"updates": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Checkpoint(path, **wrong)
    assert not path.exists()


def test_where_nothing_can_be_written_training_goes_on_or_stops(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    vae = compiled()
    with pytest.warns(UserWarning, match="could not be written, and training goes on") as told:
        fitted(vae, tmp_path / "file" / "run", epochs=3)
    assert len([w for w in told if "could not be written" in str(w.message)]) == 1
    assert int(vae.optimizer.iterations) == 9
    vae = compiled()
    callbacks = [Checkpoint(tmp_path / "file" / "run", must_save=True)]
    with pytest.raises(OSError, match="file"):
        fitted(vae, tmp_path / "run", callbacks=callbacks)
    assert int(vae.optimizer.iterations) == 0  # before any training
    # A disk that fills up leaves what there is.
    fitted(compiled(), tmp_path / "run")
    before = (tmp_path / "run").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(UserWarning, match="No space left"):
        fitted(compiled(), tmp_path / "run", epochs=2)
    assert (tmp_path / "run").read_bytes() == before


class Ending(keras.callbacks.Callback):
    """Has the process asked to end, as a machine that is taken away does."""

    hears_calls = True

    def on_train_batch_begin(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == 4:
            os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_saves_and_exits(tmp_path):
    expected = compiled()
    expected.fit(X, batch_size=5, epochs=2, verbose=0)
    before = signal.getsignal(signal.SIGTERM)
    kept = Checkpoint(tmp_path / "run", exit_at_sigterm=True, file=io.StringIO())
    keras.utils.set_random_seed(20_240_229)
    vae = compiled()
    with pytest.raises(SystemExit) as ended:
        vae.fit(X, batch_size=5, epochs=2, verbose=0, callbacks=[kept, Ending()])
    assert ended.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before
    said = io.StringIO()
    keras.utils.set_random_seed(20_240_229)
    vae = compiled()
    vae.fit(
        X, batch_size=5, epochs=2, verbose=0, callbacks=[Checkpoint(tmp_path / "run", file=said)]
    )
    assert "0 epochs are done and" in said.getvalue()
    for mine, theirs in zip(vae.variables, expected.variables, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def killed(folder, num_kills, *kinds):
    """Returns what `tests.callbacks.runs` prints."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.callbacks.runs", str(folder), str(num_kills), *kinds]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forks of one process")
@pytest.mark.parametrize(
    ("kills", "kind"),
    [
        (2, "rows"),
        *(pytest.param(25, kind, marks=pytest.mark.exhaustive) for kind in KINDS),
    ],
)
def test_a_run_killed_at_drawn_moments_ends_as_one_that_was_not(kills, kind, tmp_path):
    (found,) = killed(tmp_path, kills, kind)
    assert found["kills"] == kills
    unbroken, killed_often = found["found"]
    assert unbroken == killed_often
