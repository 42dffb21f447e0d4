"""Numbers that an objective changes from step to step: held, updated, stored and dropped."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import binary_data, mlp_vae
from tfvae.objectives import ELBO, Objective
from tfvae.training.states import ObjectiveState, kept, put_back


@keras.saving.register_keras_serializable("tests")
@dataclasses.dataclass(frozen=True)
class Counting(Objective):
    """Counts its steps and sums up the rates that it has seen."""

    def __call__(self, terms, step=0, state=None):
        weight = 1.0 if state is None else state["steps"]
        return weight * terms.elbo

    def initial_state(self):
        return {"steps": 1.0, "rates": 0.0}

    def next_state(self, state, terms, step):
        rate = tf.reduce_mean(terms.rate)
        return {"steps": tf.cast(step, tf.float32) + 2.0, "rates": state["rates"] + rate}


@pytest.mark.slow
@pytest.mark.exhaustive
def test_state_enters_the_bound_and_the_logs(tmp_path):
    vae, x = mlp_vae(), binary_data(8)
    vae.compile(keras.optimizers.SGD(0.01), Counting(), jit_compile=False)
    weights = len(vae.get_weights())
    history = vae.fit(x, batch_size=4, epochs=2, validation_data=(x,), verbose=0).history
    assert history["steps"] == [3.0, 5.0]
    assert history["val_steps"] == [3.0, 5.0]
    # Training sees 1, then 2 times the ELBO; validation, after each epoch, 3 and 5 times.
    np.testing.assert_allclose(
        history["val_loss"], np.negative(history["val_elbo"]) * [3.0, 5.0], rtol=1e-5
    )
    assert float(vae.objective_state["rates"]) == history["rates"][1] > history["rates"][0] > 0
    # It is state, but no weight of the model.
    assert len(vae.get_weights()) == weights
    assert len(vae.variables) == weights + 2 + len(vae._seed_states())

    vae.save(tmp_path / "vae.keras")
    loaded = keras.models.load_model(tmp_path / "vae.keras")
    assert loaded.objective == Counting()
    assert vae.objective_state == loaded.objective_state
    for model in (vae, loaded):
        model.fit(x, batch_size=4, shuffle=False, verbose=0)
        assert float(model.objective_state["steps"]) == 7.0
    assert vae.objective_state == loaded.objective_state
    for one, other in zip(vae.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_other_objectives_leave_it_behind(tmp_path):
    vae, x = mlp_vae(), binary_data(8)
    vae.compile("adam", 2.0 * Counting() + ELBO(), jit_compile=False)
    assert set(vae.objective_state) == {"0_steps", "0_rates"}
    history = vae.fit(x, verbose=0).history
    assert history["0_steps"] == [2.0]
    path = tmp_path / "vae.weights.h5"
    vae.save_weights(path)
    for objective in (ELBO(), Counting()):
        other = mlp_vae()
        other.compile("adam", objective)
        other.optimizer.build(other.trainable_variables)
        other.load_weights(path)
        assert set(other.objective_state) == set(objective.initial_state())
        np.testing.assert_array_equal(other.get_weights()[0], vae.get_weights()[0])
    uncompiled = mlp_vae()
    uncompiled.load_weights(path)
    assert uncompiled.objective_state == {}
    # Compiling anew begins anew.
    vae.compile("adam", Counting())
    assert float(vae.objective_state["steps"]) == 1.0


def test_values_are_constants():
    state, x = ObjectiveState(Counting()), tf.constant(2.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        state.assign({"steps": x, "rates": 3.0 * x})
        value = state.read()["rates"]
    assert float(value) == pytest.approx(6.0)
    assert tape.gradient(value, x) is None
    assert list(ObjectiveState()) == []


def test_what_was_kept_comes_back_in_its_own_precision():
    variables = [
        keras.Variable([1.0 + 2**-20, -3.0]),
        keras.Variable(7, dtype="int32", trainable=False),
        keras.random.SeedGenerator(3).state,
        tf.Variable([True, False]),
    ]
    numbers = [np.array(variable) for variable in variables]
    before = kept(iter(variables))
    for variable in variables:
        variable.assign(np.zeros(variable.shape, np.asarray(variable).dtype))
    put_back(before)
    for variable, number in zip(variables, numbers, strict=True):
        np.testing.assert_array_equal(variable, number)
