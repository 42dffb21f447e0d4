"""Many updates in one loop over data in memory: the same, to the bit, as one by one."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import binary_data, slow_but
from tests.conftest import mlp_vae as unseeded
from tfvae.learning import Alternating, Joint, SemiAmortised, WakeSleep
from tfvae.training.course import CountedCallbacks
from tfvae.training.rows import Rows

X = binary_data(37)


def mlp_vae(**arguments):
    """The same weights each time."""
    keras.utils.set_random_seed(1)
    return unseeded(**arguments)


def every_row(rows, calls, num_batches):
    """The data of so many calls, batch by batch, without what is there for the shape."""
    found = []
    rows.take(num_batches)
    rows.begin()
    for _ in range(calls):
        for batches, weights, count in rows.next():
            for i in range(int(count)):
                kept = None if weights is None else weights[i].numpy()
                found.append((batches["x"][i].numpy(), kept))
    return found


@pytest.mark.parametrize("size", [1, 5, 9, 10, 100])
@pytest.mark.parametrize("num_batches", [1, 3, 50])
def test_a_pass_reads_each_row_once(size, num_batches):
    data = {"x": tf.reshape(tf.range(20.0), [10, 2])}
    seeds = iter(tf.constant([[k, k] for k in range(9)]))
    rows = Rows(data, tf.range(10.0), size, lambda: next(seeds))
    calls = -(-rows.num_batches // num_batches)
    orders = []
    for _ in range(3):
        found = every_row(rows, calls, num_batches)
        assert [len(x) for x, _ in found] == [
            len(part) for part in np.split(np.arange(10), np.arange(size, 10, size))
        ]
        order = np.concatenate([w for _, w in found])
        np.testing.assert_array_equal(np.concatenate([x for x, _ in found])[:, 0], 2.0 * order)
        assert sorted(order) == list(range(10))
        orders.append(tuple(order))
    assert len(set(orders)) == 3
    again = Rows(data, tf.range(10.0), size, lambda: tf.constant([0, 0]))
    assert tuple(np.concatenate([w for _, w in every_row(again, calls, num_batches)])) == orders[0]
    kept = Rows(data, None, size)
    np.testing.assert_array_equal(
        np.concatenate([x for x, _ in every_row(kept, calls, num_batches)]), data["x"]
    )


def shapes_of(rows, num_batches, calls):
    rows.take(num_batches)
    rows.begin()
    return [[(tuple(b["x"].shape[:2]), int(n)) for b, _, n in rows.next()] for _ in range(calls)]


def test_there_are_few_shapes_whatever_is_left_and_asked_for():
    rows = Rows({"x": tf.zeros([70, 2])}, None, 4)
    assert shapes_of(rows, 10, 3) == [[((10, 4), 10)], [((10, 4), 7), ((1, 2), 1)], []]
    assert shapes_of(rows, 3, 1) == [[((10, 4), 3)]]
    assert shapes_of(rows, 1, 1) == [[((1, 4), 1)]]
    assert shapes_of(rows, 1000, 1) == [[((50, 4), 17), ((1, 2), 1)]]
    # A pass that begins anew does so from its first batch, however far the last one came.
    assert shapes_of(rows, 10, 1) == [[((10, 4), 10)]]


def test_calls_are_long_for_small_work_and_hold_a_bounded_amount_of_data(monkeypatch):
    few = Rows({"x": tf.zeros([900, 4])}, None, 100)
    some = Rows({"x": tf.zeros([9900, 4])}, None, 100)
    many = Rows({"x": tf.zeros([9000, 4])}, None, 9)
    small, large = [np.zeros([10, 10])], [np.zeros([10_000, 10_000])]
    assert few.batches_in_a_call(small) == 10
    assert some.batches_in_a_call(small) == 50
    assert many.batches_in_a_call(small) == 100
    assert many.batches_in_a_call(large) == 10
    monkeypatch.setattr("tfvae.training.rows._CALL_BYTES", 2**16)
    for size, most in ((4, 3), (8, 1), (40, 1)):
        wide = Rows({"x": tf.zeros([40, 2**10])}, None, size)
        assert wide.batches_in_a_call(small) == most
        # Whoever asks for more gets it in pieces.
        assert {shape[0] for (shape, _) in shapes_of(wide, 50, 1)[0]} == {most}


CASES = {
    "plain": {},
    "weights": {"sample_weight": np.linspace(0.0, 2.0, 37)},
    "validation": {"validation_data": (X[:9], None, np.arange(9.0)), "validation_batch_size": 4},
    "split": {"validation_split": 0.3},
    "alternating": {"scheme": Alternating(2, until_information_stops=4)},
    "wake-sleep": {"scheme": WakeSleep()},
    "semi-amortised": {"scheme": SemiAmortised(2, 0.1)},
    "multiplier": {"objective": tfvae.objectives.TargetDistortion(3.0)},
    "averages": {"optimizer": {"use_ema": True, "ema_overwrite_frequency": 3}},
    "accumulation": {"optimizer": {"gradient_accumulation_steps": 2}},
    "clipping": {"optimizer": {"global_clipnorm": 0.5, "weight_decay": 0.01}},
    "loss scaling": {"scaled": True},
}


def trained(case, steps, jit_compile=False, callbacks=()):
    case = dict(case)
    optimizer = keras.optimizers.Adam(0.02, **case.pop("optimizer", {}))
    if case.pop("scaled", False):
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, dynamic_growth_steps=2)
    vae = mlp_vae(seed=3)
    vae.compile(
        optimizer,
        case.pop("objective", None),
        scheme=case.pop("scheme", None),
        jit_compile=jit_compile,
        steps_per_execution=steps,
    )
    history = vae.fit(X, batch_size=5, epochs=3, verbose=0, callbacks=list(callbacks), **case)
    return vae, history.history


@pytest.mark.parametrize(
    "name",
    slow_but(
        of=list(CASES),
    ),
)
def test_many_steps_are_single_ones_to_the_bit(name):
    found = [trained(CASES[name], steps) for steps in (1, 3)]
    one, one_logs = found[0]
    if name != "accumulation":
        assert int(one.optimizer.iterations) == 3 * -(-(25 if name == "split" else 37) // 5)
    for other, logs in found[1:]:
        assert logs == one_logs
        for mine, theirs in zip(one.variables, other.variables, strict=True):
            np.testing.assert_array_equal(mine, theirs)
        for mine, theirs in zip(one.optimizer.variables, other.optimizer.variables, strict=True):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.xla
def test_many_steps_are_single_ones_to_the_bit_under_xla():
    one, one_logs = trained({}, 1, jit_compile=True)
    other, logs = trained({}, 3, jit_compile=True)
    assert logs == one_logs
    for mine, theirs in zip(one.variables, other.variables, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("scheme", [Joint(), Alternating(2)])
def test_rows_are_batches_of_a_dataset(scheme):
    """The same order, batch by batch through Keras and in one loop."""
    vaes = [mlp_vae(seed=3), mlp_vae(seed=3)]
    for vae in vaes:
        vae.compile(keras.optimizers.Adam(0.02), scheme=scheme)
    stream = tf.data.Dataset.from_tensor_slices(X).batch(5)
    settings = {"epochs": 2, "verbose": 0}
    logs = [
        vaes[0].fit(X, batch_size=5, shuffle=False, validation_data=(X,), **settings).history,
        vaes[1].fit(stream, validation_data=stream, **settings).history,
    ]
    assert set(logs[0]) == set(logs[1])
    for name, values in logs[0].items():
        np.testing.assert_allclose(values, logs[1][name], rtol=1e-5, err_msg=name)
    for mine, theirs in zip(vaes[0].variables, vaes[1].variables, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)
    scores = [
        vaes[0].evaluate(data, verbose=0, batch_size=b) for data, b in ((X, 5), (stream, None))
    ]
    np.testing.assert_allclose(*scores, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_stored_model_goes_on_in_the_order_that_it_would_have_taken(tmp_path):
    """The order of an epoch comes from the seed of the model, which is stored with it."""
    whole, half = mlp_vae(seed=3), mlp_vae(seed=3)
    for vae in (whole, half):
        vae.compile(keras.optimizers.Adam(0.02))
    settings = {"batch_size": 5, "verbose": 0}
    whole.fit(X, epochs=4, **settings)
    half.fit(X, epochs=2, **settings)
    half.save(tmp_path / "half.keras")
    again = keras.models.load_model(tmp_path / "half.keras")
    again.fit(X, epochs=4, initial_epoch=2, **settings)
    for mine, theirs in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


class Steps(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen = {"train": [], "test": []}

    def on_train_batch_end(self, batch, logs=None):
        self.seen["train"].append(batch)

    def on_test_batch_end(self, batch, logs=None):
        self.seen["test"].append(batch)


def test_nobody_hears_of_a_step_beyond_the_last():
    steps = Steps()
    callbacks = CountedCallbacks([steps], num_train=7, num_test=None, steps=7)
    for end in (4, 9):
        callbacks.on_train_batch_end(end)
        callbacks.on_test_batch_end(end)
    assert steps.seen == {"train": [4, 6], "test": [4, 9]}


@pytest.mark.slow
def test_the_bar_of_keras_ends_at_the_number_of_batches(capsys):
    vae = mlp_vae()
    vae.compile("adam", steps_per_execution=3)
    vae.fit(X, batch_size=5, verbose=1, validation_data=(X,))
    vae.evaluate(X, batch_size=5, verbose=1)
    shown = capsys.readouterr().out
    assert "8/8" in shown
    assert "9/8" not in shown
