"""Where a `fit` stands, and what of it is done."""

import contextlib

import keras
import pytest

from tfvae.training.course import Course, CourseCallbacks, Keeper, Position, keeper_among


class Noting(Keeper):
    """Writes down what it is told."""

    def __init__(self):
        super().__init__()
        self.told = []

    def restore(self, callbacks):
        self.told.append("restore")

    def keep(self, position, callbacks, *, is_begun=True):
        self.told.append((position, is_begun))


class Hearing(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.heard = []

    def on_epoch_begin(self, epoch, logs=None):
        self.heard.append(f"epoch {epoch}")

    def on_train_batch_end(self, batch, logs=None):
        self.heard.append(batch)

    def on_test_end(self, logs=None):
        self.heard.append("test")


def played(start, epochs=3, steps=2):
    """Plays a course of epochs of five batches; returns what was told, heard, and taken."""
    keeper, hearing, taken = Noting(), Hearing(), []
    prepared = []
    course = Course(
        keeper, start, lambda: (7, 7), lambda: prepared.append(1), lambda: prepared.append(2)
    )
    model = type("Model", (), {"stop_training": False})()
    callbacks = CourseCallbacks([hearing], course=course, num_train=5, model=model)
    callbacks.on_train_begin()
    for epoch in range(epochs):
        callbacks.on_epoch_begin(epoch)
        for step in range(0, 5, steps):
            callbacks.on_train_batch_begin(step)
            taken.append(steps - course.take("train", steps))
            callbacks.on_train_batch_end(step + steps - 1)
        callbacks.on_test_begin()
        assert course.take("test", 3) == (3 if course.only_reads else 0)
        callbacks.on_test_end()
        callbacks.on_epoch_end(epoch)
    callbacks.on_train_end()
    return keeper.told, hearing.heard, taken, prepared


def test_a_course_that_begins_is_told_from_its_beginning():
    told, heard, taken, prepared = played(None, epochs=1)
    order = (7, 7)
    assert told == [
        (Position(), False),
        *((Position(0, n, order), True) for n in (2, 4, 6)),
        (Position(1), True),
    ]
    assert heard == ["epoch 0", 1, 3, 4, "test"]
    assert taken == [2, 2, 2]
    assert prepared == [1]


def test_a_course_that_goes_on_takes_what_is_left():
    told, heard, taken, prepared = played(Position(1, 3, (1, 2)), epochs=2)
    # Once before all, and once when Keras has reset the sums of the epoch.
    assert told[:2] == ["restore", "restore"]
    assert [position for position, _ in told[2:]] == [
        Position(1, 4, (7, 7)),
        Position(1, 6, (7, 7)),
        Position(2),
    ]
    assert heard == ["epoch 1", 3, 4, "test"]
    assert taken == [0, 0, 0, 0, 1, 2]
    assert prepared == [1, 2, 2]


def test_the_order_of_rows_is_that_of_the_epoch_in_which_the_earlier_run_was():
    course = Course(Noting(), Position(1, 3, (1, 2)), lambda: None, lambda: None, lambda: None)
    found = []
    for epoch in range(3):
        course.enter(epoch)
        found.append(course.first_order)
    assert found == [None, (1, 2), None]


def test_a_keeper_is_found_in_lists_of_lists():
    keeper = Noting()
    assert keeper_among([Hearing(), [keeper]]) is keeper
    assert keeper_among(keeper) is keeper
    assert keeper_among(None) is None
    assert keeper_among(keras.callbacks.CallbackList([Hearing()])) is None
    for wrong in ([keeper, keeper], keras.callbacks.CallbackList([keeper])):
        with pytest.raises(ValueError, match="must hold one `Noting` at most"):
            keeper_among(wrong)
    assert isinstance(keeper.running(), contextlib.AbstractContextManager)
