"""Which models train under XLA, and what is said of those that do not."""

import concurrent.futures
import threading
import time
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import binary_data, mlp_decoder, mlp_vae
from tfvae.training import compilation
from tfvae.training.compilation import Compiler


@keras.saving.register_keras_serializable("tests")
class ThroughPython(keras.layers.Layer):
    """Passes its input through Python, which XLA cannot: counts the batches that came by."""

    calls = 0

    def call(self, x):
        def count(value):
            ThroughPython.calls += 1
            return value

        y = tf.numpy_function(count, [tf.stop_gradient(x)], x.dtype)
        y.set_shape(x.shape)
        return x + 0.0 * y

    def compute_output_shape(self, input_shape):
        return input_shape


def vae_with(layer):
    encoder = keras.Sequential(
        [
            keras.Input((6,)),
            layer,
            keras.layers.Dense(4),
            tfvae.layers.MultivariateNormalDiag(2),
        ]
    )
    return tfvae.VAE(encoder, mlp_decoder(), seed=1)


def warnings_of(vae, **compile_arguments):
    """Trains two epochs of two batches, validates, evaluates; returns what was warned of."""
    x = binary_data(8)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        vae.compile("adam", **compile_arguments)
        vae.fit(x, batch_size=4, epochs=2, validation_data=(x,), verbose=0)
        vae.evaluate(x, batch_size=4, verbose=0)
    assert int(vae.optimizer.iterations) == 4
    return [str(w.message) for w in caught]


@pytest.mark.slow
@pytest.mark.xla
def test_layers_that_refuse_xla_are_named_once():
    layer = keras.layers.Dense(5, name="slow_layer")
    layer.supports_jit = False
    vae = vae_with(layer)
    found = warnings_of(vae)
    assert len(found) == 1, found
    assert found[0].startswith("Running without XLA, which does not support the layer 'slow_layer'")
    assert "(Dense)" in found[0]
    assert "pass `jit_compile=False`" in found[0]
    assert warnings_of(vae, jit_compile=False) == []


@pytest.mark.slow
@pytest.mark.xla
def test_operations_without_kernels_are_named_once_and_cost_no_batch():
    vae = vae_with(ThroughPython(name="detour"))
    ThroughPython.calls = 0
    found = warnings_of(vae)
    assert len(found) == 1, found
    assert found[0].startswith("Running without XLA, which does not support the operation PyFunc")
    assert "detour" in found[0]
    # Four updates, two validations of two batches each, one evaluation of two.
    assert ThroughPython.calls == 4 + 2 * 2 + 2
    assert warnings_of(vae_with(ThroughPython()), jit_compile=False) == []


def compiled_by_xla(vae):
    """Whether the functions of `vae` are that were called."""
    called = [f.uses_xla for f in vae.functions._made.values() if f.uses_xla is not None]
    assert called
    assert len(set(called)) == 1
    return called[0]


@pytest.mark.slow
@pytest.mark.xla
def test_auto_compiles_and_says_nothing():
    vae = mlp_vae()
    assert warnings_of(vae) == []
    assert compiled_by_xla(vae)
    plain = mlp_vae()
    assert warnings_of(plain, jit_compile=False) == []
    assert not compiled_by_xla(plain)


def through_python(x):
    return ThroughPython()(x)


@pytest.mark.xla
def test_each_function_decides_for_itself():
    compiler = Compiler()
    refused, taken = compiler(through_python), compiler(lambda x: 2.0 * x)
    again = compiler(lambda x: -through_python(x))
    x = tf.constant([1.0, 2.0])
    with pytest.warns(UserWarning, match="does not support the operation PyFunc at"):
        np.testing.assert_array_equal(refused(x), x)
    np.testing.assert_array_equal(taken(x), 2.0 * x)
    np.testing.assert_array_equal(again(x), -x)  # what stands in the way was told before
    assert [refused.uses_xla, taken.uses_xla, again.uses_xla] == [False, True, False]


@pytest.mark.xla
def test_no_thread_runs_a_function_that_another_still_looks_through():
    """The others wait, and none comes to XLA with what it does not support."""
    compiler, started = Compiler(), threading.Event()

    def slowly_traced(x):
        started.set()
        time.sleep(0.2)
        return through_python(x)

    step, x = compiler(slowly_traced), tf.constant([1.0])
    with warnings.catch_warnings(), concurrent.futures.ThreadPoolExecutor(4) as pool:
        warnings.simplefilter("ignore")
        results = [pool.submit(step, x)]
        assert started.wait(10.0)
        results += [pool.submit(step, x) for _ in range(3)]
        for result in results:
            np.testing.assert_array_equal(result.result(), x)
    assert step.uses_xla is False


def test_threads_share_the_functions_of_a_model():
    vae, barrier = mlp_vae(), threading.Barrier(4)

    def take():
        barrier.wait()
        return vae.functions("key", lambda: lambda x: x)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = [pool.submit(take) for _ in range(4)]
        assert len({id(result.result()) for result in found}) == 1


@pytest.mark.slow
@pytest.mark.xla
def test_demanded_compilation_fails_loudly():
    vae = vae_with(ThroughPython())
    vae.compile("adam", jit_compile=True)
    with pytest.raises(
        (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError), match="PyFunc"
    ):
        vae.fit(binary_data(4), verbose=0)


@pytest.mark.slow
@pytest.mark.xla
def test_compiled_steps_do_what_plain_steps_do():
    """With z known up to rounding, XLA and plain steps take the same way."""
    results = []
    for arguments in ({"jit_compile": True}, {"jit_compile": False}, {"run_eagerly": True}):
        vae = mlp_vae(prior=tfvae.priors.StandardNormal(2))
        vae.set_weights([np.sin(np.arange(w.size)).reshape(w.shape) for w in vae.get_weights()])
        # A posterior without spread: every seed draws its mean.
        vae.encoder.layers[-1].min_scale = 0.0
        raw = vae.encoder.layers[-2]
        raw.kernel.assign(raw.kernel * [[1.0, 1.0, 0.0, 0.0]])
        raw.bias.assign([0.0, 0.0, -12.0, -12.0])
        vae.compile("sgd", **arguments)
        logs = vae.fit(binary_data(8), batch_size=8, verbose=0).history
        results.append(([float(logs[name][0]) for name in sorted(logs)], vae.get_weights()))
    for logs, weights in results[1:]:
        np.testing.assert_allclose(logs, results[0][0], rtol=1e-4, atol=1e-4)
        for found, expected in zip(weights, results[0][1], strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


class Together(keras.callbacks.Callback):
    """Keeps how many steps a call takes."""

    def on_train_begin(self, logs=None):
        self.steps = self.model.steps_per_execution


class BatchCounter(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.batches = []

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append(batch)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_steps_are_taken_together_where_no_callback_asks_for_batches(tmp_path):
    x = binary_data(84)
    settings = {"batch_size": 4, "epochs": 2, "shuffle": False, "verbose": 0}
    models = {name: mlp_vae() for name in ("auto", "counted", "single")}
    together = {name: Together() for name in models}
    weights = models["single"].get_weights()
    counter, quiet = BatchCounter(), keras.callbacks.EarlyStopping("elbo", mode="max")
    saver = keras.callbacks.ModelCheckpoint(tmp_path / "weights.weights.h5", save_weights_only=True)
    callbacks = {"auto": [quiet, saver], "counted": [counter], "single": []}
    histories = {}
    for name, vae in models.items():
        vae.set_weights(weights)
        vae.compile("adam", steps_per_execution=1 if name == "single" else "auto")
        histories[name] = vae.fit(
            x, callbacks=[*callbacks[name], together[name]], **settings
        ).history
    assert together["auto"].steps > 1
    assert together["counted"].steps == together["single"].steps == 1
    assert counter.batches == [*range(21), *range(21)]
    # 21 batches are not a multiple of the steps taken together: none may be lost or come twice.
    assert [int(vae.optimizer.iterations) for vae in models.values()] == [42, 42, 42]
    for name in ("auto", "counted"):
        assert histories[name] == histories["single"]
        for one, other in zip(
            models[name].get_weights(), models["single"].get_weights(), strict=True
        ):
            np.testing.assert_array_equal(one, other)
    # A later `fit` that is watched goes back to single steps.
    models["auto"].fit(x, callbacks=[counter], **{**settings, "epochs": 1})
    assert counter.batches[42:] == list(range(21))


@pytest.mark.slow
@pytest.mark.exhaustive
def test_steps_taken_together_stop_at_the_limit_that_is_asked_for():
    vae, data = mlp_vae(), tf.data.Dataset.from_tensors(binary_data(4)).repeat()
    vae.compile("adam")
    for limit, steps in ((16, 8), (7, 7), (13, 1), (20, 10)):
        before, together = int(vae.optimizer.iterations), Together()
        settings = {"validation_data": data, "validation_steps": 2 * limit, "verbose": 0}
        vae.fit(data, steps_per_epoch=limit, callbacks=[together], **settings)
        assert int(vae.optimizer.iterations) - before == limit
        assert together.steps == steps
    vae.evaluate(data, steps=9, verbose=0)
    assert int(vae._loss_tracker.count) == 9 * 4
    assert len(vae.predict(data, steps=3, verbose=0)["z_mean"]) == 3 * 4


@pytest.mark.slow
@pytest.mark.xla
def test_shapes_that_xla_cannot_know_are_found_before_a_step_runs():
    """The gradient of `set_diag`, of which TFP's low-rank Gaussians are made, over a last batch."""

    class Own(tfvae.VAE):
        def train_step(self, data):
            return super().train_step(data)

    stream = tf.data.Dataset.from_tensor_slices(binary_data(5)).batch(3)
    for kind in (Own, tfvae.VAE):
        head = tfvae.layers.MultivariateNormalLowRank(2, 1)
        encoder = keras.Sequential([keras.Input((6,)), keras.layers.Dense(6), head])
        vae = kind(encoder, mlp_decoder(), seed=1)
        vae.compile("adam")
        before = vae.get_weights()
        if kind is Own:
            with pytest.warns(UserWarning, match="a shape that a branch decides"):
                vae.fit(stream, verbose=0)
        else:
            # Of the batches that loops are made for all sizes are known: nothing to warn of.
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                vae.fit(stream, verbose=0)
                vae.fit(binary_data(5), batch_size=3, verbose=0)
        assert int(vae.optimizer.iterations) == (2 if kind is Own else 4)
        for old, new in zip(before, vae.get_weights(), strict=True):
            assert np.any(old != new)
            assert np.all(np.isfinite(new))


def conv_vae():
    encoder = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Reshape((6, 1)),
            keras.layers.Conv1D(3, 3, 2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(4),
            tfvae.layers.MultivariateNormalDiag(2),
        ]
    )
    return tfvae.VAE(encoder, mlp_decoder(), seed=1)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.xla
def test_convolutions_on_a_cpu_are_left_to_tensorflow_or_compiled_step_by_step():
    """Within a loop XLA takes many times as long; whoever asks for it gets each step by itself."""
    if tf.config.list_logical_devices("GPU"):
        pytest.skip("A GPU has no such trouble.")
    x, found = binary_data(10), {}
    for jit_compile in ("auto", True):
        keras.utils.set_random_seed(1)
        vae = conv_vae()
        vae.compile(keras.optimizers.SGD(0.1), jit_compile=jit_compile, steps_per_execution=2)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            history = vae.fit(x, batch_size=4, epochs=2, shuffle=False, verbose=0).history
        assert int(vae.optimizer.iterations) == 6
        uses_xla = {f.uses_xla for f in vae.functions._made.values()}
        assert uses_xla == {jit_compile is True}
        loops = [f for f in vae.functions._made.values() if f._chosen == f._one_by_one]
        assert bool(loops) == (jit_compile is True)
        found[jit_compile] = history["elbo"]
    assert np.all(np.isfinite(found["auto"] + found[True]))


@pytest.mark.parametrize(
    ("steps", "work", "has_tests", "pays"),
    [
        (9_000, 3e3, False, False),
        (10_000, 3e3, False, True),
        (10_000, 3e3, True, False),
        (5_000, 2e7, False, False),
        (800, 7e7, False, False),
        (1_000, 7e7, False, True),
        (1_500, 7e7, True, False),
        (1_800, 7e7, True, True),
    ],
)
def test_short_runs_do_without_xla(steps, work, has_tests, pays):
    # As measured: the smaller the model, the more steps it takes to make up for compiling.
    assert compilation._pays_as_measured(steps, work, has_tests) is pays


@pytest.mark.parametrize(
    ("passes", "weights", "pairs", "pays"),
    [
        (1e6, 170, 0.0, False),
        (1e6, 20_000, 0.0, False),
        (1e6, 700_000, 0.0, True),
        (1e8, 170, 0.0, True),
        (1e4, 700_000, 1e7, False),
        (1e4, 170, 1e8, True),
    ],
)
def test_short_evaluations_do_without_xla(passes, weights, pairs, pays):
    assert compilation._pays_once_as_measured(passes, weights, pairs) is pays


@pytest.mark.slow
@pytest.mark.xla
def test_evaluations_compile_where_their_draws_are_many(monkeypatch):
    def pays(passes, weights, pairs=0.0):
        return passes >= 16 * 50 or pairs >= 16 * 160

    monkeypatch.setattr(compilation, "xla_pays_once", pays)
    vae, x = mlp_vae(), binary_data(16)
    vae.compile("adam")

    def evidence(num_samples, data=x):
        return tfvae.log_likelihood(vae, data, num_samples, verbose=False).per_point

    few, many = evidence(49), evidence(50)
    of_stream = evidence(50, tf.data.Dataset.from_tensor_slices(x).batch(16))
    np.testing.assert_array_equal(many, of_stream)  # the same draws, where the sizes are known
    np.testing.assert_array_equal(few, evidence(49))  # each call decides by its own draws alone
    made = [
        function.uses_xla for key, function in vae.functions._made.items() if "evidence" in str(key)
    ]
    assert sorted(made) == [False, True]
    tfvae.decompose(vae, x, num_samples=10, evidence_samples=0, verbose=False)
    made = {str(key): function.uses_xla for key, function in vae.functions._made.items()}
    assert made["('ledger', 'without XLA')"] is False
    # 160 draws, each under all 16 posteriors.
    assert made["aggregated posterior"] is True
    for jit_compile in (True, False):
        vae.compile("adam", jit_compile=jit_compile)
        evidence(5)
        assert {f.uses_xla for f in vae.functions._made.values()} == {jit_compile}


@pytest.mark.slow
def test_what_pays_counts_all_calls_and_goes_with_the_file(tmp_path):
    vae, x = mlp_vae(), binary_data(16)
    vae.compile("adam")
    assert vae.functions.pays is None
    vae.fit(x, batch_size=8, epochs=2, verbose=0)
    assert vae.functions.pays is False
    assert vae.functions.steps == 4
    vae.save(tmp_path / "short.keras")
    loaded = keras.models.load_model(tmp_path / "short.keras")
    assert (loaded.functions.pays, loaded.functions.steps) == (False, 4)
    # Many short calls are a long one, and what has come to pay does so for good.
    for _ in range(3):
        assert loaded.functions.pays is False
        loaded.functions.expect(6_500, 3e3, has_tests=True)
    assert loaded.functions.pays is True
    loaded.functions.expect(1, 1.0)
    assert (loaded.functions.pays, loaded.functions.steps) == (True, 19_504)
    vae.compile("adam")
    assert vae.functions.pays is None
    vae.compile("adam", jit_compile=False)
    vae.fit(x, verbose=0)
    assert vae.functions.pays is None
    # Epochs that are asked for count, also where some of them were taken before.
    whole, rest = mlp_vae(), mlp_vae()
    for model, begun in ((whole, 0), (rest, 2)):
        model.compile("adam", run_eagerly=True)
        counted = []
        model.functions.expect = lambda *given, counted=counted: counted.append(given)
        model.fit(x, batch_size=5, epochs=3, initial_epoch=begun, verbose=0)
        numbers = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
        assert counted == [(12, numbers * 5, False)]
