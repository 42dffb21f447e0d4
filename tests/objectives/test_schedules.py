"""Schedules: values by hand, plain data, messages."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfvae
from tests.conftest import binary_data, mlp_vae
from tfvae.objectives import (
    ELBO,
    MMD,
    Capacity,
    Constant,
    Cyclical,
    Linear,
    Objective,
    Plateau,
    TargetRate,
)
from tfvae.objectives.base import call_objective, initial_state_of, next_state_of

VALUES = [
    (Constant(0.5), {0: 0.5, 10**9: 0.5}),
    (Linear(0.0, 1.0, steps=100), {0: 0.0, 50: 0.5, 99: 0.99, 100: 1.0, 10**6: 1.0}),
    (Linear(4.0, 1.0, steps=3), {0: 4.0, 1: 3.0, 2: 2.0, 3: 1.0, 4: 1.0}),
    (Linear(0.0, 1.0, steps=1), {0: 0.0, 1: 1.0}),
    (
        Cyclical(0.0, 1.0, period=100, ramp=0.5),
        {0: 0.0, 25: 0.5, 50: 1.0, 99: 1.0, 100: 0.0, 125: 0.5, 3 * 10**9 + 25: 0.5},
    ),
    (Cyclical(1.0, 3.0, period=4, ramp=1.0), {0: 1.0, 1: 1.5, 2: 2.0, 3: 2.5, 4: 1.0}),
]


@pytest.mark.parametrize(("schedule", "values"), VALUES, ids=lambda value: str(value)[:30])
def test_values_and_config(schedule, values):
    stored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert stored == schedule
    compiled = tf.function(schedule)
    for step, expected in values.items():
        for call in (schedule, stored, compiled):
            for form in (
                step,
                np.int64(step),
                tf.constant(step, tf.int64),
                tf.Variable(step, dtype="int64"),
            ):
                value = tf.convert_to_tensor(call(form))
                assert value.dtype == tf.float32
                assert value.shape == ()
                assert float(value) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Linear(0.0, 1.0, steps=0), "`steps` must be a whole number >= 1.*steps=0"),
        (lambda: Linear(0.0, 1.0, steps=2.5), "Received: steps=2.5"),
        (lambda: Linear(float("nan"), 1.0, steps=2), "`start` must be a finite number.*start=nan"),
        (lambda: Cyclical(0.0, "1", period=2), "`end` must be a finite number.*end='1'"),
        (lambda: Cyclical(0.0, 1.0, period=-1), "`period` must be a whole number.*period=-1"),
        (lambda: Cyclical(0.0, 1.0, period=10, ramp=0.0), r"`ramp` must lie in \(0, 1\].*ramp=0.0"),
        (lambda: Cyclical(0.0, 1.0, period=10, ramp=1.5), "Received: ramp=1.5"),
        (lambda: Plateau(0.0, 1.0, 0.1, patience=0), "`patience` must be a whole.*patience=0"),
        (lambda: Plateau(0.0, 1.0, 0.0, patience=1), "`increment` must be a number > 0.*=0.0"),
        (lambda: Plateau(0.0, "1", 0.1, patience=1), "`end` must be a finite number.*end='1'"),
        (lambda: Plateau(0.0, 1.0, 0.1, 5, min_rise=-1.0), "`min_rise` must be .*min_rise=-1.0"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


PLATEAU = Plateau(0.0, 0.5, increment=0.2, patience=2, min_rise=0.1)
# Means of two bounds, and the value after each: the first at any value is never a rest.
COURSE = [
    (1.0, 0.0),
    (2.0, 0.0),
    (2.05, 0.2),  # higher, but by less than `min_rise`
    (-9.0, 0.2),  # at another value the bound is another one
    (-8.0, 0.2),
    (-8.0, 0.4),
    (-8.0, 0.4),
    (-9.0, 0.5),  # the last move is shorter
    (-9.0, 0.5),
    (-9.0, 0.5),
    (-9.0, 0.5),
]


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.xla)])
def test_plateau_moves_when_the_bound_rests(compiled):
    step = tf.function(PLATEAU.next_state, jit_compile=True) if compiled else PLATEAU.next_state
    state = {name: tf.constant(value) for name, value in PLATEAU.initial_state().items()}
    assert float(PLATEAU(7)) == 0.0
    for mean, level in COURSE:
        for bound in (mean - 0.5, mean + 0.5):
            state = step(state, tf.constant(bound))
        assert float(PLATEAU(0, state)) == pytest.approx(level)


def test_plateau_goes_down_too():
    falling = Plateau(4.0, 1.0, increment=1.5, patience=1)
    state, levels = falling.initial_state(), []
    for _ in range(6):
        state = falling.next_state({k: tf.constant(v) for k, v in state.items()}, tf.constant(0.0))
        levels.append(float(state["level"]))
    assert levels == [4.0, 2.5, 2.5, 1.0, 1.0, 1.0]


HOLDERS = [
    (ELBO(beta=PLATEAU), "beta_level", lambda value: ELBO(beta=value)),
    (Capacity(PLATEAU), "capacity_level", lambda value: Capacity(value)),
    (TargetRate(PLATEAU), "target_level", lambda value: TargetRate(value)),
    (ELBO() + PLATEAU * MMD(), "weight_1_level", lambda value: ELBO() + value * MMD()),
    (
        ELBO() + 2.0 * ELBO(beta=PLATEAU),
        "1_beta_level",
        lambda value: ELBO() + 2.0 * ELBO(beta=value),
    ),
]


@pytest.mark.parametrize(("objective", "name", "at"), HOLDERS, ids=[h[1] for h in HOLDERS])
def test_objectives_pass_the_state_through(objective: Objective, name, at):
    terms = mlp_vae().terms(binary_data(6), 2, seed=0)
    state = {key: tf.constant(value) for key, value in initial_state_of(objective).items()}
    for mean, level in COURSE[:3]:
        fixed = at(float(state[name]))
        expected = call_objective(fixed, terms, 0, _own(fixed, state))
        np.testing.assert_allclose(call_objective(objective, terms, 0, state), expected, rtol=1e-6)
        for _ in range(2):
            state = next_state_of(objective, state, terms, 0, tf.constant(mean))
        assert set(state) == set(initial_state_of(objective))
        assert float(state[name]) == pytest.approx(level)


def _own(objective, state):
    return {key: value for key, value in state.items() if key in initial_state_of(objective)}


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.xla
def test_plateau_in_a_model(tmp_path):
    """At a learning rate of zero nothing rises but noise: the weight climbs, and is stored."""
    x = binary_data(8)
    warm_up = Plateau(0.0, 1.0, increment=0.5, patience=2, min_rise=100.0)
    logs = []
    for settings in ({"run_eagerly": True}, {"jit_compile": True}):
        vae = mlp_vae()
        vae.compile(keras.optimizers.SGD(0.0), ELBO(beta=warm_up), **settings)
        history = vae.fit(x, batch_size=4, epochs=5, validation_data=(x,), verbose=0).history
        logs.append(history["beta_level"])
    # A look per epoch of two updates: the first sets the mark, the second moves.
    assert logs[0] == logs[1] == [0.0, 0.5, 0.5, 1.0, 1.0]
    assert not any("__" in key for key in history)
    distortion, rate = history["val_distortion"], history["val_rate"]
    np.testing.assert_allclose(
        history["val_loss"], np.add(distortion, np.multiply(logs[1], rate)), rtol=1e-5
    )
    vae.save(tmp_path / "vae.keras")
    loaded = keras.models.load_model(tmp_path / "vae.keras")
    assert loaded.objective == vae.objective
    assert loaded.objective_state == vae.objective_state
    assert float(loaded.objective_state["beta_level"]) == 1.0


def test_a_layer_cannot_see_a_plateau():
    with pytest.raises(TypeError, match="follows the loss of a model; a layer sees none"):
        tfvae.layers.KLDivergenceRegularizer(tfvae.priors.StandardNormal(2), weight=PLATEAU)
