"""What all tests share: quiet logs, fixed seeds, and factories of tiny models and data."""

import collections
import ctypes
import gc
import os
import pathlib
import random
import resource
import sys
import unittest.mock
import zlib
from collections.abc import Iterable, Mapping

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# What XLA makes of these tiny models runs once: to make it fast takes longer than to run it.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.autograph.core import config
from tensorflow.python.autograph.impl import conversion
from tensorflow.python.eager import context
from tensorflow.python.framework import ops
from tensorflow_probability.python.distributions import gamma, poisson
from tensorflow_probability.python.math import special

import tfvae
from tests.executables import release_executables
from tfvae.export import writer
from tfvae.training import compilation
from tfvae.training.compilation import Compiler

# TensorFlow's modules are a million objects that never go: to walk them again and again in search
# of garbage took a good part of the time of all tests.
gc.collect()
gc.freeze()
gc.set_threshold(50_000, 20, 50)

# To compile by XLA takes several times longer than to run such models. So there is XLA in tests
# marked `xla` alone: elsewhere the default of `compile` means without, and asking for it is an
# error. What counts is the test that runs, also for fixtures that outlive it.
_test_uses_xla = False


# TensorFlow rewrites each graph before it runs it, twice over, which takes a fifth of the time of a
# test and saves none. So it does in tests that are about compiled functions alone, marked `xla` or
# `rewriting`.
_rewrites = True


# The functions of TensorFlow in tests rewrite the Python that they call as well, all of this
# package, which takes longer than to trace it: so only where the test is about it.
_converts = False


class _AsItStands(config.DoNotConvert):
    def get_action(self, module):
        return config.Action.NONE if _converts else super().get_action(module)


config.CONVERSION_RULES = (_AsItStands("tfvae"), *config.CONVERSION_RULES)


# Each operation of a graph keeps the lines of Python that made it, some hundred deep under pytest,
# which takes a tenth of the time of all tests. Those of files have none either.
_create = ops._create_c_op


def _created_without_lines(*args, **kwargs):
    return _create(*args, **{**kwargs, "extract_traceback": _converts})


ops._create_c_op = _created_without_lines


# An export is loaded and asked before it is kept, which is half of its time: in tests of exports
# alone, since the others ask what they have written by themselves.
_verifies = True


def _where_exports_are_tested(function):
    return lambda *args: function(*args) if _verifies else None


writer.check_answers = _where_exports_are_tested(writer.check_answers)
writer.example_inputs = _where_exports_are_tested(writer.example_inputs)
writer.Preprocessing.examples = _where_exports_are_tested(writer.Preprocessing.examples)


def pytest_xdist_auto_num_workers(config):
    """As many processes as there are cores for the quick tests, and no fewer than three for others.

    To start one takes some ten seconds. Three of them keep two cores busy where one waits for a
    program, and grow less than two do.
    """
    cores = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2, 8)
    return cores if "not slow" in config.option.markexpr else max(cores, 3)


def pytest_addoption(parser):
    parser.addoption(
        "--share",
        default="0/1",
        help="Of the tests marked `exhaustive`, only one share and the numbers of before: 2/5 is "
        "the third of five shares.",
    )


# How many quick tests take as long as a slow one.
_SLOW = 10

# Whose slow tests run programs from end to end, and whose belong to each share.
_PROGRAMS, _ALWAYS = {"examples", "benchmarks"}, "golden"


def _place(case):
    """Where a case stands among those of its test, whatever order they run in."""
    return tuple(case.callspec.indices.values())


def pytest_collectstart(collector):
    """What a module makes as it is imported, such as layers, has the same seeds each time."""
    random.seed(zlib.crc32(collector.nodeid.encode()))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Marks further cases `exhaustive`, and leaves them out where no mark or name asks for them.

    Of a test's slow cases the first is what shows the law, where no quick one does; the cases of a
    test marked `each_case` are laws of their own. Programs that use the package are tried by
    continuous integration.
    """
    tests = collections.defaultdict(list)
    for item in items:
        tests[item.nodeid.split("[")[0]].append(item)
    for cases in tests.values():
        slow = [case for case in cases if case.get_closest_marker("slow")]
        if cases[0].path.parent.name in _PROGRAMS:
            for case in slow:
                case.add_marker("exhaustive")
            continue
        if len(cases) == 1 or cases[0].get_closest_marker("each_case"):
            continue
        if len(slow) == len(cases):
            slow.remove(min(slow, key=_place))
        for case in slow:
            case.add_marker("exhaustive")
    if all("::" in argument for argument in config.args):
        return
    share, shares = map(int, config.option.share.split("/"))
    asked = "exhaustive" in config.option.markexpr

    def runs(item):
        turn = zlib.crc32(item.nodeid.encode()) % shares == share
        return asked and (turn or item.path.parent.name == _ALWAYS)

    left_out = {i for i in items if i.get_closest_marker("exhaustive") and not runs(i)}
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]
    if config.pluginmanager.has_plugin("randomly"):
        return  # Whose order it is.
    # The longest files first, so that all processes come to their end together.
    weights = collections.Counter()
    for item in items:
        weights[item.path] += _SLOW if item.get_closest_marker("slow") else 1
    items.sort(key=lambda item: -weights[item.path])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    global _test_uses_xla, _rewrites, _converts, _verifies
    _verifies = item.path.parent.name == "export"
    _test_uses_xla = item.get_closest_marker("xla") is not None
    rewriting = item.get_closest_marker("rewriting") is not None
    if rewriting != _converts:
        conversion._ALLOWLIST_CACHE = type(conversion._ALLOWLIST_CACHE)()  # What was decided.
        _converts = rewriting
    rewrites = _test_uses_xla or rewriting
    if rewrites != _rewrites:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": not rewrites})
        _rewrites = rewrites
    return (yield)


def _without_xla_by_default(init):
    def wrapped(self, jit_compile="auto", run_eagerly=False):
        if jit_compile == "auto" and not _test_uses_xla:
            jit_compile = False
        init(self, jit_compile, run_eagerly)

    return wrapped


def _refuse_xla(call):
    def wrapped(self, *args, **kwargs):
        if self._jit_compile and not _test_uses_xla:
            pytest.fail(f"{self} compiles with XLA: mark the test `xla`, or do without.")
        return call(self, *args, **kwargs)

    return wrapped


Compiler.__init__ = _without_xla_by_default(Compiler.__init__)
_function = type(tf.function(lambda: None))
_function.__call__ = _refuse_xla(_function.__call__)


# Under `xla`, "auto" is to compile however few steps a test takes, and however few draws it scores.
_pays = compilation.xla_pays
compilation._pays_as_measured, compilation._pays_once_as_measured = _pays, compilation.xla_pays_once
compilation.xla_pays = lambda *given: _test_uses_xla or _pays(*given)
compilation.xla_pays_once = lambda *given: True


_libc = ctypes.CDLL("libc.so.6") if sys.platform == "linux" else None


def _set_seeds(name):
    """Sets all generators, TensorFlow's own by this name, without forgetting its kernels.

    `tf.random.set_seed` forgets all of them, since those that draw without a seed have a state: to
    make them again takes a sixth of the time of tests that run few operations. Here those kernels
    are told apart by seeds that no other test has.
    """
    with unittest.mock.patch("tensorflow.random.set_seed"):
        keras.utils.set_random_seed(20_240_229)
    eager, seed = context.context(), zlib.crc32(name.encode())
    eager._seed, eager._rng = seed, random.Random(seed)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef, request):
    """What several tests share is made from the same state, whichever of them comes first."""
    if fixturedef.scope != "function":
        _set_seeds(fixturedef.baseid + fixturedef.argname)
    return (yield)


@pytest.fixture(autouse=True)
def fixed_seed(request):
    """Every test starts from the same state of all generators, whatever ran before it.

    And from the same types: Keras takes its policy from `floatx` when somebody first asks for it.
    """
    _set_seeds(request.node.nodeid)
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


# TFP's own compiled functions keep a graph of each shape that they have met, some 5 MB each.
_OF_TFP = [gamma._random_gamma_no_gradient, poisson.random_poisson, special.lbeta]

# What a process holds after it was last cleaned up, and how much more may come, in bytes.
_held, _MOST_MORE = 0, 2**28


def _memory():
    """How much this process holds, in bytes; 0 where nobody says."""
    try:
        return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def _clean_up():
    global _held
    gc.collect()
    release_executables()  # TensorFlow would keep them, some 35 MB each, as long as the process.
    if _libc is not None:
        _libc.malloc_trim(0)  # What is free goes back to the system.
    _held = _memory()


@pytest.fixture(autouse=True, scope="module")
def fresh_session():
    """Drops the graphs of each module when it is done: they pile up, and slow all that follows."""
    yield
    keras.backend.clear_session(free_memory=False)  # That is done below.
    for function in _OF_TFP:
        vars(function)["_function_cache"].clear()
    context.context().clear_kernel_cache()
    _clean_up()
    gc.freeze()  # What of a graph is left now stays for ever: not to be looked through again.


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown():
    """Cleans up within a module too, where much has come since."""
    if _memory() > _held + _MOST_MORE:
        _clean_up()


def slow_but(*quick, of: Mapping | Iterable) -> list:
    """Returns the parameters of a battery, all of them marked `slow` but those of these names."""
    cases = of if isinstance(of, Mapping) else {getattr(c, "__name__", c): c for c in of}
    assert set(quick) <= set(cases)
    return [
        pytest.param(
            *(case if isinstance(case, tuple) else (case,)),
            id=str(name),
            marks=[] if name in quick else pytest.mark.slow,
        )
        for name, case in cases.items()
    ]


def binary_data(num: int = 24, event_shape: tuple = (6,), seed: int = 0) -> np.ndarray:
    """Returns float32 zeros and ones `[num, *event_shape]`."""
    generator = np.random.default_rng(seed)
    return generator.integers(0, 2, (num, *event_shape)).astype("float32")


def real_data(num: int = 24, event_shape: tuple = (6,), seed: int = 0) -> np.ndarray:
    """Returns float32 standard normal values `[num, *event_shape]`."""
    return np.random.default_rng(seed).normal(size=(num, *event_shape)).astype("float32")


def mlp_encoder(size: int = 6, latents: int = 2, hidden: int = 5, **dense) -> keras.Sequential:
    """Returns q(z|x) `[B, size]` → `[B, latents]` with one hidden layer."""
    return keras.Sequential(
        [
            keras.Input((size,)),
            keras.layers.Dense(hidden, "tanh", **dense),
            keras.layers.Dense(tfvae.layers.MultivariateNormalDiag.params_size(latents)),
            tfvae.layers.MultivariateNormalDiag(latents),
        ],
        name="encoder",
    )


def mlp_decoder(
    size: int = 6, latents: int = 2, likelihood: type = tfvae.layers.IndependentBernoulli
) -> keras.Sequential:
    """Returns p(x|z) `[B, latents]` → `[B, size]`, linear in z."""
    return keras.Sequential(
        [
            keras.Input((latents,)),
            keras.layers.Dense(likelihood.params_size(size)),
            likelihood(size),
        ],
        name="decoder",
    )


def mlp_vae(*, size: int = 6, latents: int = 2, seed: int | None = 1, **kwargs) -> tfvae.VAE:
    """Returns a VAE of binary vectors, as small as they come."""
    return tfvae.VAE(mlp_encoder(size, latents), mlp_decoder(size, latents), seed=seed, **kwargs)


def assert_trains_under_xla(
    model: keras.Model, data, objective: tfvae.objectives.Objective | None = None, size: int = 12
) -> None:
    """Takes one compiled step over the first `size` points: all weights move, to finite numbers."""
    model.compile(keras.optimizers.SGD(0.01), objective, jit_compile=True)
    before = [weight.numpy() for weight in model.trainable_weights]
    logs = model.fit(data, batch_size=size, steps_per_epoch=1, shuffle=False, verbose=0).history
    assert np.all(np.isfinite(list(logs.values())))
    for weight, old in zip(model.trainable_weights, before, strict=True):
        assert np.any(weight.numpy() != old), weight.path
        assert np.all(np.isfinite(weight)), weight.path
