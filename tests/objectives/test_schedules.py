"""Schedules: values by hand, plain data, messages."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfvae.objectives import Constant, Cyclical, Linear

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
        (lambda: Cyclical(0.0, 1.0, period=-1), "`period` must be a whole number.*period=-1"),
        (lambda: Cyclical(0.0, 1.0, period=10, ramp=0.0), r"`ramp` must lie in \(0, 1\].*ramp=0.0"),
        (lambda: Cyclical(0.0, 1.0, period=10, ramp=1.5), "Received: ramp=1.5"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
