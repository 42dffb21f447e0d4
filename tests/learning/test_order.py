"""Compiled steps have one result, however their operations come to run."""

import contextlib
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests import analytic
from tests.conftest import binary_data, mlp_decoder
from tests.learning.test_base import SCHEMES
from tests.ordering import unordered
from tfvae.objectives import TargetRate

# The rewriting of graphs has changed the order of what runs.
pytestmark = pytest.mark.rewriting

REPETITIONS, STEPS = 50, 3


@contextlib.contextmanager
def load(num_threads=2):
    """Keeps all cores busy with products of matrices."""
    done, matrix = threading.Event(), np.ones([200, 200])

    def work():
        while not done.is_set():
            matrix @ matrix

    threads = [threading.Thread(target=work) for _ in range(num_threads)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()


def steps_of(scheme):
    """Returns updates and a validation as one function, and all variables it may change."""
    parts = [keras.Input((6,)), keras.layers.Dropout(0.2, seed=1), keras.layers.Dense(4)]
    encoder = keras.Sequential([*parts, analytic.SigmaPointLayer(2)])
    vae = tfvae.VAE(encoder, mlp_decoder(), tfvae.priors.Normal(), seed=0)
    optimizer = keras.optimizers.Adam(0.05, use_ema=True)
    vae.compile(optimizer, TargetRate(1.0, num_samples=4), scheme=scheme, jit_compile=False)

    @tf.function(autograph=False)
    def steps(x):
        for row in range(STEPS):
            vae.train_step((x[3 * row : 3 * row + 3],))
        return vae.test_step((x,))

    return steps, [*vae.variables, *optimizer.variables, *vae.metrics_variables]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda s: type(s).__name__)
def test_compiled_steps_have_one_result_under_load(scheme):
    steps, variables = steps_of(scheme)
    start, x = [v.numpy() for v in variables], tf.constant(binary_data(3 * STEPS))
    results = set()
    assert unordered(steps, x) == []

    # One call for all variables: under load, each call waits.
    @tf.function(autograph=False)
    def reset():
        for variable, value in zip(variables, start, strict=True):
            variable.assign(value)

    @tf.function(autograph=False)
    def read():
        return [tf.identity(variable) for variable in variables]

    reset(), read()
    with load():
        for _ in range(REPETITIONS):
            reset()
            logs = steps(x)
            numbers = [*read(), *(logs[name] for name in sorted(logs))]
            results.add(b"".join(np.asarray(number).tobytes() for number in numbers))
    assert len(results) == 1
