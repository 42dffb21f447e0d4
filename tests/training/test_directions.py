"""Directions of what is logged; at work in tests/test_callbacks.py."""

import keras

from tfvae.training.directions import direction_of, know_directions


def test_directions_of_logged_names():
    names = ["val_elbo", "loss", "held_out_gap", "held_out_active_units", "rate", "val_accuracy"]
    assert [direction_of(name) for name in names] == ["max", "min", "min", "max", None, None]


def test_others_are_left_alone():
    rate = keras.callbacks.EarlyStopping("val_rate")
    know_directions([rate, keras.callbacks.TerminateOnNaN()])
    know_directions(rate)
    know_directions(None)
    assert rate.mode == "auto"
