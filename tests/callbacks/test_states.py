"""What callbacks keep, given to those of another run."""

import keras
import numpy as np

from tfvae.callbacks.states import restore_states, states_of


class Counting(keras.callbacks.Callback):
    def __init__(self, count=0):
        super().__init__()
        self.count = count

    def get_state(self):
        return {"count": self.count}

    def set_state(self, state):
        self.count = state["count"]


def test_states_go_to_callbacks_of_their_class_in_their_order():
    stop = keras.callbacks.EarlyStopping(restore_best_weights=True)
    stop.on_train_begin()
    stop.wait, stop.best, stop.best_weights = 2, 0.5, [np.ones(3)]
    states = states_of([Counting(1), stop, keras.callbacks.Callback(), Counting(2)])
    assert [name for name, _ in states] == ["Counting", "EarlyStopping", "Counting"]

    others = [Counting(), Counting(), keras.callbacks.EarlyStopping(), Counting(7)]
    restore_states(others, states)
    assert [c.count for c in others if isinstance(c, Counting)] == [1, 2, 7]
    assert (others[2].wait, others[2].best, others[2].best_epoch) == (2, 0.5, 0)
    np.testing.assert_array_equal(others[2].best_weights[0], np.ones(3))


def test_the_history_and_the_plateau_go_on():
    history, plateau = keras.callbacks.History(), keras.callbacks.ReduceLROnPlateau()
    history.epoch, history.history = [0, 1], {"loss": [3.0, 2.0]}
    plateau.wait, plateau.cooldown_counter = 3, 1
    fresh = [keras.callbacks.History(), keras.callbacks.ReduceLROnPlateau()]
    restore_states(fresh, states_of([history, plateau]))
    assert (fresh[0].epoch, fresh[0].history) == ([0, 1], {"loss": [3.0, 2.0]})
    assert (fresh[1].wait, fresh[1].cooldown_counter) == (3, 1)
